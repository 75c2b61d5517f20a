//! ckpt-hash, run as a user runs it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails shall stop at once"
)]

mod check;
mod digests;
mod files;
mod kept;
mod readme;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The tool under test.
const TOOL: &str = env!("CARGO_BIN_EXE_ckpt-hash");

/// A file or folder of the common fixtures.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// Runs the tool in a folder.
fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(TOOL).args(words).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Its one document, and its exit code.
fn answer(folder: &Path, words: &[&str]) -> (Value, i32) {
    let output = run(folder, words);
    let text = String::from_utf8(output.stdout).unwrap();
    let document = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {text:?} {}", String::from_utf8_lossy(&output.stderr)));
    (document, output.status.code().unwrap())
}

/// A new folder with copies of a fixture's files under `model`.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "expected.json" {
            fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// A shell's answer to a script, with the tool on its path; none if the machine lacks one of the programs.
fn shell(folder: &Path, needs: &[&str], script: &str) -> Option<Output> {
    let there = |name: &&str| Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
    if needs.iter().any(|name| !there(name).status.success()) {
        return None;
    }
    let tools = Path::new(TOOL).parent().unwrap().display().to_string();
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", script]).env("PATH", path).current_dir(folder).stdin(Stdio::null());
    Some(command.output().unwrap())
}

/// A safetensors file of one-dimensional byte tensors.
fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let entry = serde_json::json!({"dtype": "U8", "shape": [bytes.len()], "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    file
}
