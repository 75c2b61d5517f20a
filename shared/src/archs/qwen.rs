//! Qwen 2, 2.5 and 3, dense and with experts.

use super::row::row;
use super::{Arch, Need, On, Row, Size};

use Need::{Head, Where};
use On::{Dense, Sparse};
use Size::{Dim, Exactly, ExpertFfn, Experts, Ffn, Head as OneHead, Heads, KvHeads, SharedFfn, Vocab};

/// Qwen 2 and 2.5: Llama's tensors, and biases of query, key and value that no setting turns off. Names are those of
/// transformers' `modeling_qwen2.py` and llama.cpp's, which leaves the rotary order of these families as it is.
pub(super) static QWEN2: Arch =
    Arch { name: "qwen2", model_types: &["qwen2"], gguf: "qwen2", rows: TWO, defaults: &[], tied: false, aliases: &[] };

/// Qwen 3: norms of query and key heads in the place of the biases; the size of a head is told.
pub(super) static QWEN3: Arch = Arch {
    name: "qwen3",
    model_types: &["qwen3"],
    gguf: "qwen3",
    rows: THREE,
    defaults: &[("head_dim", 128)],
    tied: false,
    aliases: &[],
};

/// Qwen 1.5 and 2 with experts, of which one every token takes.
pub(super) static QWEN2_MOE: Arch = Arch {
    name: "qwen2_moe",
    model_types: &["qwen2_moe"],
    gguf: "qwen2moe",
    rows: TWO_EXPERTS,
    defaults: &[],
    tied: false,
    aliases: &[],
};

/// Qwen 3 with experts.
pub(super) static QWEN3_MOE: Arch = Arch {
    name: "qwen3_moe",
    model_types: &["qwen3_moe"],
    gguf: "qwen3moe",
    rows: THREE_EXPERTS,
    defaults: &[],
    tied: false,
    aliases: &[],
};

#[rustfmt::skip]
const TWO: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",         &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",      &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",            "blk.{}.attn_q.bias",        &[Heads]),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",      &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",            "blk.{}.attn_k.bias",        &[KvHeads]),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",      &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",            "blk.{}.attn_v.bias",        &[KvHeads]),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight", &[Dim, Heads]),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",    &[Ffn, Dim]),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",      &[Ffn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",    &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",   &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",    &[Dim]),
    row("model.norm.weight",                                "output_norm.weight",        &[Dim]),
    row("lm_head.weight",                                   "output.weight",             &[Vocab, Dim]).need(Head),
];

#[rustfmt::skip]
const THREE: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",         &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",      &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",            "blk.{}.attn_q.bias",        &[Heads])     .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",      &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",            "blk.{}.attn_k.bias",        &[KvHeads])   .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",      &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",            "blk.{}.attn_v.bias",        &[KvHeads])   .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight", &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",            "blk.{}.attn_output.bias",   &[Dim])       .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.q_norm.weight",          "blk.{}.attn_q_norm.weight", &[OneHead]),
    row("model.layers.{}.self_attn.k_norm.weight",          "blk.{}.attn_k_norm.weight", &[OneHead]),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",    &[Ffn, Dim]),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",      &[Ffn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",    &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",   &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",    &[Dim]),
    row("model.norm.weight",                                "output_norm.weight",        &[Dim]),
    row("lm_head.weight",                                   "output.weight",             &[Vocab, Dim]).need(Head),
];

#[rustfmt::skip]
const TWO_EXPERTS: &[Row] = &[
    row("model.embed_tokens.weight",                                "token_embd.weight",                &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",                  "blk.{}.attn_q.weight",             &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",                    "blk.{}.attn_q.bias",               &[Heads]),
    row("model.layers.{}.self_attn.k_proj.weight",                  "blk.{}.attn_k.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",                    "blk.{}.attn_k.bias",               &[KvHeads]),
    row("model.layers.{}.self_attn.v_proj.weight",                  "blk.{}.attn_v.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",                    "blk.{}.attn_v.bias",               &[KvHeads]),
    row("model.layers.{}.self_attn.o_proj.weight",                  "blk.{}.attn_output.weight",        &[Dim, Heads]),
    row("model.layers.{}.mlp.gate_proj.weight",                     "blk.{}.ffn_gate.weight",           &[Ffn, Dim])       .on(Dense),
    row("model.layers.{}.mlp.up_proj.weight",                       "blk.{}.ffn_up.weight",             &[Ffn, Dim])       .on(Dense),
    row("model.layers.{}.mlp.down_proj.weight",                     "blk.{}.ffn_down.weight",           &[Dim, Ffn])       .on(Dense),
    row("model.layers.{}.mlp.gate.weight",                          "blk.{}.ffn_gate_inp.weight",       &[Experts, Dim])   .on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.gate_proj.weight",         "blk.{}.ffn_gate_exps.weight",      &[ExpertFfn, Dim]) .on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.up_proj.weight",           "blk.{}.ffn_up_exps.weight",        &[ExpertFfn, Dim]) .on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.down_proj.weight",         "blk.{}.ffn_down_exps.weight",      &[Dim, ExpertFfn]) .on(Sparse),
    row("model.layers.{}.mlp.shared_expert.gate_proj.weight",       "blk.{}.ffn_gate_shexp.weight",     &[SharedFfn, Dim]) .on(Sparse),
    row("model.layers.{}.mlp.shared_expert.up_proj.weight",         "blk.{}.ffn_up_shexp.weight",       &[SharedFfn, Dim]) .on(Sparse),
    row("model.layers.{}.mlp.shared_expert.down_proj.weight",       "blk.{}.ffn_down_shexp.weight",     &[Dim, SharedFfn]) .on(Sparse),
    row("model.layers.{}.mlp.shared_expert_gate.weight",            "blk.{}.ffn_gate_inp_shexp.weight", &[Exactly(1), Dim]).on(Sparse),
    row("model.layers.{}.input_layernorm.weight",                   "blk.{}.attn_norm.weight",          &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",          "blk.{}.ffn_norm.weight",           &[Dim]),
    row("model.norm.weight",                                        "output_norm.weight",               &[Dim]),
    row("lm_head.weight",                                           "output.weight",                    &[Vocab, Dim])     .need(Head),
];

#[rustfmt::skip]
const THREE_EXPERTS: &[Row] = &[
    row("model.embed_tokens.weight",                                "token_embd.weight",                &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",                  "blk.{}.attn_q.weight",             &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",                    "blk.{}.attn_q.bias",               &[Heads])         .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",                  "blk.{}.attn_k.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",                    "blk.{}.attn_k.bias",               &[KvHeads])       .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",                  "blk.{}.attn_v.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",                    "blk.{}.attn_v.bias",               &[KvHeads])       .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",                  "blk.{}.attn_output.weight",        &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",                    "blk.{}.attn_output.bias",          &[Dim])           .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.q_norm.weight",                  "blk.{}.attn_q_norm.weight",        &[OneHead]),
    row("model.layers.{}.self_attn.k_norm.weight",                  "blk.{}.attn_k_norm.weight",        &[OneHead]),
    row("model.layers.{}.mlp.gate_proj.weight",                     "blk.{}.ffn_gate.weight",           &[Ffn, Dim])      .on(Dense),
    row("model.layers.{}.mlp.up_proj.weight",                       "blk.{}.ffn_up.weight",             &[Ffn, Dim])      .on(Dense),
    row("model.layers.{}.mlp.down_proj.weight",                     "blk.{}.ffn_down.weight",           &[Dim, Ffn])      .on(Dense),
    row("model.layers.{}.mlp.gate.weight",                          "blk.{}.ffn_gate_inp.weight",       &[Experts, Dim])  .on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.gate_proj.weight",         "blk.{}.ffn_gate_exps.weight",      &[ExpertFfn, Dim]).on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.up_proj.weight",           "blk.{}.ffn_up_exps.weight",        &[ExpertFfn, Dim]).on(Sparse),
    row("model.layers.{}.mlp.experts.{e}.down_proj.weight",         "blk.{}.ffn_down_exps.weight",      &[Dim, ExpertFfn]).on(Sparse),
    row("model.layers.{}.input_layernorm.weight",                   "blk.{}.attn_norm.weight",          &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",          "blk.{}.ffn_norm.weight",           &[Dim]),
    row("model.norm.weight",                                        "output_norm.weight",               &[Dim]),
    row("lm_head.weight",                                           "output.weight",                    &[Vocab, Dim])    .need(Head),
];
