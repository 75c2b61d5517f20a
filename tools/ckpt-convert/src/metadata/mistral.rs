//! The small files of Mistral and Mixtral models, in Hugging Face's form and in Mistral's own.

use ckpt::archs::mistral::Facts;
use serde_json::{Map, Value, json};

use super::{rope, text};

fn object<const N: usize>(rows: [(&str, Option<Value>); N]) -> Value {
    let present = rows.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

/// One id as a number, several as a list.
fn ids(ids: &[u64]) -> Value {
    match ids {
        [id] => json!(id),
        ids => json!(ids),
    }
}

/// `config.json`, by the alphabet as on the hub, in the form of transformers 4, which 5 reads to the same values.
pub(crate) fn config(facts: &Facts) -> Vec<u8> {
    let experts = facts.experts;
    let (class, kind) =
        if experts.is_some() { ("MixtralForCausalLM", "mixtral") } else { ("MistralForCausalLM", "mistral") };
    text(&object([
        ("architectures", Some(json!([class]))),
        ("attention_dropout", Some(json!(0.0))),
        ("bos_token_id", Some(json!(facts.bos))),
        ("eos_token_id", Some(ids(&facts.eos))),
        ("head_dim", Some(json!(facts.head_dim))),
        ("hidden_act", Some(json!("silu"))),
        ("hidden_size", Some(json!(facts.dim))),
        ("initializer_range", Some(json!(0.02))),
        ("intermediate_size", Some(json!(facts.ffn))),
        ("max_position_embeddings", Some(json!(facts.max_position_embeddings))),
        ("model_type", Some(json!(kind))),
        ("num_attention_heads", Some(json!(facts.heads))),
        ("num_experts_per_tok", experts.map(|experts| json!(experts.per_token))),
        ("num_hidden_layers", Some(json!(facts.layers))),
        ("num_key_value_heads", Some(json!(facts.kv_heads))),
        ("num_local_experts", experts.map(|experts| json!(experts.count))),
        ("output_router_logits", experts.map(|_| json!(false))),
        ("pad_token_id", facts.pad.map(|pad| json!(pad))),
        ("rms_norm_eps", Some(json!(facts.norm_eps))),
        ("rope_theta", Some(json!(facts.rope_theta))),
        // Where it is not said, transformers takes a window of 4096.
        ("sliding_window", Some(json!(facts.sliding_window))),
        ("tie_word_embeddings", Some(json!(facts.tied))),
        ("torch_dtype", Some(json!(facts.dtype.torch()))),
        ("use_cache", Some(json!(true))),
        ("vocab_size", Some(json!(facts.vocab))),
    ]))
}

/// `generation_config.json`.
pub(crate) fn generation_config(facts: &Facts) -> Vec<u8> {
    text(&object([
        ("bos_token_id", Some(json!(facts.bos))),
        ("eos_token_id", Some(ids(&facts.eos))),
        ("pad_token_id", facts.pad.map(|pad| json!(pad))),
    ]))
}

/// `params.json`, its keys in the order of the releases. `mistral_inference` refuses keys that it does not know.
pub(crate) fn params(facts: &Facts) -> Vec<u8> {
    let experts = facts.experts;
    text(&object([
        ("dim", Some(json!(facts.dim))),
        ("n_layers", Some(json!(facts.layers))),
        ("head_dim", Some(json!(facts.head_dim))),
        ("hidden_dim", Some(json!(facts.ffn))),
        ("n_heads", Some(json!(facts.heads))),
        ("n_kv_heads", Some(json!(facts.kv_heads))),
        ("sliding_window", facts.sliding_window.map(|window| json!(window))),
        ("norm_eps", Some(json!(facts.norm_eps))),
        ("vocab_size", Some(json!(facts.vocab))),
        ("rope_theta", Some(json!(facts.rope_theta))),
        ("moe", experts.map(|it| json!({"num_experts_per_tok": it.per_token, "num_experts": it.count}))),
    ]))
}

/// The causes for which a model in Hugging Face's form has none in Mistral's, none if it has one.
pub(crate) fn refusals(config: &Value) -> Vec<String> {
    let set = |key: &str| config.get(key).filter(|value| !value.is_null() && **value != false);
    let mut causes = Vec::new();
    match config.get("model_type").and_then(Value::as_str) {
        Some("mistral" | "mixtral") => {}
        other => causes.push(format!("model_type {}: its code runs Mistral and Mixtral", other.unwrap_or("unknown"))),
    }
    if let Some(act) = set("hidden_act").filter(|act| *act != "silu") {
        causes.push(format!("hidden_act {act}: its code uses silu"));
    }
    if set("attention_bias").is_some() {
        causes.push("attention_bias: its layers have no biases".to_owned());
    }
    if let Some(scaling) = rope::rope(config).scaling {
        causes.push(format!("rope_scaling of the kind {}: its code scales no positions", rope::kind(scaling)));
    }
    let layers = set("layer_types").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if layers.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
        causes.push("layer_types: windows that differ from layer to layer have no key there".to_owned());
    }
    if set("quantization_config").is_some() {
        causes.push("quantization_config: packed weights have no form there".to_owned());
    }
    causes
}

/// What `params.json` cannot hold though the model runs without it.
pub(crate) fn losses(facts: &Facts) -> Vec<String> {
    let mut lost =
        vec![format!("max_position_embeddings {}: params.json has no key for it", facts.max_position_embeddings)];
    if let Some(pad) = facts.pad {
        lost.push(format!("pad_token_id {pad}: params.json has no key for it"));
    }
    lost
}

#[cfg(test)]
mod tests {
    use ckpt::archs::mistral::facts::Experts;
    use ckpt::facts::Dtype;

    use super::*;

    /// Mixtral 8x7B.
    fn mixtral() -> Facts {
        Facts {
            dim: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            ffn: 14_336,
            vocab: 32_000,
            norm_eps: 1e-5,
            rope_theta: 1e6,
            sliding_window: None,
            max_position_embeddings: 32_768,
            tied: false,
            dtype: Dtype::Bf16,
            bos: 1,
            eos: vec![2],
            pad: None,
            experts: Some(Experts { count: 8, per_token: 2 }),
        }
    }

    #[test]
    fn params_are_those_of_the_release() {
        let params: Value = serde_json::from_slice(&params(&mixtral())).unwrap();
        let release = json!({"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32,
            "n_kv_heads": 8, "norm_eps": 1e-5, "vocab_size": 32000, "rope_theta": 1e6,
            "moe": {"num_experts_per_tok": 2, "num_experts": 8}});
        assert_eq!(params, release);
    }

    #[test]
    fn a_window_that_is_none_is_said() {
        let of = |facts: &Facts| -> Value { serde_json::from_slice(&config(facts)).unwrap() };
        let mixture = of(&mixtral());
        assert_eq!((&mixture["sliding_window"], &mixture["num_local_experts"]), (&Value::Null, &json!(8)));
        let dense = of(&Facts { experts: None, sliding_window: Some(4096), ..mixtral() });
        assert_eq!((&dense["model_type"], &dense["sliding_window"]), (&json!("mistral"), &json!(4096)));
        assert!(dense.get("num_local_experts").is_none());
        assert_eq!(refusals(&mixture), [""; 0]);
    }

    #[test]
    fn every_cause_is_named() {
        for (key, value) in [
            ("model_type", json!("llama")),
            ("hidden_act", json!("gelu")),
            ("attention_bias", json!(true)),
            ("rope_scaling", json!({"type": "yarn", "factor": 4.0})),
            ("layer_types", json!(["sliding_attention", "full_attention"])),
            ("quantization_config", json!({"quant_method": "fp8"})),
        ] {
            let mut changed: Value = serde_json::from_slice(&config(&mixtral())).unwrap();
            changed[key] = value;
            let causes = refusals(&changed);
            assert!(matches!(causes.as_slice(), [cause] if cause.starts_with(key)), "{key}: {causes:?}");
        }
    }
}
