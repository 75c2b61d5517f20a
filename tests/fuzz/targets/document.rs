//! Fuzzes the reader of a line of NDJSON on stdin: what is read is written, and read as the same again.
#![no_main]

use ckpt::document::Document;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(document) = Document::parse(data) {
        let line = document.to_line().unwrap();
        assert_eq!(Document::parse(line.as_bytes()).unwrap().to_line().unwrap(), line);
    }
});
