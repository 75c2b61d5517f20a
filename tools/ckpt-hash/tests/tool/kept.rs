//! Digests that are kept: bytes that rot are told apart from files that were written.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of our own")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{answer, copy, run, safetensors};

const SHARD: &str = "model/model-00001-of-00002.safetensors";

/// A model whose files were written an hour ago.
fn old() -> tempfile::TempDir {
    let folder = copy("hf-tiny");
    for entry in fs::read_dir(folder.path().join("model")).unwrap() {
        age(&entry.unwrap().path());
    }
    folder
}

fn age(path: &Path) {
    let hour = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().write(true).open(path).unwrap().set_modified(hour).unwrap();
}

/// Changes one byte of the shard the way a disk does: the cache is told that all its times are as they were.
fn rot(folder: &Path) -> (u64, u8) {
    let path = folder.join(SHARD);
    let was = fs::metadata(&path).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let (place, mut byte) = (was.len() - 5, [0]);
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[!byte[0]], place).unwrap();
    file.set_modified(was.modified().unwrap()).unwrap();
    drop(file);
    forge(folder, &was, &fs::metadata(&path).unwrap());
    (place, byte[0])
}

/// Nobody can set a file's time of change, so the cache's record of it is set instead, with its seal.
fn forge(folder: &Path, was: &fs::Metadata, is: &fs::Metadata) {
    let kept = folder.join("kept");
    let text = fs::read_to_string(&kept).unwrap();
    let time = |data: &fs::Metadata| format!("\"changed\":[{},{}]", data.ctime(), data.ctime_nsec());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let own = format!("\"inode\":{},", was.ino());
    let mut forged = 0;
    for line in lines.iter_mut().filter(|line| line.contains(&own)) {
        assert!(line.contains(&time(was)), "{line}");
        *line = line.replace(&time(was), &time(is));
        forged += 1;
    }
    assert_eq!(forged, 1);
    lines.pop();
    let body = lines.join("\n") + "\n";
    let foot = serde_json::json!({
        "entries": lines.len() - 1, "sha256": ckpt::digests::Algorithm::Sha256.of(body.as_bytes()),
    });
    fs::write(&kept, format!("{body}{foot}\n")).unwrap();
}

fn audit(document: &Value) -> (u64, u64, Vec<String>) {
    let audit = &document["hash"]["audit"];
    let findings = audit["findings"].as_array().unwrap();
    let text = |finding: &Value| format!("{} {}", finding["id"].as_str().unwrap(), finding["file"].as_str().unwrap());
    (audit["again"].as_u64().unwrap(), audit["kept"].as_u64().unwrap(), findings.iter().map(text).collect())
}

#[test]
fn rot_is_found_when_a_file_is_read_again_and_told_until_it_is_mended() {
    let folder = old();
    let keep = ["--cache", "kept", "model"];
    let (first, code) = answer(folder.path(), &keep);
    assert_eq!(code, 0);
    let files = first["hash"]["audit"]["new"].as_u64().unwrap();
    let (place, byte) = rot(folder.path());

    // Nobody looks: the old digest is believed.
    let (document, code) = answer(folder.path(), &keep);
    assert_eq!((audit(&document), code), ((0, files, vec![]), 0));
    assert_eq!(document["hash"]["root"], first["hash"]["root"]);

    let rotten = vec!["bit-rot model-00001-of-00002.safetensors".to_owned()];
    let (document, code) = answer(folder.path(), &["--cache", "kept", "--subset", "1/1", "model"]);
    assert_eq!((audit(&document), code), ((files, 0, rotten.clone()), 1));
    assert_eq!(document["status"], "findings");
    assert_ne!(document["hash"]["root"], first["hash"]["root"]);
    // Once known, it is looked at in every run.
    let (document, code) = answer(folder.path(), &keep);
    assert_eq!((audit(&document), code), ((1, files - 1, rotten), 1));

    let (document, code) = answer(folder.path(), &["--cache", "kept", "--max-seconds", "0", "model"]);
    assert_eq!((audit(&document).2.len(), code), (1, 1));

    // Restored, with its times: all is well again.
    let path = folder.path().join(SHARD);
    let was = fs::metadata(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[byte], place).unwrap();
    file.set_modified(was.modified().unwrap()).unwrap();
    forge(folder.path(), &was, &fs::metadata(&path).unwrap());
    let (document, code) = answer(folder.path(), &keep);
    assert_eq!((audit(&document), code), ((1, files - 1, vec![]), 0));
    assert_eq!(document["hash"]["root"], first["hash"]["root"]);
}

#[test]
fn a_file_that_was_written_is_no_rot() {
    let folder = old();
    let keep = ["--cache", "kept", "--subset", "1/1", "model"];
    let (first, _) = answer(folder.path(), &keep);
    let path = folder.path().join(SHARD);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.last_mut().unwrap();
    *last = !*last;
    fs::write(&path, bytes).unwrap();
    age(&path);
    let (document, code) = answer(folder.path(), &keep);
    assert_eq!((audit(&document).2, code), (vec![], 0));
    assert_eq!(document["hash"]["audit"]["new"], 1);
    assert_ne!(document["hash"]["root"], first["hash"]["root"]);
}

#[test]
fn what_is_gone_is_forgotten_where_somebody_looked() {
    let folder = old();
    let root = folder.path();
    fs::create_dir(root.join("other")).unwrap();
    for name in ["model/a.txt", "model/b.txt", "other/w.safetensors", "other/c.txt"] {
        let content = if name.ends_with("txt") { name.as_bytes().to_vec() } else { safetensors(&[("w", b"1234")]) };
        fs::write(root.join(name), content).unwrap();
        age(&root.join(name));
    }
    let known = || {
        let text = fs::read_to_string(root.join("kept")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let paths = lines.filter_map(|line| Some(line["path"].as_str()?.rsplit_once('/')?.1.to_owned()));
        let mut paths: Vec<String> = paths.filter(|path| path.ends_with(".txt")).collect();
        paths.sort();
        paths
    };
    assert_eq!(answer(root, &["--cache", "kept", "model"]).1, 0);
    assert_eq!(answer(root, &["--cache", "kept", "other"]).1, 0);
    assert_eq!(known(), ["a.txt", "b.txt", "c.txt"]);

    fs::remove_file(root.join("model/a.txt")).unwrap();
    fs::remove_file(root.join("other/c.txt")).unwrap();
    let (document, _) = answer(root, &["--cache", "kept", "model"]);
    assert_eq!(document["hash"]["audit"]["new"], 0);
    // Nobody looked at the other one: it may be a disk that is not there today.
    assert_eq!(known(), ["b.txt", "c.txt"]);
    assert_eq!(answer(root, &["--cache", "kept", "other"]).1, 0);
    assert_eq!(known(), ["b.txt"]);

    // A file under another name is not gone. Its inode has been changed by the renaming, so it is read once more.
    fs::rename(root.join("model/b.txt"), root.join("model/d.txt")).unwrap();
    assert_eq!(answer(root, &["--cache", "kept", "model"]).1, 0);
    assert_eq!(known(), ["d.txt"]);
    let (document, _) = answer(root, &["--cache", "kept", "model"]);
    assert_eq!(audit(&document).0, 0);
    assert_eq!((document["hash"]["audit"]["new"].as_u64(), known()), (Some(0), vec!["d.txt".to_owned()]));
}

#[test]
fn canonical_digests_are_kept_too_and_are_the_same() {
    let folder = old();
    let words = ["--canonical", "--cache", "kept", "model"];
    let (plain, _) = answer(folder.path(), &["--canonical", "model"]);
    let (first, _) = answer(folder.path(), &words);
    let (second, _) = answer(folder.path(), &words);
    for document in [&first, &second] {
        assert_eq!(document["hash"]["tensors"], plain["hash"]["tensors"]);
    }
    assert_eq!(audit(&second).1, 2);
}

#[test]
fn the_cache_is_no_part_of_what_is_digested_and_a_torn_one_is_told() {
    let folder = old();
    let plain = answer(folder.path(), &["model"]).0;
    for _ in 0..2 {
        let (document, _) = answer(folder.path(), &["--cache", "model/kept", "model"]);
        assert_eq!(document["hash"]["files_root"], plain["hash"]["files_root"]);
    }
    assert_eq!(run(folder.path(), &["model", "--exclude", "kept", "--output", "m.json"]).status.code(), Some(0));
    fs::write(folder.path().join("model/list"), "").unwrap();
    let (document, code) = answer(folder.path(), &["--cache", "model/kept", "--check", "m.json", "model"]);
    assert_eq!((&document["hash"]["check"]["added"], code), (&Value::from(1), 1), "the list, and not the cache");

    let kept = folder.path().join("model/kept");
    let text = fs::read(&kept).unwrap();
    for length in [0, 1, 30, text.len() / 2, text.len() - 2] {
        fs::write(&kept, &text[..length]).unwrap();
        let output = run(folder.path(), &["--cache", "model/kept", "model"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is not used"), "{length}: {said}");
        assert_eq!(output.status.code(), Some(0));
    }
}
