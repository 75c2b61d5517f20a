//! The dense Llama family: Llama 1, 2, Code Llama, 3, 3.1, 3.2 (text), 3.3 and the Guards made of them.

pub mod facts;
pub mod ffn;
pub mod infer;

pub use facts::{Generation, ModelFacts, RopeScaling};
pub use infer::{Inference, Inferred};

use super::{Arch, Change, Need, Row, Size, Split};

use Change::{RotaryKey, RotaryQuery, Same};
use Need::{Always, Derived, Head};
use Size::{Dim, Ffn, HalfHead, Heads, KvHeads, Vocab};
use Split::{Columns, Embedding, Replicated, Rows};

/// The family's table. Splits are those of Meta's `llama3/model.py` (fairscale layers); names those of transformers'
/// `modeling_llama.py` and `convert_llama_weights_to_hf.py` (4.47.1), in the order of its state dict, and of
/// llama.cpp (`LLM_TENSOR_NAMES` of `llama-arch.cpp`), where `rope_freqs` holds the factors of Llama 3.1's scaling.
pub static LLAMA: Arch = Arch { name: "llama", model_types: &["llama"], rows: ROWS };

const fn row(
    meta: &'static str,
    hf: &'static str,
    gguf: &'static str,
    shape: &'static [Size],
    split: Split,
    change: Change,
    need: Need,
) -> Row {
    Row { meta, hf, gguf, shape, split, change, need }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("tok_embeddings.weight",                 "model.embed_tokens.weight",                        "token_embd.weight",        &[Vocab, Dim],   Embedding,  Same,        Always),
    row("layers.{}.attention.wq.weight",         "model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",     &[Heads, Dim],   Rows,       RotaryQuery, Always),
    row("layers.{}.attention.wk.weight",         "model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",     &[KvHeads, Dim], Rows,       RotaryKey,   Always),
    row("layers.{}.attention.wv.weight",         "model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",     &[KvHeads, Dim], Rows,       Same,        Always),
    row("layers.{}.attention.wo.weight",         "model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight",&[Dim, Heads],   Columns,    Same,        Always),
    row("layers.{}.feed_forward.w1.weight",      "model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",   &[Ffn, Dim],     Rows,       Same,        Always),
    row("layers.{}.feed_forward.w3.weight",      "model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",     &[Ffn, Dim],     Rows,       Same,        Always),
    row("layers.{}.feed_forward.w2.weight",      "model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",   &[Dim, Ffn],     Columns,    Same,        Always),
    row("layers.{}.attention_norm.weight",       "model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",  &[Dim],          Replicated, Same,        Always),
    row("layers.{}.ffn_norm.weight",             "model.layers.{}.post_attention_layernorm.weight",  "blk.{}.ffn_norm.weight",   &[Dim],          Replicated, Same,        Always),
    // A buffer of transformers before 4.32, kept in many checkpoints.
    row("layers.{}.attention.inner_attention.rope.freqs","model.layers.{}.self_attn.rotary_emb.inv_freq",    "",                         &[HalfHead], Replicated, Same, Derived),
    row("norm.weight",                           "model.norm.weight",                                "output_norm.weight",       &[Dim],          Replicated, Same,        Always),
    row("output.weight",                         "lm_head.weight",                                   "output.weight",            &[Vocab, Dim],   Rows,       Same,        Head),
    // A buffer of Llama 1 and 2, no parameter of Llama 3.
    row("rope.freqs",                            "",                                                 "rope_freqs.weight",        &[HalfHead],     Replicated, Same,        Derived),
];

#[cfg(test)]
mod tests {
    use super::super::Naming;
    use super::*;

    #[test]
    fn names_are_found_in_both_schemes() {
        let wk = LLAMA.find(Naming::Meta, "layers.7.attention.wk.weight").unwrap();
        assert_eq!(wk.row.named(Naming::Hf, wk.layer).as_deref(), Some("model.layers.7.self_attn.k_proj.weight"));
        assert_eq!(wk.row.change, Change::RotaryKey);
        assert!(LLAMA.find(Naming::Hf, "model.layers.7.self_attn.k_proj.bias").is_none());
    }

    #[test]
    fn a_model_of_two_layers_needs_nine_tensors_a_layer_and_three_more() {
        // The strict key set of Meta's Llama 3 is 9 L + 3.
        let needed = LLAMA.expected(2).filter(|found| found.row.need != Need::Derived);
        let names: Vec<String> = needed.filter_map(|found| found.row.named(Naming::Hf, found.layer)).collect();
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
