//! Digests of tensors against those that the real libraries gave, roots against their definition.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{answer, copy, fixture, run, safetensors, shell};

type Line = (Value, Value, Value);

/// `{name: (dtype, shape, digest)}`.
fn table(tensors: &Value, digest: &str) -> BTreeMap<String, Line> {
    let line = |tensor: &Value| (tensor["dtype"].clone(), tensor["shape"].clone(), tensor[digest].clone());
    // Members of sparse tensors are joined by `::` where the fixtures were made.
    let name = |tensor: &Value| tensor["name"].as_str().unwrap().replace("::", ".");
    tensors.as_array().unwrap().iter().map(|tensor| (name(tensor), line(tensor))).collect()
}

#[test]
fn every_tensor_of_every_fixture_has_the_digest_that_its_library_gives() {
    let mut checked = 0;
    for (folder, key) in [
        ("torch", "/tensors"),
        ("safetensors", "/tensors"),
        ("hf-tiny", "/tensors"),
        ("tiny-llama2/mp1", "/mp1/tensors"),
        ("tiny-llama2/mp2", "/mp2/tensors"),
        ("tiny-llama3/mp1", "/mp1/tensors"),
        ("tiny-llama3/mp2", "/mp2/tensors"),
    ] {
        let recorded = fixture(folder.split('/').next().unwrap()).join("expected.json");
        let recorded: Value = serde_json::from_str(&fs::read_to_string(recorded).unwrap()).unwrap();
        let mut files: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for tensor in recorded.pointer(key).unwrap().as_array().unwrap() {
            files.entry(tensor["file"].as_str().unwrap()).or_default().push(tensor.clone());
        }
        for (file, tensors) in files {
            let (document, code) = answer(&fixture(folder), &[file]);
            if file == "meta.pt" {
                assert_eq!((code, &document["error"]["id"]), (2, &Value::from("tensor-absent")));
                continue;
            }
            assert_eq!(code, 0, "{folder}/{file}: {document}");
            let found = table(&document["hash"]["tensors"], "digest");
            for (name, line) in table(&Value::from(tensors), "sha256") {
                assert_eq!(found.get(&name), Some(&line), "{folder}/{file}: {name}");
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "{checked}");
}

#[test]
fn one_model_has_one_canonical_root_however_it_lies() {
    for llama in ["tiny-llama2", "tiny-llama3"] {
        let recorded = fs::read_to_string(fixture(llama).join("expected.json")).unwrap();
        let recorded: Value = serde_json::from_str(&recorded).unwrap();
        for ranks in ["mp1", "mp2"] {
            let (document, code) = answer(&fixture(llama), &["--canonical", ranks]);
            let hash = &document["hash"];
            assert_eq!((code, &hash["names"]), (0, &Value::from("canonical")));
            assert_eq!(hash["root"], recorded["canonical"]["root"], "{llama}/{ranks}");
            assert_eq!(table(&hash["tensors"], "digest"), table(&recorded["canonical"]["tensors"], "sha256"));
            assert_eq!((&hash["files"], &hash["files_root"]), (&Value::Null, &Value::Null));
            let left_out = if llama == "tiny-llama2" { "rope.freqs" } else { "lm_head.weight" };
            assert_eq!(hash["left_out"], serde_json::json!([left_out]));
        }
    }
    let root = |words: &[&str]| answer(&fixture(""), words).0["hash"]["root"].clone();
    assert_eq!(root(&["--canonical", "hf-tiny"]), root(&["--canonical", "tiny-llama3/mp2"]));
    assert_ne!(root(&["hf-tiny"]), root(&["tiny-llama3/mp2"]), "stored names differ");
    assert_ne!(root(&["--canonical", "tiny-llama2/mp1"]), root(&["--canonical", "tiny-llama3/mp1"]));
}

#[test]
fn files_are_digested_with_canonical_names_if_asked_for() {
    let (document, _) = answer(&fixture(""), &["--canonical", "--files", "tiny-llama3/mp2"]);
    let (alone, _) = answer(&fixture(""), &["tiny-llama3/mp2"]);
    assert_eq!(document["hash"]["files"], alone["hash"]["files"]);
    assert_eq!(document["hash"]["files_root"], alone["hash"]["files_root"]);
    let paths: Vec<_> = alone["hash"]["files"].as_array().unwrap().iter().map(|file| file["path"].clone()).collect();
    assert_eq!(paths, ["consolidated.00.pth", "consolidated.01.pth", "params.json", "tokenizer.model"]);
}

#[test]
fn an_unknown_family_keeps_its_names_and_aliases_become_tensors_again() {
    let (document, code) = answer(&fixture("safetensors"), &["--canonical", "aliases.safetensors"]);
    let (stored, _) = answer(&fixture("safetensors"), &["aliases.safetensors"]);
    assert_eq!((code, &document["hash"]["names"]), (0, &Value::from("stored")));
    assert_eq!(document["hash"]["notes"].as_array().unwrap().len(), 1);
    let (with, without) = (table(&document["hash"]["tensors"], "digest"), table(&stored["hash"]["tensors"], "digest"));
    assert!(with.len() > without.len());
    assert!(without.iter().all(|(name, line)| with.get(name) == Some(line)));
}

#[test]
fn roots_follow_their_definition() {
    for path in ["hf-tiny", "tiny-llama2/mp2", "torch/views.pt"] {
        let script = format!(
            "ckpt-hash {path} | jq -c '.hash.tensors[]|[.name,.dtype,.shape,.digest]' | sha256sum | cut -c -64\n\
             ckpt-hash {path} | jq -r .hash.root\n\
             ckpt-hash {path} | jq -c '.hash.files[]|[.path,.size,.digest]' | sha256sum | cut -c -64\n\
             ckpt-hash {path} | jq -r .hash.files_root"
        );
        let Some(output) = shell(&fixture(""), &["jq", "sha256sum"], &script) else { return };
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((lines[0], lines[2]), (lines[1], lines[3]), "{path}");
    }
}

#[test]
fn the_answer_is_the_same_whatever_the_number_of_threads() {
    for words in [&["hf-tiny", "tiny-llama2/mp2"][..], &["--canonical", "--files", "tiny-llama3/mp2"]] {
        let of = |jobs: &str| run(&fixture(""), &[words, &["--jobs", jobs]].concat()).stdout;
        let one = of("1");
        assert!(!one.is_empty());
        for jobs in ["2", "3", "16"] {
            assert!(of(jobs) == one, "{words:?} {jobs}");
        }
    }
}

#[test]
fn brief_leaves_the_lists_out_and_md5_is_another_digest() {
    let (whole, _) = answer(&fixture(""), &["hf-tiny"]);
    let (brief, _) = answer(&fixture(""), &["--brief", "hf-tiny"]);
    assert_eq!((&brief["hash"]["root"], brief["hash"].get("tensors")), (&whole["hash"]["root"], None));
    assert_eq!((&brief["hash"]["files_root"], brief["hash"].get("files")), (&whole["hash"]["files_root"], None));
    let (md5, _) = answer(&fixture(""), &["--algorithm", "md5", "tiny-llama3/mp1"]);
    let list = fs::read_to_string(fixture("tiny-llama3/mp1/checklist.chk")).unwrap();
    for file in md5["hash"]["files"].as_array().unwrap() {
        let line = format!("{}  {}\n", file["digest"].as_str().unwrap(), file["path"].as_str().unwrap());
        assert!(list.contains(&line), "{line}");
    }
    assert_eq!(run(Path::new("/"), &["--algorithm", "crc32", "x"]).status.code(), Some(2));
}

#[test]
fn damage_is_an_error_with_its_finding() {
    let folder = copy("hf-tiny");
    fs::remove_file(folder.path().join("model/model-00002-of-00002.safetensors")).unwrap();
    for words in [&["model"][..], &["--canonical", "model"], &["--format", "sha256sum", "--json", "model"]] {
        let output = run(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("[shard-missing]"), "{words:?}");
    }
    let (document, _) = answer(folder.path(), &["model"]);
    assert_eq!((&document["status"], &document["error"]["id"]), (&Value::from("error"), &Value::from("shard-missing")));

    let empty = tempfile::tempdir().unwrap();
    let (document, code) = answer(empty.path(), &["."]);
    assert_eq!((code, &document["error"]["id"]), (2, &Value::from("not-a-checkpoint")));
}

#[test]
fn copies_that_differ_have_no_root() {
    let folder = copy("tiny-llama3/mp2");
    let path = folder.path().join("model/consolidated.01.pth");
    let mut bytes = fs::read(&path).unwrap();
    // The norm of the last layer, which both ranks hold: the last record that is not cut by rank.
    let (document, _) = answer(&fixture("tiny-llama3/mp2"), &["consolidated.01.pth"]);
    assert!(document["hash"]["tensors"].as_array().unwrap().iter().any(|tensor| tensor["name"] == "norm.weight"));
    let other = fs::read(folder.path().join("model/consolidated.00.pth")).unwrap();
    let norm = norm(&other);
    let at = bytes.windows(norm.len()).position(|window| window == norm).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    for words in [&["model"][..], &["--canonical", "model"]] {
        let (document, code) = answer(folder.path(), words);
        assert_eq!((code, &document["error"]["id"]), (2, &Value::from("replica-differs")), "{document}");
        assert_eq!(document["error"]["tensor"], "norm.weight");
    }
}

/// The bytes of `norm.weight`: with its digest, the one run of 128 bytes that has it.
fn norm(file: &[u8]) -> Vec<u8> {
    let recorded = fs::read_to_string(fixture("tiny-llama3/expected.json")).unwrap();
    let recorded: Value = serde_json::from_str(&recorded).unwrap();
    let tensors = recorded["mp2"]["tensors"].as_array().unwrap();
    let norm = tensors.iter().find(|tensor| tensor["name"] == "norm.weight").unwrap();
    let windows = file.windows(128).step_by(64);
    let digest = |bytes: &&[u8]| ckpt::digests::Algorithm::Sha256.of(bytes) == norm["sha256"].as_str().unwrap();
    windows.filter(|window| window.iter().any(|&byte| byte != 0)).find(digest).unwrap().to_vec()
}

#[test]
fn a_filter_narrows_what_is_said_and_not_the_root() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.safetensors"), safetensors(&[("a", b"12"), ("b", b"3")])).unwrap();
    let script = r#"ckpt-hash w.safetensors | jq -c '.select=["b"]' | ckpt-hash | jq -c '[.hash.tensors[].name,.hash.root]'
        ckpt-hash w.safetensors | jq -c '["b",.hash.root]'"#;
    let Some(output) = shell(folder.path(), &["jq"], script) else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    let (narrowed, whole) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(narrowed, whole);
}
