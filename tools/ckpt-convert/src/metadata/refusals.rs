//! What Meta's format cannot express: causes found in `config.json`, each named.

use serde_json::Value;

/// Whether a key is there and says something.
fn set<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    config.get(key).filter(|value| !value.is_null() && **value != false)
}

/// The causes for which a model in Hugging Face's layout has no form in Meta's, none if it has one.
pub(crate) fn meta_refusals(config: &Value) -> Vec<String> {
    let mut causes = Vec::new();
    let number = |key: &str| config.get(key).and_then(Value::as_u64);
    match config.get("model_type").and_then(Value::as_str) {
        // Mistral is the same arithmetic where its window is off.
        Some("llama" | "mistral") | None => {}
        Some(other) => causes.push(format!("model_type {other}: Meta's code runs Llama only")),
    }
    if let (Some(dim), Some(heads)) = (number("hidden_size"), number("num_attention_heads")) {
        let head_dim = number("head_dim").unwrap_or_else(|| dim.checked_div(heads).unwrap_or(0));
        if head_dim.checked_mul(heads) != Some(dim) {
            causes.push(format!(
                "head_dim {head_dim}: Meta's code divides hidden_size {dim} by {heads} heads and has no key for another"
            ));
        }
        let kv_heads = number("num_key_value_heads").unwrap_or(heads);
        if heads.checked_rem(kv_heads) != Some(0) {
            causes.push(format!("num_key_value_heads {kv_heads} does not divide {heads} heads"));
        }
    }
    for key in ["attention_bias", "mlp_bias"] {
        if set(config, key).is_some() {
            causes.push(format!("{key}: Meta's layers have no biases"));
        }
    }
    if let Some(act) = set(config, "hidden_act").filter(|act| *act != "silu") {
        causes.push(format!("hidden_act {act}: Meta's code uses silu"));
    }
    if let Some(window) =
        set(config, "sliding_window").filter(|_| config.get("use_sliding_window") != Some(&Value::Bool(false)))
    {
        causes.push(format!("sliding_window {window}: Meta's code attends to everything before"));
    }
    let partial = ["partial_rotary_factor", "rope_pct"].into_iter().find_map(|key| set(config, key));
    let partial = partial.or_else(|| set(config.get("rope_parameters")?, "partial_rotary_factor"));
    if let Some(factor) = partial.filter(|factor| factor.as_f64() != Some(1.0)) {
        causes.push(format!("partial_rotary_factor {factor}: Meta's code rotates whole heads"));
    }
    if set(config, "quantization_config").is_some() {
        causes.push("quantization_config: packed weights have no form there".to_owned());
    }
    causes.extend(scaling(config));
    causes
}

/// Rotary scaling other than that of Llama 3.1 and 3.2. The factor itself cannot be held either, but Meta's own
/// files for factor 32 say the same as those for 8.
fn scaling(config: &Value) -> Option<String> {
    let scaling = set(config, "rope_scaling").or_else(|| set(config, "rope_parameters"))?;
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default");
    if kind == "default" {
        return None;
    }
    if kind != "llama3" {
        return Some(format!("rope_scaling of the kind {kind}: Meta's code knows that of Llama 3.1 only"));
    }
    let known: [(&str, &[f64]); 4] = [
        ("factor", &[8.0, 32.0]),
        ("low_freq_factor", &[1.0]),
        ("high_freq_factor", &[4.0]),
        ("original_max_position_embeddings", &[8192.0]),
    ];
    let other = known.into_iter().find(|(key, values)| {
        let value = scaling.get(key).and_then(Value::as_f64);
        !value.is_some_and(|value| values.iter().any(|known| (known - value).abs() < f64::EPSILON))
    });
    other.map(|(key, _)| {
        let found = scaling.get(key).cloned().unwrap_or_default();
        format!("rope_scaling.{key} {found}: Meta's code has its own number for it")
    })
}

#[cfg(test)]
mod tests {
    use ckpt::archs::llama::{ModelFacts, RopeScaling};
    use serde_json::json;

    use super::super::config::config;
    use super::super::samples::{llama2_7b, llama31_8b, llama32_1b};
    use super::*;

    fn of(facts: &ModelFacts) -> Value {
        serde_json::from_slice(&config(facts, None)).unwrap()
    }

    #[test]
    fn the_releases_can_be_expressed() {
        for facts in [llama2_7b(), llama31_8b(), llama32_1b()] {
            assert_eq!(meta_refusals(&of(&facts)), [""; 0]);
        }
        let five = json!({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}});
        assert_eq!(meta_refusals(&five), [""; 0]);
    }

    #[test]
    fn every_cause_is_named() {
        for (key, value) in [
            ("model_type", json!("qwen2")),
            ("head_dim", json!(96)),
            ("num_key_value_heads", json!(5)),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("hidden_act", json!("gelu")),
            ("sliding_window", json!(4096)),
            ("partial_rotary_factor", json!(0.5)),
            ("quantization_config", json!({"quant_method": "awq"})),
            ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        ] {
            let mut changed = of(&llama31_8b());
            changed[key] = value;
            let causes = meta_refusals(&changed);
            assert!(matches!(causes.as_slice(), [cause] if cause.starts_with(key)), "{key}: {causes:?}");
        }
        let other = ModelFacts { rope_scaling: Some(RopeScaling::llama3(16.0)), ..llama31_8b() };
        assert!(meta_refusals(&of(&other)).first().is_some_and(|cause| cause.starts_with("rope_scaling.factor 16.0")));
    }
}
