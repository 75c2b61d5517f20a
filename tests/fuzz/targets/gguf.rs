//! Fuzzes the reader of a GGUF header.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::gguf::read(&data.to_vec(), FileId(0));
});
