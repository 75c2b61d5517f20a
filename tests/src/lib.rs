//! What the tests share: case files, the room a case is run in, the tools, and a strict copy of the document's schema.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test says what went wrong by failing"
)]

pub mod case;
pub mod models;
pub mod room;
pub mod schema;
pub mod tools;

use std::path::{Path, PathBuf};

/// The folder of the tests: `cases`, `fixtures`.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the whole tree.
pub fn tree() -> PathBuf {
    folder().parent().expect("the tests lie in the tree").to_owned()
}

/// Every file below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
