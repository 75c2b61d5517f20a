//! Fuzzes the directory of a checkpoint of torch.distributed, which is a pickle with a meaning of its own.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

/// Beside the directory lies a file of chunks, in which nothing is found.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("ckpt-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("__0_0.distcp"), [0; 4096]).unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    std::fs::write(FOLDER.join(".metadata"), data).unwrap();
    let _ = ckpt::layouts::open(&FOLDER, None, 1);
});
