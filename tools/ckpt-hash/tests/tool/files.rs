//! Which files are digested, and lists of them that other programs read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{TOOL, answer, copy, run, safetensors, shell};

fn paths(document: &Value) -> Vec<&str> {
    document["hash"]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

/// A folder with a small weight file and these files beside it, each holding its own name.
fn model(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.safetensors"), safetensors(&[("a", b"12")])).unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    folder
}

#[test]
fn lists_and_caches_are_no_part_of_a_checkpoint() {
    let folder = model(&[
        "checklist.chk",
        "original/checklist.chk",
        "SUMS.sha256",
        ".git/HEAD",
        ".cache/huggingface/x",
        ".next.ckpt-partial/w.safetensors",
        "checklist.chk.txt",
        "sub/z",
        "A",
        "a",
    ]);
    let (document, code) = answer(folder.path(), &["."]);
    assert_eq!((code, paths(&document)), (0, vec!["A", "a", "checklist.chk.txt", "sub/z", "w.safetensors"]));
    let (document, _) = answer(folder.path(), &["--exclude", "sub/*", "--exclude", "[aA]", "."]);
    assert_eq!(paths(&document), ["checklist.chk.txt", "w.safetensors"]);
    assert_eq!(document["hash"]["excluded"], json!(["sub/*", "[aA]"]));
}

#[test]
fn what_is_being_written_is_no_part_either() {
    let folder = model(&["a"]);
    assert_eq!(run(folder.path(), &[".", "--output", "m.json"]).status.code(), Some(0));
    let first = fs::read(folder.path().join("m.json")).unwrap();
    assert_eq!(run(folder.path(), &[".", "--output", "m.json"]).status.code(), Some(0));
    assert_eq!(fs::read(folder.path().join("m.json")).unwrap(), first, "the old one does not count");
    assert_eq!(run(folder.path(), &["--check", "m.json"]).status.code(), Some(0));

    let folder = model(&["a"]);
    let stdout = fs::File::create(folder.path().join("m.json")).unwrap();
    let status = Command::new(TOOL).arg(".").current_dir(folder.path()).stdout(stdout).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let document: Value = serde_json::from_slice(&fs::read(folder.path().join("m.json")).unwrap()).unwrap();
    assert_eq!(paths(&document), ["a", "w.safetensors"]);
    assert_eq!(run(folder.path(), &["--check", "m.json"]).status.code(), Some(0));
}

#[test]
fn coreutils_write_and_accept_the_same_list() {
    let folder = model(&["a b", "line\nfeed", "back\\slash", "car\rriage", " lead", "größe", "-dash", "sub/*star"]);
    for (algorithm, program) in [("sha256", "sha256sum"), ("md5", "md5sum")] {
        let list = run(folder.path(), &["--format", "sha256sum", "--algorithm", algorithm, "."]);
        assert_eq!(list.status.code(), Some(0));
        let script = format!(
            "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 {program} --\n\
             ckpt-hash --format sha256sum --algorithm {algorithm} . | {program} --check --strict --quiet"
        );
        let Some(theirs) = shell(folder.path(), &[program, "xargs"], &script) else { return };
        assert_eq!(theirs.status.code(), Some(0), "{}", String::from_utf8_lossy(&theirs.stderr));

        let ours = String::from_utf8(list.stdout).unwrap();
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        assert_eq!(ours.lines().collect::<Vec<_>>(), theirs.lines().collect::<Vec<_>>());
        fs::write(folder.path().join("SUMS.sha256"), &ours).unwrap();
        assert_eq!(run(folder.path(), &["--check", "SUMS.sha256"]).status.code(), Some(0));
        fs::remove_file(folder.path().join("SUMS.sha256")).unwrap();
    }
}

#[test]
fn a_name_that_is_no_text_is_refused_in_a_list() {
    let folder = model(&[]);
    fs::write(folder.path().join(std::ffi::OsString::from_vec(b"odd\xff".to_vec())), "x").unwrap();
    let output = run(folder.path(), &["--format", "sha256sum", "."]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--exclude"));
    assert_eq!(answer(folder.path(), &["."]).1, 0);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    // Four billion zeros that take no room on the disk.
    let size = 4_000_000_000_u64;
    let header = json!({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).to_string();
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&u64::try_from(header.len()).unwrap().to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(size + 8 + u64::try_from(header.len()).unwrap()).unwrap();
    let mut command = Command::new(TOOL);
    command.arg(".").current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    // On a busy machine it may shrink before its header is read.
    assert!(["file-changed", "safetensors-truncated"].iter().any(|id| document["error"]["id"] == *id), "{document}");
    assert_eq!(document.get("hash"), None);
}

#[test]
fn people_get_a_report() {
    let folder = copy("tiny-llama3/mp2");
    let text = |words: &[&str]| String::from_utf8(run(folder.path(), words).stdout).unwrap();
    let report = text(&["--text", "model"]);
    assert!(report.starts_with("model\n  tensors  sha256:"), "{report}");
    assert!(report.contains("21 tensors, stored names") && report.contains("4 files, "), "{report}");
    assert!(text(&["--text", "--canonical", "model"]).contains("left out  lm_head.weight\n"));
    assert_eq!(run(folder.path(), &["model", "--output", "m.json"]).status.code(), Some(0));
    fs::remove_file(folder.path().join("model/params.json")).unwrap();
    let report = text(&["--text", "--check", "m.json", "model"]);
    assert!(report.contains("missing") && report.contains("params.json"), "{report}");
}

#[test]
fn a_layout_that_is_none_is_a_mistake() {
    let output = run(Path::new("/"), &["--from", "nonsense", "/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonsense"));
}
