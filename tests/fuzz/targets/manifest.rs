//! Fuzzes the reader of a manifest of any kind.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::manifests::read(Path::new("manifest"), Some(data), None, None);
});
