//! Models inside one path: each answers for itself, and the worst answer counts.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use serde_json::Value;
use support::{Copy, FIRST, SECOND, verify};

/// What is done to a model, and the rule that says so.
type Damage = (fn(&std::path::Path), &'static str);

/// What was said of each child: path, status, rules of its errors.
fn children(document: &Value) -> Vec<String> {
    let said = |child: &Value| {
        let findings = child["verify"]["findings"].as_array().cloned().unwrap_or_default();
        let errors = findings.iter().filter(|finding| finding["severity"] == "error");
        let ids: Vec<&str> = errors.map(|finding| finding["id"].as_str().unwrap()).collect();
        format!("{} {} {}", child["path"].as_str().unwrap(), child["status"].as_str().unwrap(), ids.join(","))
    };
    document["children"].as_array().unwrap().iter().map(said).collect()
}

/// Two models in folders of their own, and a file beside them.
fn tree() -> Copy {
    let copy = Copy::of("hf-tiny");
    let root = copy.root.path();
    std::fs::rename(&copy.path, root.join("inner")).unwrap();
    std::fs::create_dir_all(copy.path.join("text")).unwrap();
    std::fs::rename(root.join("inner"), copy.path.join("text/encoder")).unwrap();
    support::copy(&copy.path.join("text/encoder"), &copy.path.join("decoder"));
    std::fs::write(copy.path.join("README.md"), "two models\n").unwrap();
    copy
}

#[test]
fn a_whole_tree_is_clean() {
    let said = verify(tree().root.path(), &["model"]);
    assert_eq!((said.code, said.complaints()), (0, Vec::new()));
    assert_eq!(children(&said.document), ["model/decoder ok ", "model/text/encoder ok "]);
}

#[test]
fn damage_is_placed_in_its_model() {
    let damages: [Damage; 4] = [
        (|model| std::fs::remove_file(model.join(SECOND)).unwrap(), "shard-missing"),
        (|model| std::fs::write(model.join(FIRST), b"").unwrap(), "file-empty"),
        (|model| std::fs::write(model.join("config.json"), b"{").unwrap(), "json-invalid"),
        (
            |model| {
                for name in [FIRST, SECOND, support::INDEX] {
                    std::fs::remove_file(model.join(name)).unwrap();
                }
            },
            "not-a-checkpoint",
        ),
    ];
    for (damage, id) in damages {
        let tree = tree();
        damage(&tree.path.join("text/encoder"));
        let said = verify(tree.root.path(), &["model"]);
        let expected = ["model/decoder ok ".to_owned(), format!("model/text/encoder findings {id}")];
        assert_eq!((said.code, children(&said.document)), (1, expected.to_vec()));
        assert_eq!(said.document["status"], "findings");
    }
}

#[test]
fn a_cache_answers_for_every_repository() {
    let copy = Copy::of("hf-tiny");
    let root = copy.root.path();
    for name in ["models--o--a", "models--o--b"] {
        for folder in ["blobs", "refs", "snapshots"] {
            std::fs::create_dir_all(root.join("hub").join(name).join(folder)).unwrap();
        }
        support::copy(&copy.path, &root.join("hub").join(name).join("snapshots/c0"));
    }
    // A pipeline in a repository: children of a child.
    let snapshot = root.join("hub/models--o--b/snapshots/c0");
    std::fs::rename(&snapshot, root.join("unet")).unwrap();
    std::fs::create_dir(&snapshot).unwrap();
    std::fs::rename(root.join("unet"), snapshot.join("unet")).unwrap();
    std::fs::write(snapshot.join("model_index.json"), r#"{"unet":["a","B"]}"#).unwrap();
    let said = verify(root, &["hub"]);
    assert_eq!(
        (said.code, children(&said.document)),
        (0, vec!["hub/models--o--a ok ".to_owned(), "hub/models--o--b ok ".to_owned()])
    );
    let second = &said.document["children"][1];
    assert_eq!(second["snapshot"], "snapshots/c0");
    assert_eq!(children(second), ["hub/models--o--b/snapshots/c0/unet ok "]);
    std::fs::remove_file(snapshot.join("unet").join(FIRST)).unwrap();
    let said = verify(root, &["hub"]);
    assert_eq!((said.code, &said.document["children"][1]["status"]), (1, &Value::from("findings")));
}
