//! Fuzzes the reader of an ONNX model.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::onnx::read(&data.to_vec(), FileId(0));
});
