//! Phi-3 and what was built like it (Phi-3.5-mini, Phi-4).

use super::row::row;
use super::{Arch, Need, Row, Size};

use Need::{Derived, Head};
use Size::{Dim, Ffn, HalfHead, Heads, Qkv, TwiceFfn, Vocab};

/// Query, key and value in one matrix, gate and up in another, in both schemes.
pub(super) static PHI3: Arch =
    Arch { name: "phi3", model_types: &["phi3"], gguf: "phi3", rows: ROWS, defaults: &[], tied: false, aliases: &[] };

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",         &[Vocab, Dim]),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight", &[Dim, Heads]),
    row("model.layers.{}.self_attn.qkv_proj.weight",        "blk.{}.attn_qkv.weight",    &[Qkv, Dim]),
    row("model.layers.{}.mlp.gate_up_proj.weight",          "blk.{}.ffn_up.weight",      &[TwiceFfn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",    &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",   &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",    &[Dim]),
    row("model.norm.weight",                                "output_norm.weight",        &[Dim]),
    row("lm_head.weight",                                   "output.weight",             &[Vocab, Dim]).need(Head),
    // The factors of rotary scaling, which a config has among its settings.
    row("",                                                 "rope_factors_long.weight",  &[HalfHead])     .need(Derived),
    row("",                                                 "rope_factors_short.weight", &[HalfHead])     .need(Derived),
];
