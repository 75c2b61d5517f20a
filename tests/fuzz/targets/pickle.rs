//! Fuzzes the reader of a pickle, all protocols.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::pickle::read(&mut ckpt::bytes::Cursor::new(data, 0));
});
