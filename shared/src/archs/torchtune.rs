//! The names that torchtune gives to the tensors of its models: one list for the families that it keeps tensor by
//! tensor as Hugging Face does, and a table of its own for each that it cuts, turns or numbers otherwise.

mod mllama;

use super::row::row;
use super::{Arch, Change, Need, Row, Size};

use Change::{Below, RotaryKey, RotaryQuery};
use Size::{Dim, Ffn, Heads, KvHeads, Vocab};

pub(super) use mllama::MLLAMA_TUNE;

/// Hugging Face's name and torchtune's, for the models that it keeps tensor by tensor (`_FROM_HF` of
/// `torchtune.models.convert_weights` and `torchtune.models.qwen2`, 0.6.1). It keeps Meta's order of rotary rows where
/// Meta's files do, and Hugging Face's for Qwen. A family with a tensor that is not here is not known by these names,
/// unless it has a table below.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight",                       "tok_embeddings.weight"),
    ("model.layers.{}.self_attn.q_proj.weight",         "layers.{}.attn.q_proj.weight"),
    ("model.layers.{}.self_attn.q_proj.bias",           "layers.{}.attn.q_proj.bias"),
    ("model.layers.{}.self_attn.k_proj.weight",         "layers.{}.attn.k_proj.weight"),
    ("model.layers.{}.self_attn.k_proj.bias",           "layers.{}.attn.k_proj.bias"),
    ("model.layers.{}.self_attn.v_proj.weight",         "layers.{}.attn.v_proj.weight"),
    ("model.layers.{}.self_attn.v_proj.bias",           "layers.{}.attn.v_proj.bias"),
    ("model.layers.{}.self_attn.o_proj.weight",         "layers.{}.attn.output_proj.weight"),
    ("model.layers.{}.mlp.gate_proj.weight",            "layers.{}.mlp.w1.weight"),
    ("model.layers.{}.mlp.up_proj.weight",              "layers.{}.mlp.w3.weight"),
    ("model.layers.{}.mlp.down_proj.weight",            "layers.{}.mlp.w2.weight"),
    ("model.layers.{}.input_layernorm.weight",          "layers.{}.sa_norm.scale"),
    ("model.layers.{}.post_attention_layernorm.weight", "layers.{}.mlp_norm.scale"),
    ("model.norm.weight",                               "norm.scale"),
    ("lm_head.weight",                                  "output.weight"),
];

/// torchtune's pattern for the tensor of this one of Hugging Face's; empty if it has none.
pub(super) fn name(hf: &str) -> &'static str {
    NAMES.iter().find(|row| row.0 == hf).map_or("", |row| row.1)
}

/// A table of torchtune's own.
const fn own(name: &'static str, defaults: &'static [(&'static str, u64)], rows: &'static [Row]) -> Arch {
    Arch { name, model_types: &[], gguf: "", rows, defaults, tied: false, aliases: &[] }
}

/// Gemma goes the way of Llama there (`hf_to_tune`), so that its rotary rows stand in Meta's order, as they do nowhere
/// else; the factors of norms are kept less one, as Hugging Face keeps them.
pub(super) static GEMMA_TUNE: Arch = own("gemma", HEAD, GEMMA);

/// The same with more norms (`_GEMMA2_FROM_HF`), and the last one in a part with the cap on logits.
pub(super) static GEMMA2_TUNE: Arch = own("gemma2", HEAD, GEMMA2);

/// Phi-3 and 4 mini, whose joined matrices stand alone there (`phi3_hf_to_tune`), their rows in Hugging Face's order.
pub(super) static PHI3_TUNE: Arch = own("phi3", &[], PHI3);

/// `GemmaConfig` and `Gemma2Config`.
const HEAD: &[(&str, u64)] = &[("head_dim", 256)];

/// One tensor there that is one of Hugging Face's or a part of it.
const fn tune(tune: &'static str, hf: &'static str, shape: &'static [Size]) -> Row {
    row(hf, "", shape).tuned(tune)
}

#[rustfmt::skip]
const GEMMA: &[Row] = &[
    tune("tok_embeddings.weight",               "model.embed_tokens.weight",                        &[Vocab, Dim]),
    tune("layers.{}.attn.q_proj.weight",        "model.layers.{}.self_attn.q_proj.weight",          &[Heads, Dim])  .change(RotaryQuery),
    tune("layers.{}.attn.k_proj.weight",        "model.layers.{}.self_attn.k_proj.weight",          &[KvHeads, Dim]).change(RotaryKey),
    tune("layers.{}.attn.v_proj.weight",        "model.layers.{}.self_attn.v_proj.weight",          &[KvHeads, Dim]),
    tune("layers.{}.attn.output_proj.weight",   "model.layers.{}.self_attn.o_proj.weight",          &[Dim, Heads]),
    tune("layers.{}.mlp.w1.weight",             "model.layers.{}.mlp.gate_proj.weight",             &[Ffn, Dim]),
    tune("layers.{}.mlp.w3.weight",             "model.layers.{}.mlp.up_proj.weight",               &[Ffn, Dim]),
    tune("layers.{}.mlp.w2.weight",             "model.layers.{}.mlp.down_proj.weight",             &[Dim, Ffn]),
    tune("layers.{}.sa_norm.scale",             "model.layers.{}.input_layernorm.weight",           &[Dim]),
    tune("layers.{}.mlp_norm.scale",            "model.layers.{}.post_attention_layernorm.weight",  &[Dim]),
    tune("norm.scale",                          "model.norm.weight",                                &[Dim]),
    tune("output.weight",                       "lm_head.weight",                                   &[Vocab, Dim])  .need(Need::Head),
];

#[rustfmt::skip]
const GEMMA2: &[Row] = &[
    tune("tok_embeddings.weight",               "model.embed_tokens.weight",                        &[Vocab, Dim]),
    tune("layers.{}.attn.q_proj.weight",        "model.layers.{}.self_attn.q_proj.weight",          &[Heads, Dim])  .change(RotaryQuery),
    tune("layers.{}.attn.k_proj.weight",        "model.layers.{}.self_attn.k_proj.weight",          &[KvHeads, Dim]).change(RotaryKey),
    tune("layers.{}.attn.v_proj.weight",        "model.layers.{}.self_attn.v_proj.weight",          &[KvHeads, Dim]),
    tune("layers.{}.attn.output_proj.weight",   "model.layers.{}.self_attn.o_proj.weight",          &[Dim, Heads]),
    tune("layers.{}.mlp.w1.weight",             "model.layers.{}.mlp.gate_proj.weight",             &[Ffn, Dim]),
    tune("layers.{}.mlp.w3.weight",             "model.layers.{}.mlp.up_proj.weight",               &[Ffn, Dim]),
    tune("layers.{}.mlp.w2.weight",             "model.layers.{}.mlp.down_proj.weight",             &[Dim, Ffn]),
    tune("layers.{}.sa_norm.scale",             "model.layers.{}.input_layernorm.weight",           &[Dim]),
    tune("layers.{}.sa_scale.scale",            "model.layers.{}.post_attention_layernorm.weight",  &[Dim]),
    tune("layers.{}.mlp_norm.scale",            "model.layers.{}.post_feedforward_layernorm.weight",&[Dim]),
    tune("layers.{}.mlp_scale.scale",           "model.layers.{}.pre_feedforward_layernorm.weight", &[Dim]),
    tune("norm.rms_norm.scale",                 "model.norm.weight",                                &[Dim]),
    tune("output.weight",                       "lm_head.weight",                                   &[Vocab, Dim])  .need(Need::Head),
];

#[rustfmt::skip]
const PHI3: &[Row] = &[
    tune("tok_embeddings.weight",               "model.embed_tokens.weight",                        &[Vocab, Dim]),
    tune("layers.{}.attn.q_proj.weight",        "model.layers.{}.self_attn.qkv_proj.weight",        &[Heads, Dim]),
    tune("layers.{}.attn.k_proj.weight",        "model.layers.{}.self_attn.qkv_proj.weight",        &[KvHeads, Dim]).change(Below),
    tune("layers.{}.attn.v_proj.weight",        "model.layers.{}.self_attn.qkv_proj.weight",        &[KvHeads, Dim]).change(Below),
    tune("layers.{}.attn.output_proj.weight",   "model.layers.{}.self_attn.o_proj.weight",          &[Dim, Heads]),
    tune("layers.{}.mlp.w1.weight",             "model.layers.{}.mlp.gate_up_proj.weight",          &[Ffn, Dim]),
    tune("layers.{}.mlp.w3.weight",             "model.layers.{}.mlp.gate_up_proj.weight",          &[Ffn, Dim])    .change(Below),
    tune("layers.{}.mlp.w2.weight",             "model.layers.{}.mlp.down_proj.weight",             &[Dim, Ffn]),
    tune("layers.{}.sa_norm.scale",             "model.layers.{}.input_layernorm.weight",           &[Dim]),
    tune("layers.{}.mlp_norm.scale",            "model.layers.{}.post_attention_layernorm.weight",  &[Dim]),
    tune("norm.scale",                          "model.norm.weight",                                &[Dim]),
    tune("output.weight",                       "lm_head.weight",                                   &[Vocab, Dim])  .need(Need::Head),
];
