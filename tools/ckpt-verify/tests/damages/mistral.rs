//! Damage to models in Mistral's own form.

use serde_json::json;

use super::{Case, copy_over, remove, rename, write};
use crate::support::{edit_tensors, set};

const WEIGHTS: &str = "consolidated.safetensors";

/// Takes a tensor out.
fn without(model: &std::path::Path, name: &str) {
    edit_tensors(&model.join(WEIGHTS), |_, tensors| {
        tensors.retain(|tensor| tensor.name != name);
    });
}

pub(crate) const CASES: &[Case] = &[
    ("a whole Mistral", "tiny-mistral/dense", |_| (), &[]),
    ("a whole Mixtral", "tiny-mistral/mixture", |_| (), &[]),
    (
        "a tensor of a Mistral gone",
        "tiny-mistral/dense",
        |model| without(model, "layers.1.attention.wk.weight"),
        &["error tensor-missing - layers.1.attention.wk.weight"],
    ),
    (
        "the head of a Mistral gone",
        "tiny-mistral/dense",
        |model| without(model, "output.weight"),
        &["error tensor-missing - output.weight"],
    ),
    (
        "the head of a Mistral gone that is the embedding",
        "tiny-mistral/dense",
        |model| {
            set(&model.join("params.json"), &[("tied_embeddings", json!(true))]);
            without(model, "output.weight");
        },
        &[],
    ),
    (
        "an expert of a Mixtral gone",
        "tiny-mistral/mixture",
        |model| without(model, "layers.0.feed_forward.experts.2.w3.weight"),
        &["error tensor-missing - layers.0.feed_forward.experts.2.w3.weight"],
    ),
    (
        "a head of another size in params.json",
        "tiny-mistral/dense",
        |model| set(&model.join("params.json"), &[("head_dim", json!(8))]),
        &["error config-shape consolidated.safetensors "],
    ),
    (
        "no params.json beside a Mistral",
        "tiny-mistral/dense",
        |model| remove(model, &["params.json"]),
        &["warning config-missing params.json -"],
    ),
    (
        "no tokenizer beside a Mistral",
        "tiny-mistral/dense",
        |model| remove(model, &["tokenizer.model.v3"]),
        &["warning tokenizer-missing - -"],
    ),
    (
        "a tokenizer of a Mistral cut short",
        "tiny-mistral/mixture",
        |model| super::cut(model, "tekken.json", 100),
        &["error tokenizer-invalid tekken.json -"],
    ),
    (
        "one of two shards of a Mistral",
        "tiny-mistral/dense",
        |model| rename(model, WEIGHTS, "consolidated-00002-of-00002.safetensors"),
        &["error shard-missing consolidated-00001-of-00002.safetensors -"],
    ),
    (
        "an index of a Mistral that names a shard too many",
        "tiny-mistral/dense",
        |model| {
            let listing =
                json!({"metadata": {}, "weight_map": {"norm.weight": "consolidated-00001-of-00001.safetensors"}});
            write(model, "consolidated.safetensors.index.json", listing.to_string().as_bytes());
        },
        &[
            "error shard-missing consolidated-00001-of-00001.safetensors -",
            "warning shard-stray consolidated.safetensors -",
        ],
    ),
    (
        "both stores of a Mistral",
        "tiny-mistral/dense",
        |model| copy_over(&model.join(WEIGHTS), model, "consolidated.00.pth"),
        &["warning shard-stray consolidated.00.pth -"],
    ),
];
