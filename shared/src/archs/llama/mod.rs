//! The dense Llama family: Llama 1, 2, Code Llama, 3, 3.1, 3.2 (text), 3.3 and the Guards made of them.

pub mod facts;
pub mod ffn;
pub mod infer;

pub use facts::{Generation, ModelFacts, RopeScaling};
pub use infer::{Inference, Inferred};

use super::row::row;
use super::{Arch, Change, Need, Row, Size, Split};

use Change::{RotaryKey, RotaryQuery};
#[cfg(test)]
use Need::Always;
use Need::{Derived, Head, Where};
use Size::{Dim, Ffn, HalfHead, Heads, KvHeads, Vocab};
use Split::{Columns, Embedding, Replicated, Rows};

/// The family's table. Splits are those of Meta's `llama3/model.py` (fairscale layers); names those of transformers'
/// `modeling_llama.py` and `convert_llama_weights_to_hf.py` (4.47.1), in the order of its state dict, and of
/// llama.cpp (`LLM_TENSOR_NAMES` of `llama-arch.cpp`), where `rope_freqs` holds the factors of Llama 3.1's scaling.
/// Meta's files have no biases; `attention_bias` and `mlp_bias` are settings of transformers' `LlamaConfig`.
pub static LLAMA: Arch = Arch {
    name: "llama",
    model_types: &["llama"],
    gguf: "llama",
    rows: ROWS,
    defaults: &[],
    tied: false,
    aliases: &[],
};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",         &[Vocab, Dim])  .own("tok_embeddings.weight",             Embedding),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",      &[Heads, Dim])  .own("layers.{}.attention.wq.weight",     Rows).change(RotaryQuery),
    row("model.layers.{}.self_attn.q_proj.bias",            "blk.{}.attn_q.bias",        &[Heads])       .need(Where("attention_bias")).change(RotaryQuery),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",      &[KvHeads, Dim]).own("layers.{}.attention.wk.weight",     Rows).change(RotaryKey),
    row("model.layers.{}.self_attn.k_proj.bias",            "blk.{}.attn_k.bias",        &[KvHeads])     .need(Where("attention_bias")).change(RotaryKey),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",      &[KvHeads, Dim]).own("layers.{}.attention.wv.weight",     Rows),
    row("model.layers.{}.self_attn.v_proj.bias",            "blk.{}.attn_v.bias",        &[KvHeads])     .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight", &[Dim, Heads])  .own("layers.{}.attention.wo.weight",     Columns),
    row("model.layers.{}.self_attn.o_proj.bias",            "blk.{}.attn_output.bias",   &[Dim])         .need(Where("attention_bias")),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",    &[Ffn, Dim])    .own("layers.{}.feed_forward.w1.weight",  Rows),
    row("model.layers.{}.mlp.gate_proj.bias",               "blk.{}.ffn_gate.bias",      &[Ffn])         .need(Where("mlp_bias")),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",      &[Ffn, Dim])    .own("layers.{}.feed_forward.w3.weight",  Rows),
    row("model.layers.{}.mlp.up_proj.bias",                 "blk.{}.ffn_up.bias",        &[Ffn])         .need(Where("mlp_bias")),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",    &[Dim, Ffn])    .own("layers.{}.feed_forward.w2.weight",  Columns),
    row("model.layers.{}.mlp.down_proj.bias",               "blk.{}.ffn_down.bias",      &[Dim])         .need(Where("mlp_bias")),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",   &[Dim])         .own("layers.{}.attention_norm.weight",   Replicated),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",    &[Dim])         .own("layers.{}.ffn_norm.weight",         Replicated),
    // A buffer of transformers before 4.32, kept in many checkpoints.
    row("model.layers.{}.self_attn.rotary_emb.inv_freq",    "",                          &[HalfHead])    .own("layers.{}.attention.inner_attention.rope.freqs", Replicated).need(Derived),
    row("model.norm.weight",                                "output_norm.weight",        &[Dim])         .own("norm.weight",                       Replicated),
    row("lm_head.weight",                                   "output.weight",             &[Vocab, Dim])  .own("output.weight",                     Rows).need(Head),
    // A buffer of Llama 1 and 2, no parameter of Llama 3.
    row("",                                                 "rope_freqs.weight",         &[HalfHead])    .own("rope.freqs",                        Replicated).need(Derived),
];

#[cfg(test)]
mod tests {
    use super::super::{Counts, Naming};
    use super::*;

    #[test]
    fn names_are_found_in_both_schemes() {
        let wk = LLAMA.find(Naming::Meta, "layers.7.attention.wk.weight").unwrap();
        assert_eq!(wk.named(Naming::Hf).as_deref(), Some("model.layers.7.self_attn.k_proj.weight"));
        assert_eq!(wk.row.change, Change::RotaryKey);
        assert!(LLAMA.find(Naming::Hf, "model.layers.7.self_attn.k_norm.weight").is_none());
    }

    #[test]
    fn a_model_of_two_layers_needs_nine_tensors_a_layer_and_three_more() {
        // The strict key set of Meta's Llama 3 is 9 L + 3.
        let needed = LLAMA.expected(Counts::of_layers(2)).filter(|found| matches!(found.row.need, Always | Head));
        let names: Vec<String> = needed.filter_map(|found| found.named(Naming::Hf)).collect();
        assert_eq!(names.len(), 2 * 9 + 3);
        assert_eq!(names[0], "model.embed_tokens.weight");
        assert_eq!(names[10], "model.layers.1.self_attn.q_proj.weight");
        assert_eq!(names[20], "lm_head.weight");
        assert!(LLAMA.recognises(Naming::Hf, names.iter().map(String::as_str)));
        assert!(!LLAMA.recognises(Naming::Hf, names.iter().skip(2).map(String::as_str)));
        assert!(!LLAMA.recognises(
            Naming::Hf,
            names.iter().map(String::as_str).chain(["model.layers.0.self_attn.q_norm.weight"])
        ));
    }
}
