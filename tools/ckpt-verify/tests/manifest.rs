//! A checkpoint against digests that were written down.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use support::{Copy, verify};

#[test]
fn what_is_changed_missing_and_added_is_told() {
    let copy = Copy::of("tiny-llama3/mp2");
    let list = ["model", "--manifest", "model/checklist.chk"];
    let said = verify(copy.root.path(), &list);
    assert_eq!((said.code, said.findings()), (0, &[][..]));
    assert_eq!(said.document["verify"]["manifest"], "model/checklist.chk");
    // Without a path, the folder of the manifest is meant.
    let said = verify(copy.root.path(), &["--manifest", "model/checklist.chk"]);
    assert_eq!((said.code, said.document["path"].as_str()), (0, Some("model")));

    std::fs::write(copy.path.join("added.txt"), b"?").unwrap();
    std::fs::remove_file(copy.path.join("tokenizer.model")).unwrap();
    let params = std::fs::read_to_string(copy.path.join("params.json")).unwrap();
    std::fs::write(copy.path.join("params.json"), params.replace("64", "64 ")).unwrap();
    let said = verify(copy.root.path(), &list);
    let wanted = [
        "error manifest-added added.txt -",
        "error manifest-changed params.json -",
        "error manifest-missing tokenizer.model -",
        "warning tokenizer-missing - -",
    ];
    assert_eq!((said.code, said.complaints()), (1, wanted.map(str::to_owned).to_vec()));
}

#[test]
fn damage_is_told_by_its_own_rule_and_by_the_digest() {
    let copy = Copy::of("tiny-llama3/mp2");
    let file = copy.path.join("consolidated.01.pth");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    let said = verify(copy.root.path(), &["model", "--manifest", "model/checklist.chk"]);
    let wanted = ["error manifest-changed consolidated.01.pth -", "error zip-truncated consolidated.01.pth -"];
    assert_eq!((said.code, said.complaints()), (1, wanted.map(str::to_owned).to_vec()));
}

#[test]
fn a_manifest_that_says_nothing_gives_no_answer() {
    let copy = Copy::of("hf-tiny");
    assert_eq!(verify(copy.root.path(), &["model", "--manifest", "nothing"]).code, 2);
    std::fs::write(copy.root.path().join("empty"), b"these are no digests\n").unwrap();
    let said = verify(copy.root.path(), &["model", "--manifest", "empty"]);
    assert_eq!((said.code, said.document["error"]["id"].as_str()), (2, Some("manifest-invalid")));
}
