//! One kind of damage each: an intact copy of a fixture, a small function that damages it, and exactly what must be
//! said of it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod damages;
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use ckpt::facts::Id;
use ckpt::facts::rules::Level;
use damages::{Case, copy_over, cut, make, remove, rename, write};
use serde_json::json;
use support::{
    Copy, FIRST, INDEX, SECOND, Stored, add, edit_index, edit_json, edit_tensor, edit_tensors, fixtures, set, verify,
};

const O1: &str = "model.layers.1.self_attn.o_proj.weight";

const CASES: &[Case] = &[
    ("no weights", "hf-tiny", |model| remove(model, &[FIRST, SECOND, INDEX]), &["error not-a-checkpoint - -"]),
    (
        "empty shard",
        "hf-tiny",
        |model| write(model, SECOND, b""),
        &["error file-empty model-00002-of-00002.safetensors -"],
    ),
    (
        "zeros",
        "hf-tiny",
        |model| write(model, SECOND, &[0; 85280]),
        &["error file-zeros model-00002-of-00002.safetensors -"],
    ),
    (
        "Git LFS pointer",
        "hf-tiny",
        |model| write(model, SECOND, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 85280\n"),
        &["error file-lfs-pointer model-00002-of-00002.safetensors -"],
    ),
    (
        "web page",
        "hf-tiny",
        |model| write(model, FIRST, b"<!DOCTYPE html><html>"),
        &["error file-html model-00001-of-00002.safetensors -"],
    ),
    (
        "refusal of a server",
        "hf-tiny",
        |model| write(model, FIRST, b"{\"error\":\"Invalid credentials\"}"),
        &["error file-error-text model-00001-of-00002.safetensors -"],
    ),
    (
        "noise",
        "hf-tiny",
        |model| write(model, FIRST, &[0xA5; 4096]),
        &["error file-unknown model-00001-of-00002.safetensors -"],
    ),
    (
        "torch file called safetensors",
        "tiny-llama3/mp1",
        |model| rename(model, "consolidated.00.pth", "model.safetensors"),
        &["warning config-missing config.json -", "warning file-extension model.safetensors -"],
    ),
    (
        "dangling link",
        "hf-tiny",
        |model| {
            remove(model, &[SECOND]);
            symlink("../blobs/gone", model.join(SECOND)).unwrap();
        },
        &[
            "error link-dangling model-00002-of-00002.safetensors -",
            "error shard-missing model-00002-of-00002.safetensors -",
        ],
    ),
    (
        "index that leads outside",
        "hf-tiny",
        |model| edit_index(model, |map| drop(map.insert(O1.into(), json!("../../etc/passwd")))),
        &["error index-wrong-shard ", "error name-unsafe model.safetensors.index.json -"],
    ),
    (
        "unfinished conversion",
        "hf-tiny",
        |model| make(model, ".x.ckpt-partial"),
        &["error partial-left .x.ckpt-partial -"],
    ),
    (
        "unfinished download",
        "hf-tiny",
        |model| write(model, "x.incomplete", b"?"),
        &["warning partial-left x.incomplete -"],
    ),
    (
        "two names but for case",
        "hf-tiny",
        |model| write(model, "Config.json", b"{}"),
        &["warning name-case config.json -"],
    ),
    (
        "shard cut short",
        "hf-tiny",
        |model| cut(model, SECOND, 1000),
        &["error safetensors-truncated model-00002-of-00002.safetensors "],
    ),
    (
        "rank cut short",
        "tiny-llama3/mp2",
        |model| cut(model, "consolidated.01.pth", 100),
        &["error zip-truncated consolidated.01.pth -"],
    ),
    (
        "GGUF cut short",
        "gguf/llama-q8_0.gguf",
        |model| cut(model, "llama-q8_0.gguf", 200),
        &["error gguf-truncated llama-q8_0.gguf output.weight"],
    ),
    (
        "part of a split GGUF missing",
        "gguf/split",
        |model| remove(model, &["m-00002-of-00003.gguf"]),
        &["error shard-missing m-00002-of-00003.gguf -"],
    ),
    (
        "no format in the metadata",
        "hf-tiny",
        |model| edit_tensors(&model.join(FIRST), |metadata, _| *metadata = None),
        &["warning safetensors-metadata model-00001-of-00002.safetensors -"],
    ),
    (
        "no weight_map",
        "hf-tiny",
        |model| write(model, INDEX, b"{\"metadata\":{}}"),
        &["error index-invalid model.safetensors.index.json -"],
    ),
    ("no index", "hf-tiny", |model| remove(model, &[INDEX]), &["warning index-invalid model.safetensors.index.json -"]),
    (
        "index names what is not there",
        "hf-tiny",
        |model| edit_index(model, |map| drop(map.insert("model.layers.1.extra".into(), json!(SECOND)))),
        &["error index-tensor-missing model-00002-of-00002.safetensors model.layers.1.extra"],
    ),
    (
        "index leaves a tensor out",
        "hf-tiny",
        |model| edit_index(model, |map| drop(map.remove(O1))),
        &["error index-tensor-unlisted model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "index names the wrong shard",
        "hf-tiny",
        |model| edit_index(model, |map| drop(map.insert(O1.into(), json!(FIRST)))),
        &["error index-wrong-shard model.safetensors.index.json model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "wrong sum in the index",
        "hf-tiny",
        |model| edit_json(&model.join(INDEX), |index| index["metadata"]["total_size"] = json!(1)),
        &["warning index-total-size model.safetensors.index.json -"],
    ),
    (
        "shard missing",
        "hf-tiny",
        |model| remove(model, &[SECOND]),
        &["error shard-missing model-00002-of-00002.safetensors -"],
    ),
    (
        "rank missing",
        "tiny-llama3/mp2",
        |model| remove(model, &["consolidated.01.pth"]),
        &["error shard-missing consolidated.01.pth -"],
    ),
    (
        "first rank missing",
        "tiny-llama3/mp2",
        |model| remove(model, &["consolidated.00.pth"]),
        &["error shard-missing consolidated.00.pth -"],
    ),
    (
        "one file that hides the shards",
        "hf-tiny",
        |model| copy_over(&model.join(SECOND), model, "model.safetensors"),
        &["error shard-stray model.safetensors -"],
    ),
    (
        "shard of another save",
        "hf-tiny",
        |model| copy_over(&model.join(SECOND), model, "model-00002-of-00003.safetensors"),
        &["warning shard-stray model-00002-of-00003.safetensors -"],
    ),
    (
        "rank of another model",
        "tiny-llama3/mp2",
        |model| copy_over(&fixtures().join("tiny-llama2/mp2/consolidated.01.pth"), model, "consolidated.01.pth"),
        &["error shard-mismatch "],
    ),
    (
        "broken tokenizer_config.json",
        "hf-tiny",
        |model| cut(model, "tokenizer_config.json", 9),
        &["error json-invalid tokenizer_config.json -"],
    ),
    ("broken config.json", "hf-tiny", |model| cut(model, "config.json", 9), &["error json-invalid config.json -"]),
    (
        "broken params.json",
        "tiny-llama3/mp1",
        |model| cut(model, "params.json", 9),
        &["error json-invalid params.json -"],
    ),
    ("no config.json", "hf-tiny", |model| remove(model, &["config.json"]), &["warning config-missing config.json -"]),
    (
        "no params.json",
        "tiny-llama3/mp2",
        |model| remove(model, &["params.json"]),
        &["warning config-missing params.json -"],
    ),
    (
        "another width in the config",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("intermediate_size", json!(192))]),
        &[
            "error config-shape model-00001-of-00002.safetensors model.layers.0.mlp.down_proj.weight",
            "error config-shape model-00001-of-00002.safetensors model.layers.0.mlp.gate_proj.weight",
            "error config-shape model-00001-of-00002.safetensors model.layers.0.mlp.up_proj.weight",
            "error config-shape model-00002-of-00002.safetensors model.layers.1.mlp.down_proj.weight",
            "error config-shape model-00002-of-00002.safetensors model.layers.1.mlp.gate_proj.weight",
            "error config-shape model-00002-of-00002.safetensors model.layers.1.mlp.up_proj.weight",
        ],
    ),
    (
        "other key heads in params.json",
        "tiny-llama3/mp1",
        |model| set(&model.join("params.json"), &[("n_kv_heads", json!(4))]),
        &[
            "error config-shape consolidated.00.pth layers.0.attention.wk.weight",
            "error config-shape consolidated.00.pth layers.0.attention.wv.weight",
            "error config-shape consolidated.00.pth layers.1.attention.wk.weight",
            "error config-shape consolidated.00.pth layers.1.attention.wv.weight",
        ],
    ),
    (
        "another vocabulary in the config",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("vocab_size", json!(770))]),
        &["error config-vocab model-00001-of-00002.safetensors model.embed_tokens.weight"],
    ),
    (
        "more layers in the config",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("num_hidden_layers", json!(3))]),
        &["error config-layers config.json -"],
    ),
    (
        "fewer layers in params.json",
        "tiny-llama2/mp2",
        |model| set(&model.join("params.json"), &[("n_layers", json!(1))]),
        &["error config-layers params.json -"],
    ),
    (
        "another dtype in the config",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("dtype", json!("float32"))]),
        &["warning config-dtype config.json -"],
    ),
    (
        "a tensor lost",
        "hf-tiny",
        |model| {
            edit_tensors(&model.join(SECOND), |_, tensors| tensors.retain(|tensor| tensor.name != O1));
            edit_index(model, |map| drop(map.remove(O1)));
            edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
        },
        &["error tensor-missing - model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "names of a wrapper",
        "hf-tiny",
        |model| {
            for shard in [FIRST, SECOND] {
                edit_tensors(&model.join(shard), |_, tensors| {
                    for tensor in tensors {
                        tensor.name.insert_str(0, "module.");
                    }
                });
            }
            edit_index(model, |map| {
                *map = std::mem::take(map).into_iter().map(|(name, file)| (format!("module.{name}"), file)).collect();
            });
        },
        &["error tensor-missing config.json -"],
    ),
    (
        "a tensor too many",
        "hf-tiny",
        |model| add(model, Stored { name: "model.layers.1.adapter.weight".into(), ..small("BF16", &[2, 2]) }),
        &["warning tensor-unexpected model-00002-of-00002.safetensors model.layers.1.adapter.weight"],
    ),
    (
        "placeholder of sharded training",
        "hf-tiny",
        |model| {
            edit_tensor(&model.join(SECOND), O1, |tensor| {
                tensor.shape = vec![0];
                tensor.bytes.clear();
            });
            edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
        },
        &["error tensor-empty model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "one layer in another dtype",
        "hf-tiny",
        |model| edit_tensor(&model.join(SECOND), O1, |tensor| tensor.dtype = "F16".into()),
        &["warning dtype-mixed model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "head lost",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("tie_word_embeddings", json!(false))]),
        &["error tied-head-missing config.json lm_head.weight"],
    ),
    ("no tokenizer", "hf-tiny", |model| remove(model, &["tokenizer.json"]), &["warning tokenizer-missing - -"]),
    (
        "no tokenizer.model",
        "tiny-llama2/mp1",
        |model| remove(model, &["tokenizer.model"]),
        &["warning tokenizer-missing - -"],
    ),
    (
        "broken tokenizer.json",
        "hf-tiny",
        |model| cut(model, "tokenizer.json", 5000),
        &["error tokenizer-invalid tokenizer.json -"],
    ),
    (
        "tokens added",
        "hf-tiny",
        |model| {
            edit_json(&model.join("tokenizer.json"), |tokenizer| {
                let added = tokenizer["added_tokens"].as_array_mut().unwrap();
                let mut token = added[0].clone();
                token["id"] = json!(768);
                token["content"] = json!("<|new|>");
                added.push(token);
            });
        },
        &["error tokenizer-vocab tokenizer.json model.embed_tokens.weight"],
    ),
    (
        "the other tokenizer",
        "tiny-llama2/mp1",
        |model| copy_over(&fixtures().join("tiny-llama3/mp1/tokenizer.model"), model, "tokenizer.model"),
        &["error tokenizer-vocab tokenizer.model tok_embeddings.weight"],
    ),
];

/// Single files that are strange as a whole, and the one thing to be said of each.
const FILES: &[(&str, &str)] = &[
    ("safetensors-bad/byte_order_mark.safetensors", "safetensors-header"),
    ("safetensors-bad/duplicate_by_escape.safetensors", "safetensors-duplicate"),
    ("safetensors-bad/unknown_dtype.safetensors", "safetensors-dtype"),
    ("safetensors-bad/size_mismatch.safetensors", "safetensors-size"),
    ("safetensors-bad/overlap.safetensors", "safetensors-overlap"),
    ("safetensors-bad/hole_between.safetensors", "safetensors-hole"),
    ("safetensors-bad/trailing_data.safetensors", "safetensors-trailing"),
    ("torch/odd/missing_storage.pt", "torch-record-missing"),
    ("torch/odd/short_storage.pt", "torch-storage-short"),
    ("torch/odd/long_storage.pt", "torch-storage-long"),
    ("torch/legacy.pt", "torch-legacy"),
    ("torch/odd/big_endian.pt", "torch-byteorder"),
    ("torch/protocol4.pt", "torch-protocol"),
    ("torch/odd/deflated.pt", "zip-compressed"),
    ("torch/odd/trailing_bytes.pt", "zip-invalid"),
    ("torch/unknown_classes.pt", "pickle-unknown-class"),
    ("torch/meta.pt", "tensor-absent"),
];

/// Rules of the structure level that no case here damages, by their names, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("file-unreadable path-missing unsupported", "gives no answer: the test of exit codes has it"),
    ("file-changed", "needs a file that changes between two reads: a test of all tools has it"),
    ("link-outside tied-head-stored", "a note: the test of notes has it"),
    ("step-incomplete training-model-only training-step", "of runs and their steps: the tests of those have it"),
    ("too-large pickle-invalid pickle-tensor", "the library's tests of each reader have it"),
    ("sparse-hole", "a test of its own makes a hole"),
    ("zip-mismatch zip-overlap zip-duplicate", "the library's tests of zips have it"),
    ("pickle-dangerous pickle-incomplete pickle-bomb pickled-weights custom-code", "the tests of pickles have it"),
    ("pickle-smuggled pickle-trailing pickle-unscanned", "the library's tests of scans have it"),
    ("adapter-base", "needs a base to be held against: a case has it"),
    ("tokenizer-not-meta instruct-unknown", "only a conversion says it"),
    ("gguf-invalid gguf-duplicate gguf-type gguf-alignment", "the library's tests of GGUF files have it"),
    ("gguf-overlap gguf-hole gguf-trailing", "the library's tests of GGUF files have it"),
];

fn small(dtype: &str, shape: &[u64]) -> Stored {
    let bytes = vec![0; usize::try_from(shape.iter().product::<u64>()).unwrap().checked_mul(2).unwrap()];
    Stored { name: String::new(), dtype: dtype.into(), shape: shape.to_vec(), bytes }
}

/// Every kind of damage.
fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(damages::TABLES.iter().copied().flatten())
}

#[test]
fn intact_trees_are_clean() {
    let trained = ["training/run/checkpoint-4", "training/train_state.pt", "training/epoch=0-step=4.ckpt"];
    for fixture in trained.into_iter().chain([
        "hf-tiny",
        "tiny-llama3/mp1",
        "tiny-llama3/mp2",
        "tiny-llama2/mp1",
        "tiny-llama2/mp2",
    ]) {
        let copy = Copy::of(fixture);
        let said =
            verify(copy.root.path(), &["model", "--fail-on", "note", "--severity", "pickle-unknown-class=ignore"]);
        assert_eq!((said.code, said.findings()), (0, &[][..]), "{fixture}");
    }
    for file in ["aliases", "subbyte", "unaligned"] {
        let path = format!("safetensors/{file}.safetensors");
        assert_eq!(verify(&fixtures(), &[&path, "--fail-on", "note"]).code, 0, "{file}");
    }
    assert_eq!(verify(&fixtures(), &["safetensors"]).complaints(), [""; 0]);
    // Shards of which nothing says what model they are: that is all there is to say.
    let said = verify(&fixtures(), &["safetensors/sharded"]);
    assert_eq!(said.complaints(), ["warning config-missing config.json -"]);
}

#[test]
fn each_damage_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for (name, fixture, damage, expected) in all() {
        let copy = Copy::of(fixture);
        damage(&copy.path);
        let said = verify(copy.root.path(), &["model"]);
        let complaints = said.complaints();
        let fits = complaints.len() >= expected.len()
            && complaints.iter().all(|said| expected.iter().any(|expected| matches(expected, said)))
            && expected.iter().all(|expected| complaints.iter().any(|said| matches(expected, said)));
        let errors = expected.iter().any(|expected| expected.starts_with("error"));
        let status = if errors { "findings" } else { "ok" };
        if !fits || said.code != i32::from(errors) || said.document["status"] != status {
            wrong.push(format!("{name}: exit {}, {complaints:#?}", said.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An expectation that ends in a space leaves open where.
fn matches(expected: &str, said: &str) -> bool {
    expected == said || (expected.ends_with(' ') && said.starts_with(expected))
}

#[test]
fn strange_files_are_named() {
    for (file, id) in FILES {
        let said = verify(&fixtures(), &[file]);
        let ids: BTreeSet<&str> = said.findings().iter().filter_map(|finding| finding["id"].as_str()).collect();
        assert!(ids.contains(id), "{file}: {ids:?}");
        assert!(ids.iter().all(|found| found == id || *found == "tensor-absent"), "{file}: {ids:?}");
    }
}

#[test]
fn every_rule_of_the_structure_level_is_damaged_here_or_elsewhere() {
    let cases = all().flat_map(|(_, _, _, expected)| *expected).filter_map(|said| said.split(' ').nth(1));
    let found: BTreeSet<&str> = cases.chain(FILES.iter().map(|(_, id)| *id)).collect();
    for id in Id::ALL.iter().filter(|id| id.level() == Level::Structure) {
        let elsewhere = ELSEWHERE.iter().any(|(others, _)| others.split(' ').any(|other| other == id.name()));
        assert_ne!(found.contains(id.name()), elsewhere, "{} needs exactly one of a case and a reason", id.name());
    }
}

/// A file of a trainer that lies in a folder named after a step.
#[test]
fn a_step_is_held_against_its_folder() {
    let copy = Copy::of("training/model-only/checkpoint-4");
    let root = copy.root.path();
    std::fs::rename(&copy.path, root.join("checkpoint-4")).unwrap();
    let said = verify(root, &["checkpoint-4"]);
    let ids: Vec<&str> = said.findings().iter().filter_map(|finding| finding["id"].as_str()).collect();
    assert_eq!((said.code, ids), (0, vec!["training-model-only", "pickle-unknown-class"]));
    std::fs::rename(root.join("checkpoint-4"), root.join("checkpoint-6")).unwrap();
    let said = verify(root, &["checkpoint-6"]);
    assert_eq!(said.complaints(), ["warning training-step trainer_state.json -"]);
    assert_eq!(verify(root, &["checkpoint-6", "--expect", "resume"]).code, 1);
}

#[test]
fn there_are_sixty_kinds_and_no_two_of_one_name() {
    let names: BTreeSet<&str> = all().map(|(name, ..)| *name).collect();
    assert!(names.len() >= 60 && names.len() == all().count(), "{}", names.len());
}
