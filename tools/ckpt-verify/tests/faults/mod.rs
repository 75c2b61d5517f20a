//! Faults of the data, each made from an intact fixture, and what is unusual and sound.

use std::path::Path;

use serde_json::json;

use crate::support::{FIRST, SECOND, Stored, add, edit_tensor, edit_tensors, set};

const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const UP: &str = "model.layers.1.mlp.up_proj.weight";
const NORM: &str = "model.layers.1.input_layernorm.weight";
const LOOSE: &str = "unaligned.safetensors";

/// What it is, the intact tree, the damage, what must be said of it beside what is said without `--deep`.
type Case = (&'static str, &'static str, fn(&Path), &'static [&'static str]);

pub(crate) const CASES: &[Case] = &[
    (
        "a bit of a tensor flipped",
        "tiny-llama3/mp1",
        |model| flip(model, "consolidated.00.pth", "layers.1.feed_forward.w3.weight"),
        &[
            "error manifest-changed consolidated.00.pth -",
            "error zip-crc consolidated.00.pth layers.1.feed_forward.w3.weight",
        ],
    ),
    (
        "a bit of one rank flipped",
        "tiny-llama3/mp2",
        |model| flip(model, "consolidated.01.pth", "norm.weight"),
        &[
            "error manifest-changed consolidated.01.pth -",
            "error replica-differs - norm.weight",
            "error zip-crc consolidated.01.pth -",
        ],
    ),
    (
        "a NaN",
        "hf-tiny",
        |model| put(model, SECOND, UP, 131, &[0xc0, 0x7f]),
        &["error nan model-00002-of-00002.safetensors model.layers.1.mlp.up_proj.weight"],
    ),
    (
        "an infinity",
        "hf-tiny",
        |model| put(model, SECOND, UP, 7, &[0x80, 0xff]),
        &["error inf model-00002-of-00002.safetensors model.layers.1.mlp.up_proj.weight"],
    ),
    (
        "NaN in a small float",
        "safetensors/unaligned.safetensors",
        |model| loose(model, vec![stored("w.weight", "F8_E4M3", &[32, 32], |at| if at == 9 { 0xff } else { 0x38 })]),
        &["error nan unaligned.safetensors w.weight"],
    ),
    (
        "NaN in an imaginary part",
        "safetensors/unaligned.safetensors",
        |model| {
            let nan = |at: usize| if (804..808).contains(&at) { 0xff } else { at.to_le_bytes()[0] & 0x3f };
            loose(model, vec![stored("w.weight", "C64", &[16, 16], nan)]);
        },
        &["error nan unaligned.safetensors w.weight"],
    ),
    (
        "a scale of a block that is no number",
        "gguf/llama-q8_0.gguf",
        |model| scales(model, "blk.0.attn_q.weight", 7, 1, [0x00, 0x7e]),
        &["error nan llama-q8_0.gguf blk.0.attn_q.weight"],
    ),
    (
        "a scale of a block that is infinite",
        "gguf/llama-q8_0.gguf",
        |model| scales(model, "blk.0.attn_q.weight", 31, 1, [0x00, 0xfc]),
        &["error inf llama-q8_0.gguf blk.0.attn_q.weight"],
    ),
    (
        "blocks whose scales are all zero",
        "gguf/llama-q8_0.gguf",
        |model| scales(model, "blk.0.attn_q.weight", 0, 32, [0, 0]),
        &["error all-zero llama-q8_0.gguf blk.0.attn_q.weight"],
    ),
    (
        "floats of four bits of one value",
        "safetensors/unaligned.safetensors",
        |model| {
            let values =
                Stored { name: "w.weight".into(), dtype: "F4".into(), shape: vec![32, 32], bytes: vec![0x33; 512] };
            loose(model, vec![values]);
        },
        &["warning constant unaligned.safetensors w.weight"],
    ),
    (
        "a weight of zeros",
        "hf-tiny",
        |model| edit_tensor(&model.join(SECOND), UP, |tensor| tensor.bytes.fill(0)),
        &["error all-zero model-00002-of-00002.safetensors model.layers.1.mlp.up_proj.weight"],
    ),
    (
        "magnitudes of queries in torchtune's order",
        "adapters/twin",
        |model| {
            let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector";
            edit_tensor(&model.join("adapter_model.safetensors"), name, |tensor| interleave(&mut tensor.bytes, 16));
        },
        &[
            "error adapter-magnitudes adapter_model.safetensors base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector",
        ],
    ),
    (
        "a packed weight of zeros",
        "safetensors/unaligned.safetensors",
        |model| loose(model, vec![stored("a.qweight", "I32", &[64, 64], |_| 0)]),
        &["error all-zero unaligned.safetensors a.qweight"],
    ),
    (
        "a norm of zeros",
        "hf-tiny",
        |model| edit_tensor(&model.join(SECOND), NORM, |tensor| tensor.bytes.fill(0)),
        &["warning all-zero model-00002-of-00002.safetensors model.layers.1.input_layernorm.weight"],
    ),
    (
        "a weight of one value",
        "hf-tiny",
        |model| {
            edit_tensor(&model.join(SECOND), UP, |tensor| tensor.bytes.as_chunks_mut().0.fill([0x80, 0x3f]));
        },
        &["warning constant model-00002-of-00002.safetensors model.layers.1.mlp.up_proj.weight"],
    ),
    (
        "a range that was never written",
        "hf-tiny",
        |model| edit_tensor(&model.join(FIRST), EMBEDDING, |tensor| tensor.bytes[10_000..80_000].fill(0)),
        &["error zero-range model-00001-of-00002.safetensors model.embed_tokens.weight"],
    ),
    (
        "an end that was never written",
        "safetensors/unaligned.safetensors",
        |model| loose(model, vec![stored("w.weight", "F32", &[100, 1000], |at| if at < 270_001 { 0x3d } else { 0 })]),
        &["error zero-range unaligned.safetensors w.weight"],
    ),
    (
        "whole rows of zeros",
        "safetensors/unaligned.safetensors",
        |model| {
            let zero = |at| if (40_000..120_000).contains(&at) { 0 } else { 0x3d };
            loose(model, vec![stored("w.weight", "F32", &[100, 1000], zero)]);
        },
        &["warning zero-range unaligned.safetensors w.weight"],
    ),
    (
        "integers taken for floats",
        "safetensors/unaligned.safetensors",
        |model| {
            let small = |at: usize| if at % 4 < 2 { at.to_le_bytes()[1] } else { 0 };
            loose(model, vec![stored("w.weight", "F32", &[64, 64], small)]);
        },
        &["warning denormal-flood unaligned.safetensors w.weight"],
    ),
    (
        "a head that is not the embedding",
        "hf-tiny",
        |model| {
            let mut head = read(model, FIRST, EMBEDDING);
            head.bytes[6] ^= 1;
            add(model, Stored { name: "lm_head.weight".into(), ..head });
        },
        &["error tied-differs model-00002-of-00002.safetensors lm_head.weight"],
    ),
    (
        "frequencies of another theta",
        "tiny-llama2/mp1",
        |model| {
            set(&model.join("params.json"), &[("rope_theta", json!(500_000))]);
            std::fs::remove_file(model.join("checklist.chk")).unwrap();
        },
        &["warning derived-differs consolidated.00.pth rope.freqs"],
    ),
    (
        "frequencies that are not scaled as the config says",
        "hf-tiny",
        |model| frequencies(model, |index, scaled| if index == 4 { 0.001_414_213_5 } else { scaled }),
        &["warning derived-differs model-00002-of-00002.safetensors model.layers.0.self_attn.rotary_emb.inv_freq"],
    ),
    (
        "a packed weight of another shape",
        "safetensors/unaligned.safetensors",
        |model| {
            packed(model, 128);
        },
        &["error packed-shape unaligned.safetensors a.weight_packed"],
    ),
    (
        "a file that is not the one published",
        "tiny-llama3/mp1",
        |model| set(&model.join("params.json"), &[("note", json!("edited"))]),
        &["error manifest-changed params.json -"],
    ),
    (
        "a published file that is gone",
        "tiny-llama3/mp1",
        |model| {
            std::fs::write(model.join("x.sha256"), format!("{}  gone.bin\n", "0".repeat(64))).unwrap();
        },
        &["error manifest-missing gone.bin -"],
    ),
    (
        "a list in a folder, of that folder",
        "hf-tiny",
        |model| {
            std::fs::create_dir(model.join("extra")).unwrap();
            std::fs::write(model.join("extra/a.txt"), "not what it was").unwrap();
            std::fs::write(model.join("extra/checklist.chk"), format!("{}  a.txt\n", "0".repeat(32))).unwrap();
        },
        &["error manifest-changed extra/a.txt -"],
    ),
    (
        "a list in a folder, of the files on top",
        "hf-tiny",
        |model| {
            std::fs::create_dir(model.join("sums")).unwrap();
            std::fs::write(model.join("sums/SHA256SUMS"), format!("{}  config.json\n", "0".repeat(64))).unwrap();
        },
        &["error manifest-changed config.json -"],
    ),
    (
        "a statement that was signed of other bytes",
        "hf-tiny",
        |model| {
            let statement = json!({
                "_type": "https://in-toto.io/Statement/v1",
                "predicateType": "https://model_signing/signature/v1.0",
                "predicate": {
                    "serialization": {"method": "files", "hash_type": "sha256"},
                    "resources": [{"name": "config.json", "algorithm": "sha256", "digest": "0".repeat(64)}],
                },
            });
            std::fs::write(model.join("model.sig"), statement.to_string()).unwrap();
        },
        &["error manifest-changed config.json -"],
    ),
];

/// What it is, the tree, what makes it unusual: with `--deep` not a word more may be said.
type Sound = (&'static str, &'static str, fn(&Path));

pub(crate) const SOUND: &[Sound] = &[
    ("what starts as zero, and what is zero for good", "safetensors/unaligned.safetensors", |model| {
        let zero = |name, dtype, shape| stored(name, dtype, shape, |_| 0);
        let tensors = vec![
            zero("base_model.model.layers.0.q_proj.lora_A.weight", "F32", &[1, 64]),
            stored("base_model.model.layers.0.q_proj.lora_B.weight", "F32", &[64, 8], |_| 0),
            zero("encoder.token_type_embeddings.weight", "F32", &[2, 256]),
            zero("encoder.layer.0.dense.bias", "F32", &[512]),
            zero("bn.num_batches_tracked", "I64", &[]),
            zero("bn.running_mean", "F32", &[512]),
            zero("a.qzeros", "I32", &[64, 64]),
            zero("attn.mask", "BF16", &[64, 64]),
            zero("layer._extra_state", "U8", &[64, 64]),
            zero("optimizer.state.0.exp_avg", "F32", &[64, 64]),
        ];
        loose(model, tensors);
    }),
    ("frequencies scaled as Llama 3.1's are", "hf-tiny", |model| frequencies(model, |_, scaled| scaled)),
    ("what is the same throughout", "safetensors/unaligned.safetensors", |model| {
        let one = |name, shape: &[u64]| stored(name, "BF16", shape, |at| if at % 2 == 0 { 0x80 } else { 0x3f });
        loose(
            model,
            vec![one("norm.weight", &[512]), one("a.weight_scale", &[64, 64]), one("h.attn.bias", &[1, 1, 32, 32])],
        );
    }),
    ("infinity where it belongs", "safetensors/unaligned.safetensors", |model| {
        let inf = |name, shape: &[u64]| stored(name, "BF16", shape, |at| if at % 2 == 0 { 0x80 } else { 0xff });
        loose(model, vec![inf("attn.causal_mask", &[32, 32]), inf("callbacks.best", &[])]);
    }),
    ("tokens that do not exist", "hf-tiny", |model| {
        edit_tensor(&model.join(FIRST), EMBEDDING, |tensor| tensor.bytes[100 * 128..].fill(0));
    }),
    ("rows of an optimizer never updated", "safetensors/unaligned.safetensors", |model| {
        let seen = |at| if at < 1000 { 0x3d } else { 0 };
        loose(model, vec![stored("state.3.exp_avg_sq", "F32", &[100, 1000], seen)]);
    }),
    ("small weights in half precision", "safetensors/unaligned.safetensors", |model| {
        let small =
            |at: usize| if at % 2 == 1 { u8::from(!at.is_multiple_of(3)) << 4 } else { at.to_le_bytes()[0] | 1 };
        loose(model, vec![stored("w.weight", "F16", &[64, 64], small)]);
    }),
    ("packed weights of the stored shape", "safetensors/unaligned.safetensors", |model| packed(model, 64)),
    ("a head stored twice", "hf-tiny", |model| {
        let head = read(model, FIRST, EMBEDDING);
        add(model, Stored { name: "lm_head.weight".into(), ..head });
    }),
];

/// Stores rotary frequencies beside the weights: those that transformers 5.23 computes for the config, changed.
fn frequencies(model: &Path, change: impl Fn(usize, f32) -> f32) {
    let scaled =
        [1.0, 0.193_922_76, 0.037_606_03, 0.007_292_665, 0.000_429_556_7, 8.570_256e-6, 1.661_967_4e-6, 3.222_933e-7];
    let bytes = scaled.iter().enumerate().flat_map(|(index, &scaled)| change(index, scaled).to_le_bytes()).collect();
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
    add(model, Stored { name, dtype: "F32".into(), shape: vec![8], bytes });
}

/// A tensor of bytes made by their place.
pub(crate) fn stored(name: &str, dtype: &str, shape: &[u64], byte: impl Fn(usize) -> u8) -> Stored {
    let item = ckpt::facts::Dtype::from_name(dtype).unwrap().item_bytes().unwrap();
    let bytes = usize::try_from(shape.iter().product::<u64>() * item).unwrap();
    Stored { name: name.into(), dtype: dtype.into(), shape: shape.to_vec(), bytes: (0..bytes).map(byte).collect() }
}

/// Puts tensors in the place of all those of the loose file.
pub(crate) fn loose(model: &Path, tensors: Vec<Stored>) {
    edit_tensors(&model.join(LOOSE), |_, old| *old = tensors);
}

/// Weights of four bits, 64 by 64, and a stored shape with that many columns.
fn packed(model: &Path, columns: u8) {
    let shape = stored("a.weight_shape", "I64", &[2], |at| match at {
        0 => 64,
        8 => columns,
        _ => 0,
    });
    let packed = stored("a.weight_packed", "I32", &[64, 8], |at| at.to_le_bytes()[0]);
    loose(model, vec![packed, stored("a.weight_scale", "BF16", &[64, 1], |at| at.to_le_bytes()[0] % 2 * 63), shape]);
    let groups = json!({"group_0": {"weights": {"num_bits": 4}}});
    let config = json!({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}});
    std::fs::write(model.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
}

/// Overwrites an element of two bytes.
pub(crate) fn put(model: &Path, file: &str, name: &str, element: usize, bytes: &[u8]) {
    edit_tensor(&model.join(file), name, |tensor| tensor.bytes[element * 2..][..bytes.len()].copy_from_slice(bytes));
}

fn read(model: &Path, file: &str, name: &str) -> Stored {
    let mut found = None;
    edit_tensors(&model.join(file), |_, tensors| {
        found = tensors.iter().find(|tensor| tensor.name == name).cloned();
    });
    found.unwrap()
}

/// Where a tensor of a file stands in it, and how many bytes it has.
pub(crate) fn place(path: &Path, name: &str) -> (usize, usize) {
    let checkpoint = ckpt::layouts::open(path, None, 1).unwrap();
    let recipe = &checkpoint.tensor(name).unwrap().recipe;
    let (_, offset) = recipe.contiguous().unwrap();
    (usize::try_from(offset).unwrap(), usize::try_from(recipe.len_bytes()).unwrap())
}

/// Overwrites the scales of so many Q8_0 blocks of a tensor.
pub(crate) fn scales(model: &Path, name: &str, first: usize, count: usize, scale: [u8; 2]) {
    let path = model.join("llama-q8_0.gguf");
    let (offset, _) = place(&path, name);
    let mut bytes = std::fs::read(&path).unwrap();
    for block in first..first + count {
        bytes[offset + block * 34..][..2].copy_from_slice(&scale);
    }
    std::fs::write(path, bytes).unwrap();
}

/// Flips the lowest bit of the first value of a tensor in a rank's file.
fn flip(model: &Path, file: &str, name: &str) {
    let path = model.join(file);
    let (offset, _) = place(&path, name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Numbers of four bytes, one a row, head by head from Hugging Face's order to Meta's.
fn interleave(bytes: &mut [u8], head: usize) {
    for rows in bytes.chunks_exact_mut(head * 4) {
        let old = rows.to_vec();
        for (row, number) in rows.chunks_exact_mut(4).enumerate() {
            let from = (row % 2 * head / 2 + row / 2) * 4;
            number.copy_from_slice(&old[from..from + 4]);
        }
    }
}
