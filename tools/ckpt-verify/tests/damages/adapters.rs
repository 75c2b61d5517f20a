//! Damage to adapters.

use serde_json::{Value, json};

use super::{Case, cut, remove, rename};
use crate::support::{Stored, edit_json, edit_tensors, set};

const LORA: &str = "adapters/lora";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const Q0: &str = "base_model.model.model.layers.0.self_attn.q_proj";

fn edit(model: &std::path::Path, change: impl FnOnce(&mut Vec<Stored>)) {
    edit_tensors(&model.join(WEIGHTS), |_, tensors| change(tensors));
}

fn take(tensors: &mut Vec<Stored>, ending: &str) {
    tensors.retain(|tensor| tensor.name != format!("{Q0}{ending}"));
}

pub(crate) const CASES: &[Case] = &[
    (
        "adapter without its config",
        LORA,
        |model| remove(model, &[CONFIG]),
        &["error adapter-config adapter_config.json -"],
    ),
    ("config without its adapter", LORA, |model| remove(model, &[WEIGHTS]), &["error not-a-checkpoint - -"]),
    (
        "config of an adapter cut short",
        LORA,
        |model| cut(model, CONFIG, 100),
        &["error json-invalid adapter_config.json -"],
    ),
    (
        "adapter cut short",
        LORA,
        |model| cut(model, WEIGHTS, 100),
        &["error safetensors-truncated adapter_model.safetensors "],
    ),
    (
        "half of a pair lost",
        LORA,
        |model| edit(model, |tensors| take(tensors, ".lora_B.weight")),
        &[
            "error adapter-pair adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        ],
    ),
    (
        "pair lost, of a module that the config names",
        LORA,
        |model| edit(model, |tensors| tensors.retain(|tensor| !tensor.name.contains("q_proj"))),
        &["error adapter-targets adapter_config.json -"],
    ),
    (
        "config names fewer modules",
        LORA,
        |model| set(&model.join(CONFIG), &[("target_modules", json!(["q_proj", "k_proj", "v_proj"]))]),
        &[
            "error adapter-targets adapter_config.json base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight",
            "error adapter-targets adapter_config.json base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight",
        ],
    ),
    (
        "halves of two ranks",
        LORA,
        |model| {
            edit(model, |tensors| {
                for tensor in tensors.iter_mut().filter(|tensor| tensor.name == format!("{Q0}.lora_A.weight")) {
                    tensor.shape = vec![4, 32];
                }
            });
        },
        &[
            "error adapter-rank adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
        ],
    ),
    (
        "config of another rank",
        LORA,
        |model| set(&model.join(CONFIG), &[("r", json!(4))]),
        &["error adapter-rank adapter_model.safetensors "],
    ),
    (
        "config without alpha",
        LORA,
        |model| edit_json(&model.join(CONFIG), |config| drop(config.remove("lora_alpha"))),
        &["warning adapter-alpha adapter_config.json -"],
    ),
    (
        "config without rank",
        LORA,
        |model| set(&model.join(CONFIG), &[("r", Value::Null), ("rank_pattern", Value::Null)]),
        &["error adapter-config adapter_config.json -"],
    ),
    (
        "a rank of one module that is no number",
        LORA,
        |model| set(&model.join(CONFIG), &[("rank_pattern", json!({"q_proj": "4"}))]),
        &["error adapter-config adapter_config.json -"],
    ),
    (
        "a rank that is no size",
        LORA,
        |model| set(&model.join(CONFIG), &[("r", json!(-1))]),
        &["error adapter-config adapter_config.json -"],
    ),
    (
        "pairs of no rank",
        LORA,
        |model| {
            edit(model, |tensors| {
                for tensor in tensors.iter_mut().filter(|tensor| tensor.name.starts_with(Q0)) {
                    tensor.shape = if tensor.name.contains("lora_A") { vec![0, 64] } else { vec![64, 0] };
                    tensor.bytes.clear();
                }
            });
        },
        &[
            "error adapter-rank adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        ],
    ),
    (
        "an alpha beyond all numbers",
        LORA,
        |model| set(&model.join(CONFIG), &[("lora_alpha", json!(1e300))]),
        &["error adapter-alpha adapter_config.json -"],
    ),
    (
        "config without its base",
        LORA,
        |model| set(&model.join(CONFIG), &[("base_model_name_or_path", json!(""))]),
        &["warning adapter-config adapter_config.json -"],
    ),
    (
        "magnitudes that the config does not use",
        "adapters/dora",
        |model| set(&model.join(CONFIG), &[("use_dora", json!(false))]),
        &["error adapter-config adapter_config.json -"],
    ),
    (
        "magnitudes lost",
        "adapters/dora",
        |model| edit(model, |tensors| tensors.retain(|tensor| !tensor.name.contains("magnitude"))),
        &["error adapter-config adapter_config.json -"],
    ),
    (
        "weights of nothing known",
        LORA,
        |model| {
            edit(model, |tensors| {
                for tensor in tensors.iter_mut().filter(|tensor| tensor.name == format!("{Q0}.lora_A.weight")) {
                    tensor.name = format!("{Q0}.lora_C.weight");
                }
            });
        },
        &[
            "error adapter-pair adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
            "warning tensor-unexpected adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
        ],
    ),
    (
        "torchtune's file under PEFT's name",
        "adapters/meta/adapter",
        |model| rename(model, "adapter.pth", "adapter_model.bin"),
        &["warning adapter-alpha - -"],
    ),
];
