//! The names that torchtune gives to the tensors of its models, whatever the family.

/// Hugging Face's name and torchtune's, for the models that it keeps tensor by tensor (`_FROM_HF` of
/// `torchtune.models.convert_weights` and `torchtune.models.qwen2`, 0.6.1). It keeps Meta's order of rotary rows where
/// Meta's files do, and Hugging Face's for Qwen. A family with a tensor that is not here is not known by these names.
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
