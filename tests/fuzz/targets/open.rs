//! Fuzzes the reader of any file, found out by its content.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::open(&data.to_vec(), FileId(0));
});
