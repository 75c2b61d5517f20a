//! How Megatron's ranks share each tensor of a transformer, one row each, by the end of its name.
//!
//! From `tensor_parallel/layers.py` and the modules of megatron-core; the names of Megatron-LM before it stand beside them.

/// Which dimension tensor-parallel ranks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Rows, one rank's after the other's.
    Rows,
    /// Columns.
    Columns,
    /// Rows of two halves, gate and up, where the unit is gated: each rank has its part of both. Plain rows otherwise.
    Gated,
    /// Every rank has all of it.
    Replicated,
}

const ROWS: &[(&str, Split)] = &[
    ("word_embeddings.weight", Split::Rows),
    ("word_embeddings_for_head.weight", Split::Rows),
    ("position_embeddings.weight", Split::Replicated),
    ("output_layer.weight", Split::Rows),
    ("lm_head.weight", Split::Rows),
    // Attention: each rank has whole groups of queries with their key and value.
    ("linear_qkv.weight", Split::Rows),
    ("linear_qkv.bias", Split::Rows),
    ("query_key_value.weight", Split::Rows),
    ("query_key_value.bias", Split::Rows),
    ("attention.linear_q.weight", Split::Rows),
    ("attention.linear_q.bias", Split::Rows),
    ("attention.linear_kv.weight", Split::Rows),
    ("attention.linear_kv.bias", Split::Rows),
    ("linear_proj.weight", Split::Columns),
    ("linear_proj.bias", Split::Replicated),
    ("attention.dense.weight", Split::Columns),
    ("attention.dense.bias", Split::Replicated),
    // Latent attention: only what leads up from the latent is shared.
    ("linear_q_proj.weight", Split::Rows),
    ("linear_q_down_proj.weight", Split::Replicated),
    ("linear_q_up_proj.weight", Split::Rows),
    ("linear_kv_down_proj.weight", Split::Replicated),
    ("linear_kv_up_proj.weight", Split::Rows),
    // The feed-forward network, of experts too.
    ("linear_fc1.weight", Split::Gated),
    ("linear_fc1.bias", Split::Gated),
    ("dense_h_to_4h.weight", Split::Gated),
    ("dense_h_to_4h.bias", Split::Gated),
    ("linear_fc2.weight", Split::Columns),
    ("linear_fc2.bias", Split::Replicated),
    ("dense_4h_to_h.weight", Split::Columns),
    ("dense_4h_to_h.bias", Split::Replicated),
    ("router.weight", Split::Replicated),
    ("router.expert_bias", Split::Replicated),
    ("inv_freq", Split::Replicated),
];

/// The name without the number at its end that Transformer Engine gives each expert of a group, and the number.
fn grouped(name: &str) -> (&str, &str) {
    let stem = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let is_one = name.contains(".experts.linear_fc");
    name.split_at_checked(stem.len()).filter(|_| is_one).unwrap_or((name, ""))
}

/// How the ranks share the tensor of that name; `None` if nobody knows.
pub(super) fn split(name: &str) -> Option<Split> {
    let (name, _) = grouped(name);
    // `attention` may be `self_attention` or `cross_attention`.
    let own = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '_']));
    if let Some(row) = ROWS.iter().find(|row| own(row.0)) {
        return Some(row.1);
    }
    // Norms: `input_layernorm.weight`, `q_layernorm.bias`, `linear_qkv.layer_norm_weight` of Transformer Engine.
    let last: Vec<&str> = name.rsplit('.').take(2).collect();
    last.iter().any(|part| part.contains("norm")).then_some(Split::Replicated)
}

/// The weight that leads out of a unit, by the name of one that leads into it: the unit is gated if the latter has twice
/// the rows that the former has columns.
pub(super) fn out_of(name: &str) -> Option<String> {
    let (name, number) = grouped(name);
    let (before, _) = name.rsplit_once('.')?;
    let pairs = [("linear_fc1", "linear_fc2"), ("dense_h_to_4h", "dense_4h_to_h")];
    pairs.iter().find_map(|(into, out)| Some(format!("{}{out}.weight{number}", before.strip_suffix(into)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_generations_are_known() {
        for (name, wanted) in [
            ("decoder.layers.0.self_attention.linear_qkv.weight", Some(Split::Rows)),
            ("language_model.encoder.layers.3.self_attention.dense.weight", Some(Split::Columns)),
            ("decoder.layers.0.mlp.experts.local_experts.1.linear_fc1.weight", Some(Split::Gated)),
            ("decoder.layers.0.self_attention.linear_qkv.layer_norm_weight", Some(Split::Replicated)),
            ("decoder.final_layernorm.weight", Some(Split::Replicated)),
            ("decoder.layers.0.mlp.experts.linear_fc1.weight12", Some(Split::Gated)),
            ("decoder.layers.0.mlp.experts.linear_fc2.weight3", Some(Split::Columns)),
            ("decoder.layers.0.mlp.experts.weight1", None),
            ("vision.patch_embed.weight", None),
        ] {
            assert_eq!(split(name), wanted, "{name}");
        }
        let grouped = out_of("a.mlp.experts.linear_fc1.weight12");
        assert_eq!(grouped.as_deref(), Some("a.mlp.experts.linear_fc2.weight12"));
        assert_eq!(out_of("a.mlp.linear_fc1.bias").as_deref(), Some("a.mlp.linear_fc2.weight"));
    }
}
