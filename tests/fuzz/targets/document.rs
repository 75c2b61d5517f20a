//! Fuzzes the reader of a line of NDJSON on stdin.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::document::Document::parse(data).map(|document| document.to_line());
});
