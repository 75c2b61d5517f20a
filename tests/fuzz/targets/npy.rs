//! Fuzzes the reader of numpy's array file.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::npy::read(&data.to_vec(), FileId(0));
});
