//! Answers and exit codes: what counts, what does not, and what gives no answer at all.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use support::{Copy, FIRST, SECOND, Stored, add, edit_tensors, fixtures, set, verify};

/// Folders without weights of their own, and what is said of them.
const FOLDERS: &[(&[&str], i32, &str)] = &[
    (&["README.md"], 1, "nothing here holds weights"),
    (&["weights/model.safetensors"], 1, "nothing here holds weights; weights may be the folder that is meant"),
    (
        &["manifest.ocdbt", "_METADATA"],
        2,
        "this is an Orbax checkpoint, which is recognised but not read here; orbax.checkpoint restores it, numpy.savez then \
         saves its arrays",
    ),
];

#[test]
fn a_folder_without_weights_says_what_it_is() {
    for (files, code, message) in FOLDERS {
        let root = tempfile::tempdir().unwrap();
        for file in *files {
            let path = root.path().join("model").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"?").unwrap();
        }
        let said = verify(root.path(), &["model"]);
        assert_eq!((said.code, said.findings()[0]["message"].as_str()), (*code, Some(*message)));
    }
}

#[test]
fn loose_files_are_checkpoints_of_their_own() {
    let copy = Copy::of("torch/nested.pt");
    std::fs::copy(copy.path.join("nested.pt"), copy.path.join("last.pt")).unwrap();
    let said = verify(copy.root.path(), &["model"]);
    assert_eq!((said.code, said.complaints()), (0, vec!["warning tensor-duplicate nested.pt -".to_owned()]));
}

#[test]
fn notes_do_not_fail() {
    let copy = Copy::of("hf-tiny");
    std::fs::rename(copy.path.join(FIRST), copy.root.path().join("blob")).unwrap();
    symlink("../blob", copy.path.join(FIRST)).unwrap();
    let mut embedding: Option<Stored> = None;
    edit_tensors(&copy.root.path().join("blob"), |_, tensors| {
        embedding = tensors.iter().find(|tensor| tensor.name == "model.embed_tokens.weight").cloned();
    });
    add(&copy.path, Stored { name: "lm_head.weight".into(), ..embedding.unwrap() });
    let said = verify(copy.root.path(), &["model"]);
    let ids: Vec<&Value> = said.findings().iter().map(|finding| &finding["id"]).collect();
    assert_eq!(ids, ["link-outside", "tied-head-stored"]);
    assert_eq!((said.code, &said.document["verify"]["counts"]["note"]), (0, &json!(2)));
    assert_eq!(verify(copy.root.path(), &["model", "--fail-on", "note"]).code, 1);
    let strict = ["model", "--severity", "link-outside=error", "--severity", "tied-head-stored=ignore"];
    let said = verify(copy.root.path(), &strict);
    assert_eq!(said.complaints(), ["error link-outside model-00001-of-00002.safetensors -"]);
    assert_eq!(said.code, 1);
}

#[test]
fn what_cannot_be_read_gives_no_answer() {
    let copy = Copy::of("hf-tiny");
    let error = |said: &support::Said| said.document["error"]["id"].as_str().unwrap_or_default().to_owned();
    let said = verify(copy.root.path(), &["nothing"]);
    assert_eq!((said.code, error(&said).as_str()), (2, "path-missing"));
    std::fs::remove_file(copy.path.join(SECOND)).unwrap();
    std::fs::write(copy.path.join(SECOND), b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    let said = verify(copy.root.path(), &["model"]);
    assert_eq!((said.code, error(&said).as_str()), (2, "unsupported"));
    let said = verify(copy.root.path(), &["model", "--against", "nothing"]);
    assert_eq!(said.code, 2);
    // Where permissions count for nothing, as for root, they cannot be tested.
    let locked = copy.path.join(FIRST);
    std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read(&locked).is_err() {
        let said = verify(copy.root.path(), &["model"]);
        assert_eq!((said.code, error(&said).as_str()), (2, "file-unreadable"));
    }
}

#[test]
fn one_shard_is_never_called_incomplete() {
    for file in [
        "hf-tiny/model-00002-of-00002.safetensors",
        "tiny-llama3/mp2/consolidated.01.pth",
        "tiny-llama2/mp1/consolidated.00.pth",
    ] {
        let said = verify(&fixtures(), &[file, "--fail-on", "note"]);
        assert_eq!((said.code, said.findings()), (0, &[][..]), "{file}");
    }
}

#[test]
fn a_filter_narrows_what_is_said_and_not_what_is_checked() {
    use std::io::Write as _;
    let copy = Copy::of("hf-tiny");
    set(&copy.path.join("config.json"), &[("intermediate_size", json!(192))]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt-verify"))
        .current_dir(copy.root.path())
        .args(["-q", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let line = br#"{"schema":"ckpt/1","path":"model","status":"ok","select":["model.layers.0.mlp.up_proj.weight"]}"#;
    child.stdin.take().unwrap().write_all(line).unwrap();
    let output = child.wait_with_output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["verify"]["findings"].as_array().unwrap().len(), 1);
    assert_eq!(document["verify"]["counts"]["error"], 6);
    assert_eq!(output.status.code(), Some(1));
}
