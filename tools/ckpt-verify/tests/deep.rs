//! What only the data can tell: each fault made from an intact fixture, found with `--deep` and not before; and what
//! is unusual and sound, of which nothing may be said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod faults;
mod support;

use ckpt::facts::Id;
use ckpt::facts::rules::Level;
use faults::{CASES, SOUND, UP, loose, place, put, scales, stored};
use serde_json::{Value, json};
use support::{Copy, FIRST, SECOND, Said, Stored, edit_json, fixtures, verify};

/// What is said with `--deep`, without what is said before.
fn deeper(copy: &Copy) -> (Said, Vec<String>) {
    let before = verify(copy.root.path(), &["model"]);
    assert_eq!(before.document["verify"]["level"], "structure");
    let said = verify(copy.root.path(), &["model", "--deep"]);
    assert_eq!(said.document["verify"]["level"], "deep");
    let told = before.complaints();
    let mut more = said.complaints();
    more.retain(|complaint| !told.contains(complaint));
    assert!(told.iter().all(|complaint| said.complaints().contains(complaint)), "the deep level says less");
    (said, more)
}

#[test]
fn each_fault_is_found_in_the_data_and_not_before() {
    let mut wrong = Vec::new();
    for (name, fixture, damage, expected) in CASES {
        let copy = Copy::of(fixture);
        damage(&copy.path);
        let (said, more) = deeper(&copy);
        let failed = expected.iter().any(|expected| expected.starts_with("error"));
        if more != *expected || said.code != i32::from(failed) {
            wrong.push(format!("{name}: exit {}, {more:#?}", said.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_unusual_and_sound_is_left_alone() {
    let mut wrong = Vec::new();
    for (name, fixture, change) in SOUND {
        let copy = Copy::of(fixture);
        change(&copy.path);
        let (said, more) = deeper(&copy);
        if !more.is_empty() || said.code != 0 {
            wrong.push(format!("{name}: exit {}, {more:#?}", said.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn intact_fixtures_are_clean() {
    let torch = std::fs::read_dir(fixtures().join("torch")).unwrap().map(|entry| entry.unwrap().path());
    let files = std::fs::read_dir(fixtures().join("safetensors")).unwrap().map(|entry| entry.unwrap().path());
    let models = ["hf-tiny", "tiny-llama2/mp1", "tiny-llama2/mp2", "tiny-llama3/mp1", "tiny-llama3/mp2"];
    let paths = torch
        .chain(files)
        .filter(|path| path.extension().is_some_and(|kind| kind != "json"))
        .chain(models.map(|model| fixtures().join(model)));
    for path in paths {
        let path = path.to_str().unwrap();
        let before = verify(&fixtures(), &[path]);
        let said = verify(&fixtures(), &[path, "--deep", "--jobs", "3"]);
        // Of what has no checksums that is said, and nothing else.
        let no_sums = ["skipped_data.pt", "no_crc.pt"].iter().any(|name| path.ends_with(name));
        let more: Vec<&Value> = said.findings().iter().filter(|finding| !before.findings().contains(finding)).collect();
        let only_note =
            more.len() == 1 && (&more[0]["id"], &more[0]["severity"]) == (&json!("zip-crc"), &json!("note"));
        assert!(said.code == before.code && (more.is_empty() || only_note && no_sums), "{path}: {more:?}");
    }
}

#[test]
fn a_finding_says_where() {
    let copy = Copy::of("hf-tiny");
    put(&copy.path, SECOND, UP, 131, &[0xc0, 0x7f]);
    put(&copy.path, SECOND, UP, 4000, &[0xc1, 0xff]);
    let edited = ckpt::layouts::open(&copy.path, None, 1).unwrap();
    let (_, offset) = edited.tensor(UP).unwrap().recipe.contiguous().unwrap();
    let said = verify(copy.root.path(), &["model", "--deep"]);
    let finding = &said.findings()[0];
    assert_eq!((finding["id"].as_str(), finding["offset"].as_u64()), (Some("nan"), Some(offset + 262)));
    assert_eq!(finding["message"], "2 of 11264 values are NaN, the first at element 131");

    // In blocks the place is that of the block, and all of its values are what its scale is.
    let copy = Copy::of("gguf/llama-q8_0.gguf");
    let (offset, _) = place(&copy.path.join("llama-q8_0.gguf"), "blk.0.attn_q.weight");
    scales(&copy.path, "blk.0.attn_q.weight", 7, 1, [0x00, 0x7e]);
    let finding = verify(copy.root.path(), &["model", "--deep"]).findings()[0].clone();
    assert_eq!(finding["offset"], json!(offset + 7 * 34));
    assert_eq!(finding["message"], "32 of 1024 values are NaN, the first at element 224");
}

#[test]
fn a_hole_is_found_from_the_outside() {
    use std::os::unix::fs::FileExt;
    let copy = Copy::of("hf-tiny");
    let path = copy.path.join(FIRST);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
    file.write_all_at(&bytes[..16_384], 0).unwrap();
    file.write_all_at(&bytes[131_072..], 131_072).unwrap();
    let said = verify(copy.root.path(), &["model"]);
    assert_eq!(said.complaints(), ["error sparse-hole model-00001-of-00002.safetensors -"]);
    assert_eq!((said.code, &said.findings()[0]["offset"]), (1, &json!(16_384)));
    assert_eq!(said.findings()[0]["found"], "a hole of 114688 bytes");
    let said = verify(copy.root.path(), &["model", "--severity", "sparse-hole=ignore"]);
    assert_eq!((said.code, said.findings()), (0, &[][..]));
}

#[test]
fn figures_are_those_of_the_values_in_every_layout() {
    let figures = |path: &str, jobs: &str| -> Vec<Value> {
        let said = verify(&fixtures(), &[path, "--deep", "--stats", "--jobs", jobs]);
        said.document["verify"]["stats"].as_array().unwrap().clone()
    };
    let one = figures("tiny-llama3/mp1", "1");
    assert_eq!(one, figures("tiny-llama3/mp1", "3"));
    // Joined from two ranks, the same to the last bit.
    assert_eq!(one, figures("tiny-llama3/mp2", "2"));
    let names: Vec<&str> = one.iter().map(|figure| figure["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"norm.weight"));

    let copy = Copy::of("safetensors/unaligned.safetensors");
    let values: Vec<u8> =
        [1.0f32, -2.0, f32::NAN, 0.0, f32::INFINITY, 5.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Stored { name: "w".into(), dtype: "F32".into(), shape: vec![6], bytes: values };
    loose(&copy.path, vec![tensor, stored("odd", "F32", &[1], |at| [0, 0, 0xc0, 0x7f][at])]);
    let said = verify(copy.root.path(), &["model", "--deep", "--stats"]);
    let wanted = json!({
        "name": "w", "count": 6, "min": -2.0, "max": 5.0, "mean": 1.0, "std": 6.5f64.sqrt(), "norm": 30f64.sqrt(),
        "zeros": 1, "nan": 1, "inf": 1,
    });
    let nothing = json!({
        "name": "odd", "count": 1, "min": null, "max": null, "mean": null, "std": null, "norm": null,
        "zeros": 0, "nan": 1, "inf": 0,
    });
    assert_eq!(said.document["verify"]["stats"], json!([nothing, wanted]));

    // Real and imaginary parts are numbers of their own; and two floats of four bits stand in a byte.
    let parts: Vec<u8> = [3.0f32, 1.0, 4.0, f32::INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
    let complex = Stored { name: "c".into(), dtype: "C64".into(), shape: vec![2], bytes: parts };
    let four = Stored { name: "f".into(), dtype: "F4".into(), shape: vec![4], bytes: vec![0x70, 0xf2] };
    loose(&copy.path, vec![complex, four]);
    let said = verify(copy.root.path(), &["model", "--deep", "--stats"]);
    let complex = json!({
        "name": "c", "count": 2, "min": 3.0, "max": 4.0, "mean": 3.5, "std": 0.5, "norm": 5.0,
        "zeros": 0, "nan": 0, "inf": 0, "imaginary": {
            "min": 1.0, "max": 1.0, "mean": 1.0, "std": 0.0, "norm": 1.0, "zeros": 0, "nan": 0, "inf": 1,
        },
    });
    let four = json!({
        "name": "f", "count": 4, "min": -6.0, "max": 6.0, "mean": 0.25, "std": 18.1875f64.sqrt(), "norm": 73f64.sqrt(),
        "zeros": 1, "nan": 0, "inf": 0,
    });
    assert_eq!(said.document["verify"]["stats"], json!([complex, four]));
    assert_eq!(verify(copy.root.path(), &["model", "--stats"]).code, 2);
}

#[test]
fn every_rule_of_the_data_is_damaged_here_or_compares_two_things() {
    let found: Vec<&str> =
        CASES.iter().flat_map(|(.., expected)| *expected).filter_map(|said| said.split(' ').nth(1)).collect();
    for id in Id::ALL.iter().filter(|id| id.level() == Level::Deep) {
        // `bit-rot` is said by ckpt-hash, which knows what a file was before.
        let compares = ["against-", "manifest-", "step-", "bit-rot"].iter().any(|prefix| id.name().starts_with(prefix));
        assert!(compares || found.contains(&id.name()), "{} has no case", id.name());
    }
}

#[test]
fn what_is_ignored_is_not_said() {
    let copy = Copy::of("tiny-llama3/mp1");
    edit_json(&copy.path.join("params.json"), |params| drop(params.insert("note".into(), json!(1))));
    let said = verify(copy.root.path(), &["model", "--deep", "--severity", "manifest-changed=note"]);
    assert_eq!((said.code, said.findings().len()), (0, 1));
}
