//! What GGUF's keys and `config.json` call the same setting of a model.

/// How a GGUF file keeps a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A number without a sign, in 32 bits.
    Whole,
    /// A number in single precision.
    Single,
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its key in GGUF, after the name of the architecture (`Keys` of gguf-py's `constants.py`).
    pub gguf: &'static str,
    /// Its key in `config.json`, and what some families call it instead.
    pub hf: &'static [&'static str],
    /// How it is kept.
    pub kept: Kept,
}

const fn whole(gguf: &'static str, hf: &'static [&'static str]) -> Key {
    Key { gguf, hf, kept: Kept::Whole }
}

const fn single(gguf: &'static str, hf: &'static [&'static str]) -> Key {
    Key { gguf, hf, kept: Kept::Single }
}

/// Every setting that is the same number in both.
pub const KEYS: &[Key] = &[
    whole("block_count", &["num_hidden_layers"]),
    whole("context_length", &["max_position_embeddings"]),
    whole("embedding_length", &["hidden_size"]),
    whole("feed_forward_length", &["intermediate_size"]),
    whole("attention.head_count", &["num_attention_heads"]),
    whole("attention.head_count_kv", &["num_key_value_heads"]),
    whole("attention.key_length", &["head_dim"]),
    single("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]),
    single("attention.layer_norm_epsilon", &["layer_norm_eps"]),
    whole("attention.sliding_window", &["sliding_window"]),
    single("rope.freq_base", &["rope_theta"]),
    single("rope.freq_base_swa", &["rope_local_base_freq"]),
    single("attn_logit_softcapping", &["attn_logit_softcapping"]),
    single("final_logit_softcapping", &["final_logit_softcapping"]),
    whole("vocab_size", &["vocab_size"]),
    whole("expert_count", &["num_local_experts", "num_experts"]),
    whole("expert_used_count", &["num_experts_per_tok"]),
    whole("expert_feed_forward_length", &["moe_intermediate_size"]),
    whole("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
];
