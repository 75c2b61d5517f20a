//! Damaged manifests: whatever happens to one, it never approves of what it no longer names.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::digests::Algorithm;
use crate::facts::Progress;
use crate::layouts;

/// A folder with one tensor and a config.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let header = br#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, b"12"].concat();
    fs::write(folder.path().join("w.safetensors"), weights).unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    folder
}

/// The document and the list of the folder.
fn manifests(folder: &Path) -> [Vec<u8>; 2] {
    let scope = Scope { excluded: &|_| false, own: &[] };
    let ask = Ask { algorithm: Algorithm::Md5, tensors: Some(Names::Stored), files: true, scope, cache: None };
    let taken = take(&layouts::open(folder, None, 1).unwrap(), &ask, 2, &Progress::default()).unwrap();
    let (tensors, root) = taken.tensors.unwrap();
    let (files, files_root) = taken.files.unwrap();
    let list: String = files.iter().map(|file| line(&file.path, &file.digest)).collect();
    let tensor =
        |line: &TensorLine| json!({"name": line.name, "dtype": line.dtype, "shape": line.shape, "digest": line.digest});
    let file = |line: &FileLine| json!({"path": line.path, "size": line.size, "digest": line.digest});
    let hash = json!({
        "algorithm": "md5", "names": "stored", "root": root, "files_root": files_root, "left_out": [],
        "tensors": tensors.iter().map(tensor).collect::<Vec<_>>(), "files": files.iter().map(file).collect::<Vec<_>>(),
    });
    let document = json!({"schema": "ckpt/1", "path": "x", "status": "ok", "hash": hash});
    [document.to_string().into_bytes(), list.into_bytes()]
}

/// Whether the manifest approves of the folder.
fn approves(text: &[u8], folder: &Path) -> bool {
    let Ok(manifest) = read(Path::new("m"), Some(text), None, None) else { return false };
    let mut checkpoint = layouts::open(folder, None, 1).unwrap();
    let checked = check(&manifest, &mut checkpoint, &|_| false, 1, &Progress::default(), None);
    checked.is_ok_and(|checked| checked.findings.is_empty())
}

#[test]
fn a_manifest_that_was_cut_does_not_approve() {
    let folder = folder();
    for text in manifests(folder.path()) {
        assert!(approves(&text, folder.path()));
        for length in 0..text.len() - 1 {
            assert!(!approves(&text[..length], folder.path()), "{length}");
        }
    }
}

#[test]
fn a_digest_that_was_changed_does_not_approve() {
    let folder = folder();
    for text in manifests(folder.path()) {
        for place in 0..text.len() {
            let mut other = text.clone();
            other[place] ^= 1;
            let digit = text[place].is_ascii_digit() || (b'a'..=b'f').contains(&text[place]);
            let inside = digit;
            let run = text[..place].iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count()
                + text[place..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            // Anything else may be a name that nobody reads; it must not panic, though.
            let approved = approves(&other, folder.path());
            assert!(!approved || !inside || run < 32, "{place}: {}", String::from_utf8_lossy(&other));
        }
    }
}
