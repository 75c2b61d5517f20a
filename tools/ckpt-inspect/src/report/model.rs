//! The configuration in a few lines.

use ckpt::cli::Table;
use ckpt::cli::style::count;
use ckpt::document::Config;
use serde_json::Value;

/// Adds the lines of a config.
pub(super) fn fields(table: &mut Table, config: &Config) {
    let name = config.architecture.as_ref().or(config.model_type.as_ref());
    let name = name.map_or_else(|| config.file.clone(), |name| format!("{name} ({})", config.file));
    table.field("model", name);
    line(
        table,
        "size",
        &[
            ("layers", config.layers),
            ("hidden", config.hidden),
            ("feed-forward", config.intermediate),
            ("vocabulary", config.vocab),
            ("context", config.context),
        ],
    );
    line(table, "heads", &[("", config.heads), ("key-value", config.kv_heads), ("wide", config.head_dim)]);
    let theta = config.rope_theta.map(|theta| format!("base {theta}"));
    let scaling = config.rope_scaling.as_ref().map(scaling);
    let rope: Vec<String> = theta.into_iter().chain(scaling).collect();
    if !rope.is_empty() {
        table.field("rotary", rope.join(", "));
    }
    if let Some(quantization) = &config.quantization {
        table.field("quantized", quantized(quantization));
    }
}

/// Numbers with their words, those that are known.
fn line(table: &mut Table, label: &str, numbers: &[(&str, Option<u64>)]) {
    let words = |(word, number): &(&str, Option<u64>)| {
        let number = count((*number)?);
        Some(if word.is_empty() { number } else { format!("{word} {number}") })
    };
    let parts: Vec<String> = numbers.iter().filter_map(words).collect();
    if !parts.is_empty() {
        table.field(label, parts.join(", "));
    }
}

/// The kind of scaling, its factor and from how many positions it stretches.
fn scaling(value: &Value) -> String {
    let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str);
    let mut words = kind.map_or_else(|| "scaled".to_owned(), |kind| format!("{kind} scaling"));
    let factor = value.get("factor").or_else(|| value.get("rope_scaling_factor"));
    if let Some(factor) = factor.and_then(Value::as_f64) {
        words.push_str(" by ");
        words.push_str(&factor.to_string());
    }
    if let Some(positions) = value.get("original_max_position_embeddings").and_then(Value::as_u64) {
        words.push_str(" from ");
        words.push_str(&count(positions));
    }
    words
}

/// The scalars of an object.
fn settings(value: &Value) -> String {
    let Value::Object(object) = value else { return value.to_string() };
    let scalar = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        Value::Bool(true) => Some(key.clone()),
        _ => None,
    };
    object.iter().filter_map(scalar).collect::<Vec<_>>().join(", ")
}

/// Method, format and bits.
fn quantized(value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let group = value.get("config_groups").and_then(Value::as_object).and_then(|groups| groups.values().next());
    let weights = group.and_then(|group| group.get("weights"));
    let number =
        |key: &str, inner: &str| value.get(key).and_then(Value::as_u64).or_else(|| weights?.get(inner)?.as_u64());
    let bits = number("bits", "num_bits").map(|bits| format!("{bits} bits"));
    let groups = number("group_size", "group_size").map(|size| format!("groups of {size}"));
    let parts: Vec<String> = [text("quant_method"), text("format"), bits, groups].into_iter().flatten().collect();
    if parts.is_empty() { settings(value) } else { parts.join(", ") }
}
