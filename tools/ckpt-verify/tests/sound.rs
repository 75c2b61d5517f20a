//! Checkpoints that are unusual and sound: not one error or warning may be said of them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Copy, FIRST, INDEX, SECOND, Stored, edit_index, edit_json, edit_tensors, set, verify};

/// What it is, the tree, and what makes it unusual.
type Case = (&'static str, &'static str, fn(&Path));

const CASES: &[Case] = &[
    ("saved without its head, as LlamaModel", "hf-tiny", |model| {
        rename_tensors(model, |name| name.trim_start_matches("model.").to_owned());
        set(&model.join("config.json"), &[("architectures", json!(["LlamaModel"]))]);
    }),
    ("a classifier with a head of its own", "hf-tiny", |model| {
        add(model, "score.weight", &[2, 64]);
        let architectures = json!(["LlamaForSequenceClassification"]);
        let untied = json!(false);
        set(&model.join("config.json"), &[("architectures", architectures), ("tie_word_embeddings", untied)]);
    }),
    ("biases that the config announces", "hf-tiny", |model| {
        for layer in 0..2 {
            for (projection, rows) in [("q", 64), ("k", 32), ("v", 32), ("o", 64)] {
                add(model, &format!("model.layers.{layer}.self_attn.{projection}_proj.bias"), &[rows]);
            }
        }
        set(&model.join("config.json"), &[("attention_bias", json!(true))]);
    }),
    ("buffers of older transformers", "hf-tiny", |model| {
        for layer in 0..2 {
            add(model, &format!("model.layers.{layer}.self_attn.rotary_emb.inv_freq"), &[8]);
        }
    }),
    ("weights packed by a quantisation", "hf-tiny", |model| {
        support::quantise(model);
    }),
    ("an architecture that nobody knows", "hf-tiny", |model| {
        rename_tensors(model, |name| name.replace("self_attn", "mixer"));
        let changed =
            [("model_type", json!("unheard_of")), ("intermediate_size", json!(1)), ("num_hidden_layers", json!(9))];
        set(&model.join("config.json"), &changed);
    }),
    ("the config of transformers 4", "hf-tiny", |model| {
        edit_json(&model.join("config.json"), |config| {
            let dtype = config.remove("dtype").unwrap();
            config.insert("torch_dtype".into(), dtype);
            config.remove("head_dim");
            config.remove("rope_parameters");
            config.insert("rope_theta".into(), json!(500_000.0));
        });
    }),
    ("numbers that only Python knows", "hf-tiny", |model| {
        std::fs::write(model.join("trainer_state.json"), b"{\"log_history\": [{\"loss\": NaN, \"grad\": Infinity}]}")
            .unwrap();
    }),
    ("an embedding padded beyond the tokenizer", "hf-tiny", |model| {
        edit_json(&model.join("tokenizer.json"), |tokenizer| {
            drop(tokenizer["added_tokens"].as_array_mut().unwrap().pop());
        });
    }),
    ("a rank without a number", "tiny-llama3/mp1", |model| {
        std::fs::rename(model.join("consolidated.00.pth"), model.join("consolidated.pth")).unwrap();
    }),
    ("the tokenizer one folder up", "tiny-llama2/mp2", |model| {
        std::fs::rename(model.join("tokenizer.model"), model.join("../tokenizer.model")).unwrap();
    }),
    ("params.json wrapped in model", "tiny-llama3/mp2", |model| {
        let path = model.join("params.json");
        let params: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(path, serde_json::to_vec(&json!({"model": params})).unwrap()).unwrap();
    }),
    ("one file, not sharded", "hf-tiny", |model| {
        let mut moved: Vec<Stored> = Vec::new();
        edit_tensors(&model.join(SECOND), |_, tensors| moved.clone_from(tensors));
        edit_tensors(&model.join(FIRST), |_, tensors| tensors.append(&mut moved));
        std::fs::rename(model.join(FIRST), model.join("model.safetensors")).unwrap();
        std::fs::remove_file(model.join(SECOND)).unwrap();
        std::fs::remove_file(model.join(INDEX)).unwrap();
    }),
];

/// Renames every tensor, in the shards and in the index.
fn rename_tensors(model: &Path, name: impl Fn(&str) -> String) {
    for shard in [FIRST, SECOND] {
        edit_tensors(&model.join(shard), |_, tensors| {
            for tensor in tensors {
                tensor.name = name(&tensor.name);
            }
        });
    }
    edit_index(model, |map| *map = std::mem::take(map).into_iter().map(|(old, file)| (name(&old), file)).collect());
}

/// Adds a tensor of zeros.
fn add(model: &Path, name: &str, shape: &[u64]) {
    let elements = usize::try_from(shape.iter().product::<u64>()).unwrap();
    let bytes = [0; 2].repeat(elements);
    support::add(model, Stored { name: name.to_owned(), dtype: "BF16".into(), shape: shape.to_vec(), bytes });
}

#[test]
fn nothing_is_said_against_what_is_only_unusual() {
    let mut wrong = Vec::new();
    for (name, fixture, change) in CASES {
        let copy = Copy::of(fixture);
        change(&copy.path);
        let said = verify(copy.root.path(), &["model", "--fail-on", "warning"]);
        if said.code != 0 {
            wrong.push(format!("{name}: {:#?}", said.complaints()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
