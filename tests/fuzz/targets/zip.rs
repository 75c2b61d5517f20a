//! Fuzzes the reader of a zip's directory and local headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::zip::read(&data.to_vec());
});
