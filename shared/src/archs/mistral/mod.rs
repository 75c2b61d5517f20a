//! Mistral and Mixtral.

pub mod facts;

pub use facts::{Facts, foreign, from_config, from_params};

use super::row::row;
use super::{Arch, Change, Need, On, Row, Size, Split};

use Change::{RotaryKey, RotaryQuery};
use Need::Head;
use On::Sparse;
use Size::{Dim, ExpertFfn, Experts, Ffn, Heads, KvHeads, Vocab};
use Split::{Columns, Embedding, Replicated, Rows};

/// Whether a family is one of the two.
pub fn is_own(arch: &Arch) -> bool {
    [MISTRAL.name, MIXTRAL.name].contains(&arch.name)
}

/// Mistral, dense: Llama's tensors under Llama's names, with heads of a size of their own. Own names are those of
/// `mistral_inference`; llama.cpp takes it for a Llama.
pub(super) static MISTRAL: Arch = Arch {
    name: "mistral",
    model_types: &["mistral"],
    gguf: "llama",
    rows: DENSE,
    defaults: &[],
    tied: false,
    aliases: &[],
};

/// Mixtral: Mistral with experts. Hugging Face's names are those of transformers 4 and of the files that 5 saves;
/// own names those of the release. llama.cpp takes it for a Llama with experts.
pub(super) static MIXTRAL: Arch = Arch {
    name: "mixtral",
    model_types: &["mixtral"],
    gguf: "llama",
    rows: EXPERTS,
    defaults: &[],
    tied: false,
    aliases: &[],
};

#[rustfmt::skip]
const DENSE: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",         &[Vocab, Dim])  .own("tok_embeddings.weight",             Embedding),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",      &[Heads, Dim])  .own("layers.{}.attention.wq.weight",     Rows).change(RotaryQuery),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",      &[KvHeads, Dim]).own("layers.{}.attention.wk.weight",     Rows).change(RotaryKey),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",      &[KvHeads, Dim]).own("layers.{}.attention.wv.weight",     Rows),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight", &[Dim, Heads])  .own("layers.{}.attention.wo.weight",     Columns),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",    &[Ffn, Dim])    .own("layers.{}.feed_forward.w1.weight",  Rows),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",      &[Ffn, Dim])    .own("layers.{}.feed_forward.w3.weight",  Rows),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",    &[Dim, Ffn])    .own("layers.{}.feed_forward.w2.weight",  Columns),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",   &[Dim])         .own("layers.{}.attention_norm.weight",   Replicated),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",    &[Dim])         .own("layers.{}.ffn_norm.weight",         Replicated),
    row("model.norm.weight",                                "output_norm.weight",        &[Dim])         .own("norm.weight",                       Replicated),
    row("lm_head.weight",                                   "output.weight",             &[Vocab, Dim])  .own("output.weight",                     Rows).need(Head),
];

#[rustfmt::skip]
const EXPERTS: &[Row] = &[
    row("model.embed_tokens.weight",                                    "token_embd.weight",                &[Vocab, Dim])    .own("tok_embeddings.weight",                          Embedding),
    row("model.layers.{}.self_attn.q_proj.weight",                      "blk.{}.attn_q.weight",             &[Heads, Dim])    .own("layers.{}.attention.wq.weight",                  Rows).change(RotaryQuery),
    row("model.layers.{}.self_attn.k_proj.weight",                      "blk.{}.attn_k.weight",             &[KvHeads, Dim])  .own("layers.{}.attention.wk.weight",                  Rows).change(RotaryKey),
    row("model.layers.{}.self_attn.v_proj.weight",                      "blk.{}.attn_v.weight",             &[KvHeads, Dim])  .own("layers.{}.attention.wv.weight",                  Rows),
    row("model.layers.{}.self_attn.o_proj.weight",                      "blk.{}.attn_output.weight",        &[Dim, Heads])    .own("layers.{}.attention.wo.weight",                  Columns),
    row("model.layers.{}.block_sparse_moe.gate.weight",                 "blk.{}.ffn_gate_inp.weight",       &[Experts, Dim])  .own("layers.{}.feed_forward.gate.weight",             Replicated).on(Sparse),
    row("model.layers.{}.block_sparse_moe.experts.{e}.w1.weight",       "blk.{}.ffn_gate_exps.weight",      &[ExpertFfn, Dim]).own("layers.{}.feed_forward.experts.{e}.w1.weight",   Rows).on(Sparse),
    row("model.layers.{}.block_sparse_moe.experts.{e}.w2.weight",       "blk.{}.ffn_down_exps.weight",      &[Dim, ExpertFfn]).own("layers.{}.feed_forward.experts.{e}.w2.weight",   Columns).on(Sparse),
    row("model.layers.{}.block_sparse_moe.experts.{e}.w3.weight",       "blk.{}.ffn_up_exps.weight",        &[ExpertFfn, Dim]).own("layers.{}.feed_forward.experts.{e}.w3.weight",   Rows).on(Sparse),
    row("model.layers.{}.input_layernorm.weight",                       "blk.{}.attn_norm.weight",          &[Dim])           .own("layers.{}.attention_norm.weight",                Replicated),
    row("model.layers.{}.post_attention_layernorm.weight",              "blk.{}.ffn_norm.weight",           &[Dim])           .own("layers.{}.ffn_norm.weight",                      Replicated),
    row("model.norm.weight",                                            "output_norm.weight",               &[Dim])           .own("norm.weight",                                    Replicated),
    row("lm_head.weight",                                               "output.weight",                    &[Vocab, Dim])    .own("output.weight",                                  Rows).need(Head),
];
