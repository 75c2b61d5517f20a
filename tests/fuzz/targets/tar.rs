//! Fuzzes the reader of a tar.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::tar::read(&data.to_vec());
});
