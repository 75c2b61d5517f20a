//! Fuzzes the reader of the header of a safetensors file.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::safetensors::read(&data.to_vec(), FileId(0));
});
