//! Manifests of every kind against folders that changed in every way.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of our own")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{answer, copy, fixture, run, safetensors};

/// The findings of a check: id, file, tensor.
fn findings(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let about = |finding: &Value| format!("{}{}", text(&finding["file"]), text(&finding["tensor"]));
    let all = document["hash"]["check"]["findings"].as_array().unwrap();
    all.iter().map(|finding| (text(&finding["id"]), about(finding))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(id, what)| (id.to_owned(), what.to_owned())).collect()
}

/// A folder `model` with tensors `a` and `b` and a `config.json`, and its manifest `m.json` beside it.
fn small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("w.safetensors"), safetensors(&[("a", b"1234"), ("b", b"56")])).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    assert_eq!(run(folder.path(), &["model", "--output", "m.json"]).status.code(), Some(0));
    folder
}

#[test]
fn what_is_unchanged_is_counted() {
    let folder = small();
    let (document, code) = answer(folder.path(), &["--check", "m.json", "model"]);
    let check = &document["hash"]["check"];
    assert_eq!((code, &document["status"], &check["manifest"]), (0, &json!("ok"), &json!("m.json")));
    let counts: Vec<_> = ["unchanged", "changed", "missing", "added"].map(|key| check[key].as_u64().unwrap()).into();
    assert_eq!(counts, [4, 0, 0, 0]);
}

#[test]
fn every_change_is_named() {
    let changed = |change: &dyn Fn(&Path)| {
        let folder = small();
        change(&folder.path().join("model"));
        let (document, code) = answer(folder.path(), &["--check", "m.json", "model"]);
        assert_eq!((code, &document["status"]), (1, &json!("findings")));
        findings(&document)
    };
    let weights = |tensors: &[(&str, &[u8])]| {
        let file = safetensors(tensors);
        changed(&|model| fs::write(model.join("w.safetensors"), &file).unwrap())
    };
    let file = ("manifest-changed", "w.safetensors");
    assert_eq!(weights(&[("a", b"1235"), ("b", b"56")]), pairs(&[file, ("manifest-changed", "a")]));
    assert_eq!(weights(&[("a", b"1234"), ("b", b"567")]), pairs(&[file, ("manifest-changed", "b")]));
    assert_eq!(weights(&[("a", b"1234")]), pairs(&[file, ("manifest-missing", "b")]));
    assert_eq!(weights(&[("a", b"1234"), ("b", b"56"), ("c", b"")]), pairs(&[file, ("manifest-added", "c")]));
    // Another order in the file, the same tensors.
    assert_eq!(weights(&[("b", b"56"), ("a", b"1234")]), pairs(&[file]));

    let config = |id| pairs(&[(id, "config.json")]);
    assert_eq!(changed(&|model| fs::write(model.join("config.json"), "[]").unwrap()), config("manifest-changed"));
    assert_eq!(changed(&|model| fs::remove_file(model.join("config.json")).unwrap()), config("manifest-missing"));
    let added = changed(&|model| fs::write(model.join("z.bin.txt"), "x").unwrap());
    assert_eq!(added, pairs(&[("manifest-added", "z.bin.txt")]));
    let gone = changed(&|model| fs::remove_file(model.join("w.safetensors")).unwrap());
    assert_eq!(gone, pairs(&[("not-a-checkpoint", ""), ("manifest-missing", "w.safetensors")]));
    let cut = changed(&|model| fs::write(model.join("w.safetensors"), &safetensors(&[("a", b"1")])[..20]).unwrap());
    assert!(cut.contains(&("manifest-changed".to_owned(), "w.safetensors".to_owned())), "{cut:?}");
    assert!(cut.iter().any(|(id, _)| id.starts_with("safetensors-")), "{cut:?}");
}

#[test]
fn a_finding_can_be_regraded_and_a_file_excluded() {
    let folder = small();
    fs::write(folder.path().join("model/notes.txt"), "x").unwrap();
    let code = |words: &[&str]| answer(folder.path(), &[&["--check", "m.json", "model"], words].concat()).1;
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--severity", "manifest-added=note"]), 0);
    assert_eq!(code(&["--exclude", "*.txt"]), 0);
    assert_eq!(code(&["--exclude", "*"]), 0, "what the manifest names is checked all the same");
    fs::write(folder.path().join("model/config.json"), "[]").unwrap();
    assert_eq!(code(&["--exclude", "*"]), 1);
    // Patterns that were recorded count again.
    let words = ["model", "--exclude", "*.txt", "--output", "m.json"];
    assert_eq!(run(folder.path(), &words).status.code(), Some(0));
    fs::write(folder.path().join("model/more.txt"), "x").unwrap();
    assert_eq!(code(&[]), 0);
}

#[test]
fn canonical_and_brief_manifests_are_checked_as_they_were_made() {
    let folder = copy("tiny-llama3/mp2");
    for words in [&["--canonical"][..], &["--canonical", "--brief"], &["--brief"], &["--canonical", "--files"]] {
        let made = run(folder.path(), &[words, &["model", "--output", "m.json"]].concat());
        assert_eq!(made.status.code(), Some(0), "{words:?}");
        let (document, code) = answer(folder.path(), &["--check", "m.json", "model"]);
        assert_eq!(code, 0, "{words:?}: {document}");
        let twin = answer(folder.path(), &["--check", "m.json", fixture("hf-tiny").to_str().unwrap()]);
        // The same model in another layout: the same canonical digests, other files.
        let same = words[0] == "--canonical" && !words.contains(&"--files");
        assert_eq!(twin.1, i32::from(!same), "{words:?}: {}", twin.0);
    }
    fs::write(folder.path().join("model/README.md"), "x").unwrap();
    let made = run(folder.path(), &["--brief", "model", "--output", "m.json"]);
    assert_eq!(made.status.code(), Some(0));
    fs::write(folder.path().join("model/README.md"), "y").unwrap();
    let (document, code) = answer(folder.path(), &["--check", "m.json", "model"]);
    assert_eq!((code, &document["hash"]["check"]["unchanged"]), (1, &json!(1)), "the tensors' root is the same");
}

#[test]
fn lists_of_other_programs_are_checked() {
    let folder = copy("tiny-llama3/mp1");
    let model = folder.path().join("model");
    let (document, code) = answer(folder.path(), &["--check", "model/checklist.chk"]);
    assert_eq!((code, &document["hash"]["check"]["unchanged"]), (0, &json!(3)), "{document}");
    assert_eq!((&document["path"], &document["hash"]["algorithm"]), (&json!("model"), &json!("md5")));
    fs::write(model.join("params.json"), "{}").unwrap();
    let (document, code) = answer(&model, &["--check", "checklist.chk"]);
    assert_eq!((code, findings(&document)), (1, pairs(&[("manifest-changed", "params.json")])));

    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let small = small();
    fs::write(small.path().join("model/config.json"), "abc").unwrap();
    let weights = fs::read(small.path().join("model/w.safetensors")).unwrap();
    let weights = ckpt::digests::Algorithm::Md5.of(&weights);
    let list = format!("SHA256 (config.json) = {sha}\nMD5 (./w.safetensors) = {weights}\n");
    fs::write(small.path().join("model/list"), &list).unwrap();
    let (document, code) = answer(small.path(), &["--check", "model/list"]);
    assert_eq!((code, &document["hash"]["check"]["unchanged"]), (0, &json!(2)), "{document}");
    fs::write(small.path().join("model/list"), list + "nonsense\n").unwrap();
    let (document, code) = answer(small.path(), &["--check", "model/list"]);
    assert_eq!((code, findings(&document)), (1, pairs(&[("manifest-invalid", "model/list")])));
}

/// A statement of model-signing over the files of a folder, in pieces of that size.
fn pieces(folder: &Path, names: &[&str], size: usize) -> Value {
    use ckpt::digests::Algorithm;
    let mut resources = Vec::new();
    for name in names {
        let content = fs::read(folder.join(name)).unwrap();
        for (number, piece) in content.chunks(size).enumerate() {
            let (start, digest) = (number * size, Algorithm::Blake2b.of(piece));
            let name = format!("{name}:{start}:{}", start + piece.len());
            resources.push(json!({"name": name, "algorithm": format!("blake2b-sharded-{size}"), "digest": digest}));
        }
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "shards", "hash_type": "blake2b", "shard_size": size},
            "resources": resources,
        },
    })
}

#[test]
fn pieces_of_files_are_checked() {
    let folder = small();
    let model = folder.path().join("model");
    fs::write(model.join("a:b.txt"), "0123456789abcdefghij+").unwrap();
    fs::write(model.join("empty"), "").unwrap();
    let statement = pieces(&model, &["a:b.txt", "config.json", "w.safetensors"], 10);
    // As protocol buffers write a number of a structure.
    let statement = statement.to_string().replace("\"shard_size\":10", "\"shard_size\":10.0");
    fs::write(folder.path().join("s.json"), statement).unwrap();
    let check = || {
        let (document, code) = answer(folder.path(), &["--check", "s.json", "model"]);
        assert_eq!(code, i32::from(document["hash"]["check"]["findings"] != json!([])), "{document}");
        document["hash"]["check"].clone()
    };
    assert_eq!((&check()["unchanged"], &check()["added"]), (&json!(3), &json!(0)));

    fs::write(model.join("a:b.txt"), "0123456789abcdefghiJ*").unwrap();
    let said = check();
    let finding = &said["findings"][0];
    assert_eq!(
        (&said["changed"], &finding["id"], &finding["offset"]),
        (&json!(1), &json!("manifest-changed"), &json!(10))
    );
    assert_eq!(finding["message"], "2 of the file's 3 pieces are not those of the manifest");

    fs::write(model.join("a:b.txt"), "0123456789abcdefghij").unwrap();
    let said = check();
    assert_eq!(
        (&said["findings"][0]["needed"], &said["findings"][0]["found"]),
        (&json!("21 bytes"), &json!("20 bytes"))
    );

    fs::remove_file(model.join("a:b.txt")).unwrap();
    fs::write(model.join("other.txt"), "0123456789abcdefghij-").unwrap();
    assert_eq!((&check()["missing"], &check()["added"], &check()["moved"]), (&json!(1), &json!(1), &json!(0)));
    fs::write(model.join("other.txt"), "0123456789abcdefghij+").unwrap();
    assert_eq!((&check()["missing"], &check()["added"], &check()["moved"]), (&json!(0), &json!(0), &json!(1)));
}

#[test]
fn blake2b_is_told_from_what_is_as_long() {
    let folder = small();
    let content = fs::read(folder.path().join("model/config.json")).unwrap();
    let digest = ckpt::digests::Algorithm::Blake2b.of(&content);
    let words = |list, more: &'static str| ["--check", list, "model", "--exclude", "w*", more];
    fs::write(folder.path().join("list"), format!("{digest}  config.json\n")).unwrap();
    assert_eq!(answer(folder.path(), &words("list", "-q")).1, 2, "it may be SHA-512");
    assert_eq!(answer(folder.path(), &words("list", "--algorithm=blake2b")).1, 0);
    fs::copy(folder.path().join("list"), folder.path().join("model.b2sum")).unwrap();
    assert_eq!(answer(folder.path(), &words("model.b2sum", "-q")).1, 0);
    fs::write(folder.path().join("list"), format!("BLAKE2b (config.json) = {digest}\n")).unwrap();
    assert_eq!(answer(folder.path(), &words("list", "-q")).1, 0);
}

#[test]
fn files_that_no_walk_lists_are_checked_if_they_are_named() {
    let folder = small();
    fs::create_dir(folder.path().join("model/.cache")).unwrap();
    fs::write(folder.path().join("model/.cache/x"), "abc").unwrap();
    let md5 = "900150983cd24fb0d6963f7d28e17f72";
    fs::write(folder.path().join("list"), format!("{md5}  .cache/x\n{md5}  .cache\n")).unwrap();
    let (document, code) = answer(folder.path(), &["--check", "list", "model", "--exclude", "[cw]*"]);
    assert_eq!((code, findings(&document)), (1, pairs(&[("manifest-missing", ".cache")])));
    assert_eq!(document["hash"]["check"]["unchanged"], 1);
}

#[test]
fn names_that_leave_the_folder_are_findings_and_not_opened() {
    let folder = small();
    let md5 = ckpt::digests::Algorithm::Md5.of(b"{}");
    fs::write(folder.path().join("outside"), "{}").unwrap();
    let absolute = folder.path().join("outside").display().to_string();
    for name in ["../outside", &absolute, "x/../../outside", ".."] {
        fs::write(folder.path().join("list"), format!("{md5}  {name}\n{md5}  config.json\n")).unwrap();
        let (document, code) = answer(folder.path(), &["--check", "list", "model", "--exclude", "w*"]);
        assert_eq!((code, findings(&document)), (1, pairs(&[("name-unsafe", "list")])), "{name}");
        fs::write(folder.path().join("list"), format!("{md5}  {name}\n")).unwrap();
        assert_eq!(answer(folder.path(), &["--check", "list", "model"]).1, 1, "{name}");
    }
}

#[test]
fn what_is_no_manifest_is_an_error() {
    let folder = small();
    let good = fs::read_to_string(folder.path().join("m.json")).unwrap();
    let mut document: Value = serde_json::from_str(&good).unwrap();
    document["hash"]["tensors"].as_array_mut().unwrap().pop();
    for (text, words) in [
        ("", "names nothing"),
        ("hello\n", "line 1"),
        ("{", "not a document"),
        (r#"{"schema":"ckpt/2","path":"model"}"#, "unknown schema"),
        (r#"{"schema":"ckpt/1","path":"model","status":"ok"}"#, "no digests"),
        (&document.to_string(), "do not make its root"),
        (&good.replace("sha256", "sha3"), "not known here"),
        (&format!("{good}{good}"), "more than once"),
        (&format!("{good}{good}").replace("\"model\"", "\"other\""), "not of this one"),
    ] {
        fs::write(folder.path().join("bad"), text).unwrap();
        let (document, code) = answer(folder.path(), &["--check", "bad", "model"]);
        assert_eq!((code, &document["error"]["id"]), (2, &json!("manifest-invalid")), "{text}");
        assert!(document["error"]["message"].as_str().unwrap().contains(words), "{document}");
    }
    let output = run(folder.path(), &["--check", "absent", "model"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent: No such file"));
    assert_eq!(run(folder.path(), &["--check", "m.json", "--canonical", "model"]).status.code(), Some(2));
}

#[test]
fn of_several_documents_the_one_about_the_path_counts() {
    let folder = small();
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other/w.safetensors"), safetensors(&[("x", b"1")])).unwrap();
    assert_eq!(run(folder.path(), &["model", "other", "--output", "m.json"]).status.code(), Some(0));
    let output = run(folder.path(), &["--check", "m.json", "other", "model"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    // A document that was indented is the same document.
    let pretty = run(folder.path(), &["--pretty", "model", "--output", "m.json"]);
    assert_eq!(pretty.status.code(), Some(0));
    assert_eq!(run(folder.path(), &["--check", "m.json", "model"]).status.code(), Some(0));
}
