//! More damage to weights, indexes, configs and what lies around them.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Case, copy_over, cut, make, remove, rename, replace, write};
use crate::support::{
    FIRST, INDEX, SECOND, Stored, add, edit_index, edit_json, edit_tensor, edit_tensors, fixtures, quantise, set,
};

const O1: &str = "model.layers.1.self_attn.o_proj.weight";

pub(crate) const CASES: &[Case] = &[
    (
        "experts in one tensor that are fewer than the config says, and a tensor gone",
        "families/llama4_text",
        |model| {
            set(&model.join("config.json"), &[("num_local_experts", json!(128))]);
            edit_tensors(&model.join("model.safetensors"), |_, tensors| {
                tensors.retain(|tensor| tensor.name != "model.norm.weight");
            });
        },
        &[
            "error config-shape model.safetensors model.layers.1.feed_forward.experts.down_proj",
            "error config-shape model.safetensors model.layers.1.feed_forward.experts.gate_up_proj",
            "error config-shape model.safetensors model.layers.1.feed_forward.router.weight",
            "error tensor-missing - model.norm.weight",
            "warning tokenizer-missing - -",
        ],
    ),
    (
        "more experts than there are tensors",
        "families/qwen3_moe",
        |model| set(&model.join("config.json"), &[("num_local_experts", json!(1_000_000))]),
        &[
            "error config-shape model.safetensors model.layers.0.mlp.gate.weight",
            "error config-shape model.safetensors model.layers.1.mlp.gate.weight",
            "error tensor-missing config.json -",
            "warning tokenizer-missing - -",
        ],
    ),
    (
        "frequencies of Meta's in a model of Hugging Face's",
        "hf-tiny",
        |model| {
            add(model, Stored { name: "rope.freqs".into(), dtype: "F32".into(), shape: vec![1], bytes: vec![1; 4] });
        },
        &[],
    ),
    (
        "scales of other groups",
        "hf-tiny",
        |model| {
            quantise(model);
            edit_tensor(&model.join(SECOND), "model.layers.1.self_attn.o_proj.scales", |tensor| {
                (tensor.shape, tensor.bytes) = (vec![2, 64], vec![0; 256]);
            });
        },
        &["error packed-parts model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.qweight"],
    ),
    (
        "header of length zero",
        "hf-tiny",
        |model| {
            let mut file = std::fs::read(model.join(SECOND)).unwrap();
            file[..8].fill(0);
            write(model, SECOND, &file);
        },
        &["error safetensors-header model-00002-of-00002.safetensors -"],
    ),
    (
        "shard in a gzip",
        "hf-tiny",
        |model| write(model, SECOND, b"\x1f\x8b\x08\0\0\0\0\0\0\x03and so on"),
        &["error file-unknown model-00002-of-00002.safetensors -"],
    ),
    (
        "safetensors file called pth",
        "tiny-llama3/mp1",
        |model| copy_over(&fixtures().join("hf-tiny").join(FIRST), model, "consolidated.00.pth"),
        &["error tensor-missing ", "error tied-head-missing ", "warning file-extension consolidated.00.pth -"],
    ),
    (
        "error page of a store",
        "hf-tiny",
        |model| write(model, FIRST, b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
        &["error file-error-text model-00001-of-00002.safetensors -"],
    ),
    (
        "refusal of the hub",
        "hf-tiny",
        |model| write(model, FIRST, b"Entry not found"),
        &["error file-error-text model-00001-of-00002.safetensors -"],
    ),
    (
        "link to itself",
        "hf-tiny",
        |model| {
            remove(model, &[SECOND]);
            symlink(SECOND, model.join(SECOND)).unwrap();
        },
        &[
            "error link-dangling model-00002-of-00002.safetensors -",
            "error shard-missing model-00002-of-00002.safetensors -",
        ],
    ),
    (
        "folder where a shard should be",
        "hf-tiny",
        |model| {
            remove(model, &[SECOND]);
            make(model, SECOND);
        },
        &["error shard-missing model-00002-of-00002.safetensors -"],
    ),
    (
        "index with an absolute path",
        "hf-tiny",
        |model| edit_index(model, |map| drop(map.insert(O1.into(), json!("/etc/passwd")))),
        &["error index-wrong-shard ", "error name-unsafe model.safetensors.index.json -"],
    ),
    (
        "index of another save",
        "hf-tiny",
        |model| {
            edit_index(model, |map| {
                for file in map.values_mut() {
                    *file = json!(file.as_str().unwrap().replace("-of-00002", "-of-00003"));
                }
            });
        },
        &[
            "error shard-missing model-00001-of-00003.safetensors -",
            "error shard-missing model-00002-of-00003.safetensors -",
        ],
    ),
    (
        "index cut short",
        "hf-tiny",
        |model| cut(model, INDEX, 100),
        &["error json-invalid model.safetensors.index.json -"],
    ),
    (
        "a tensor in two shards with other bytes",
        "hf-tiny",
        |model| {
            let mut twin: Option<Stored> = None;
            edit_tensors(&model.join(SECOND), |_, tensors| {
                twin = tensors.iter().find(|tensor| tensor.name == O1).cloned();
            });
            let mut twin = twin.unwrap();
            twin.bytes.reverse();
            edit_tensors(&model.join(FIRST), |_, tensors| tensors.push(twin));
            edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
        },
        &["error tensor-duplicate model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "another hidden size in the config",
        "hf-tiny",
        |model| set(&model.join("config.json"), &[("hidden_size", json!(128))]),
        &["error config-shape "],
    ),
    (
        "a matrix on its side",
        "hf-tiny",
        |model| {
            edit_tensor(&model.join(SECOND), "model.layers.1.mlp.down_proj.weight", |tensor| tensor.shape.reverse());
        },
        &["error config-shape model-00002-of-00002.safetensors model.layers.1.mlp.down_proj.weight"],
    ),
    (
        "a matrix with a dimension too many",
        "hf-tiny",
        |model| edit_tensor(&model.join(SECOND), O1, |tensor| tensor.shape.insert(0, 1)),
        &["error config-shape model-00002-of-00002.safetensors model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "embedding lost",
        "hf-tiny",
        |model| {
            edit_tensors(&model.join(FIRST), |_, tensors| {
                tensors.retain(|tensor| tensor.name != "model.embed_tokens.weight");
            });
            edit_index(model, |map| drop(map.remove("model.embed_tokens.weight")));
            edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
        },
        &["error tensor-missing - model.embed_tokens.weight"],
    ),
    (
        "a layer in the middle lost",
        "hf-tiny",
        |model| {
            for shard in [FIRST, SECOND] {
                edit_tensors(&model.join(shard), |_, tensors| {
                    tensors.retain(|tensor| !tensor.name.contains(".layers.0."));
                });
            }
            edit_index(model, |map| map.retain(|name, _| !name.contains(".layers.0.")));
            edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
        },
        &["error tensor-missing "],
    ),
    (
        "all norms in another dtype than half of them",
        "hf-tiny",
        |model| {
            edit_tensor(&model.join(SECOND), "model.layers.1.input_layernorm.weight", |tensor| {
                tensor.dtype = "F16".into();
            });
        },
        &["warning dtype-mixed model-00002-of-00002.safetensors model.layers.1.input_layernorm.weight"],
    ),
    (
        "placeholder added",
        "hf-tiny",
        |model| {
            let bytes = Vec::new();
            let name = "model.layers.1.adapter.weight".to_owned();
            add(model, Stored { name, dtype: "BF16".into(), shape: vec![0, 64], bytes });
        },
        &[
            "warning tensor-empty model-00002-of-00002.safetensors model.layers.1.adapter.weight",
            "warning tensor-unexpected model-00002-of-00002.safetensors model.layers.1.adapter.weight",
        ],
    ),
    (
        "download of curl",
        "hf-tiny",
        |model| write(model, "model.safetensors.part", b"?"),
        &["warning partial-left model.safetensors.part -"],
    ),
    (
        "download of the hub's client",
        "hf-tiny",
        |model| {
            make(model, "cache");
            write(model, "cache/0123abcd.incomplete", b"?");
        },
        &["warning partial-left cache/0123abcd.incomplete -"],
    ),
    (
        "download of the hub's client into a folder",
        "hf-tiny",
        |model| {
            std::fs::create_dir_all(model.join(".cache/huggingface/download")).unwrap();
            write(model, ".cache/huggingface/download/x.0123abcd.incomplete", b"?");
        },
        &["warning partial-left .cache/huggingface/download/x.0123abcd.incomplete -"],
    ),
    (
        "conversion under a file's name",
        "hf-tiny",
        |model| write(model, ".out.safetensors.ckpt-partial", b"?"),
        &["error partial-left .out.safetensors.ckpt-partial -"],
    ),
    (
        "two shards but for case",
        "hf-tiny",
        |model| copy_over(&model.join(SECOND), model, "Model-00002-of-00002.safetensors"),
        &["warning name-case model-00002-of-00002.safetensors -"],
    ),
    (
        "config.json that is no object",
        "hf-tiny",
        |model| write(model, "config.json", b"[]"),
        &["error json-invalid config.json -", "error tied-head-missing config.json lm_head.weight"],
    ),
    (
        "generation config that is not UTF-8",
        "hf-tiny",
        |model| write(model, "generation_config.json", b"{\"a\": \"\xff\"}"),
        &["error json-invalid generation_config.json -"],
    ),
    (
        "rank empty",
        "tiny-llama3/mp2",
        |model| write(model, "consolidated.01.pth", b""),
        &["error file-empty consolidated.01.pth -"],
    ),
    (
        "rank that begins with text",
        "tiny-llama3/mp2",
        |model| {
            let file = std::fs::read(model.join("consolidated.01.pth")).unwrap();
            write(model, "consolidated.01.pth", &[b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &file].concat());
        },
        &["error zip-leading consolidated.01.pth -"],
    ),
    (
        "rank with a record renamed into another folder",
        "tiny-llama3/mp2",
        |model| replace(model, "consolidated.01.pth", b"consolidated.01/byteorder", b"consolidated_01/byteorder"),
        &["error torch-stray-member consolidated.01.pth -"],
    ),
    (
        "rank of a version that there is not",
        "tiny-llama3/mp2",
        |model| replace(model, "consolidated.01.pth", b"ZZ3\n", b"ZZx\n"),
        &["error torch-description consolidated.01.pth -"],
    ),
    (
        "rank of a byte order that there is not",
        "tiny-llama3/mp2",
        |model| replace(model, "consolidated.01.pth", b"little", b"middle"),
        &["error torch-description consolidated.01.pth -"],
    ),
    (
        "params.json of another size",
        "tiny-llama3/mp1",
        |model| set(&model.join("params.json"), &[("dim", json!(128))]),
        &["error config-shape "],
    ),
    (
        "tokenizer empty",
        "hf-tiny",
        |model| write(model, "tokenizer.json", b""),
        &["error tokenizer-invalid tokenizer.json -"],
    ),
    (
        "tokenizer.model cut short",
        "tiny-llama2/mp1",
        |model| cut(model, "tokenizer.model", 3),
        &["error tokenizer-invalid tokenizer.model -"],
    ),
    (
        "shard under another number",
        "hf-tiny",
        |model| rename(model, SECOND, "model-00003-of-00002.safetensors"),
        &[
            "error shard-missing model-00002-of-00002.safetensors -",
            "warning shard-stray model-00003-of-00002.safetensors -",
        ],
    ),
];
