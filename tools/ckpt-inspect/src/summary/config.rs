//! The figures of `config.json` or `params.json` under one set of names.

use ckpt::archs::llama::ModelFacts;
use ckpt::archs::llama::infer::config_dtype;
use ckpt::document::Config;
use ckpt::layouts::Checkpoint;
use serde_json::{Map, Value};

use super::tied;

/// Parts of a config that hold the language model of one that sees or hears as well.
const PARTS: &[&str] = &["text_config", "llm_config", "language_config"];

/// A config, and the part of it that speaks of the language model.
struct Settings<'a> {
    whole: &'a Value,
    part: Option<&'a Value>,
}

impl<'a> Settings<'a> {
    /// The first of these keys that is set, in the whole or else in the part.
    fn get(&self, keys: &[&str]) -> Option<&'a Value> {
        let set = |object: &'a Value| keys.iter().find_map(|key| object.get(key).filter(|value| !value.is_null()));
        set(self.whole).or_else(|| set(self.part?))
    }

    fn number(&self, keys: &[&str]) -> Option<u64> {
        self.get(keys)?.as_u64()
    }

    fn float(&self, keys: &[&str]) -> Option<f64> {
        self.get(keys)?.as_f64()
    }
}

/// The configuration of a checkpoint; the facts of a known family fill in what the file does not say.
pub(super) fn of(checkpoint: &Checkpoint, facts: Option<&ModelFacts>) -> Option<Config> {
    let file = checkpoint.config.as_ref()?;
    let whole = checkpoint.params()?;
    let settings = Settings { whole, part: PARTS.iter().find_map(|part| whole.get(part)) };
    let text = |keys: &[&str]| settings.get(keys).and_then(Value::as_str).map(str::to_owned);
    // Heads of latent attention have several widths, none of which is the quotient.
    let latent = settings.get(&["kv_lora_rank", "qk_nope_head_dim"]).is_some();
    let fact = |number: fn(&ModelFacts) -> u64| facts.map(number);
    Some(Config {
        file: file.name.clone(),
        model_type: whole.get("model_type").and_then(Value::as_str).map(str::to_owned),
        architecture: architecture(whole).map(str::to_owned),
        layers: settings.number(&["num_hidden_layers", "n_layers", "n_layer", "num_layers"]),
        hidden: settings.number(&["hidden_size", "dim", "n_embd", "d_model"]),
        intermediate: settings
            .number(&["intermediate_size", "hidden_dim", "n_inner", "d_ff"])
            .or(fact(|facts| facts.ffn)),
        heads: settings.number(&["num_attention_heads", "n_heads", "n_head"]),
        kv_heads: settings.number(&["num_key_value_heads", "n_kv_heads"]).or(fact(|facts| facts.kv_heads)),
        head_dim: settings.number(&["head_dim"]).or_else(|| checkpoint.head_dim().filter(|_| !latent)),
        // Llama 1 and 2 say -1 and leave it to the tokenizer.
        vocab: settings.number(&["vocab_size", "n_vocab"]).or(fact(|facts| facts.vocab)),
        context: settings
            .number(&["max_position_embeddings", "n_positions", "max_seq_len", "seq_length"])
            .or(fact(|facts| facts.max_position_embeddings)),
        rope_theta: settings
            .float(&["rope_theta"])
            .or_else(|| settings.get(&["rope_parameters"])?.get("rope_theta")?.as_f64())
            .or(facts.map(|facts| facts.rope_theta)),
        rope_scaling: rope_scaling(&settings),
        norm_eps: settings.float(&["rms_norm_eps", "norm_eps", "layer_norm_epsilon", "layer_norm_eps"]),
        tied: tied::says(checkpoint),
        dtype: config_dtype(whole)
            .or_else(|| config_dtype(settings.part?))
            .map(|dtype| dtype.name().to_owned())
            .or_else(|| text(&["torch_dtype", "dtype"])),
        quantization: settings.get(&["quantization_config", "quantization", "quantization_args"]).cloned(),
    })
}

/// The class of the model: the first that transformers is told, or the one of diffusers.
fn architecture(config: &Value) -> Option<&str> {
    config.pointer("/architectures/0").or_else(|| config.get("_class_name"))?.as_str()
}

/// The scaling as the file has it: an object, or Meta's keys gathered in one.
fn rope_scaling(settings: &Settings<'_>) -> Option<Value> {
    if let Some(scaling) = settings.get(&["rope_scaling", "rope_parameters"]) {
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        return (kind != Some("default")).then(|| scaling.clone());
    }
    let scaled = settings.get(&["use_scaled_rope"]).filter(|scaled| scaled.as_bool() == Some(true))?;
    let mut keys = Map::new();
    keys.insert("use_scaled_rope".to_owned(), scaled.clone());
    for key in ["rope_scaling_factor", "high_freq_factor", "low_freq_factor"] {
        if let Some(value) = settings.get(&[key]) {
            keys.insert(key.to_owned(), value.clone());
        }
    }
    Some(Value::Object(keys))
}
