//! What the small files of models that see are made of: `params.json`, and the weights under Hugging Face's names.

use std::collections::HashMap;

use ckpt::archs::Arch;
use ckpt::archs::llama::{RopeScaling, ffn};
use ckpt::canonical::Table;
use ckpt::facts::Dtype;
use serde_json::{Value, json};

/// A model of Meta's that is known by its `params.json` and its shapes.
pub(crate) struct Seen<'a> {
    pub(crate) params: &'a Value,
    shapes: HashMap<&'a str, &'a [u64]>,
    pub(crate) dtype: Dtype,
    /// Tuned for dialogue.
    pub(crate) instruct: bool,
    /// The first id behind the ranks, where special tokens begin.
    pub(crate) first: u64,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(params: &'a Value, table: &'a Table, dtype: Dtype, instruct: bool, first: u64) -> Seen<'a> {
        let shapes = table.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.recipe.shape.as_slice()));
        Seen { params, shapes: shapes.collect(), dtype, instruct, first }
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.shapes.get(name).copied()
    }

    /// The sizes of a tensor that must be there.
    ///
    /// # Errors
    /// That it is not, or has another rank.
    pub(crate) fn sizes<const N: usize>(&self, name: &str) -> Result<[u64; N], String> {
        let shape = self.shape(name).ok_or_else(|| format!("{name} is missing, which tells sizes of the model"))?;
        shape.try_into().map_err(|_| format!("{name} has the shape {shape:?}, which tells no sizes"))
    }

    /// How many layers there are whose names begin so.
    pub(crate) fn layers(&self, prefix: &str) -> u64 {
        let number = |name: &&str| name.strip_prefix(prefix)?.split('.').next()?.parse::<u64>().ok();
        self.shapes.keys().filter_map(number).max().map_or(0, |last| last.saturating_add(1))
    }

    /// A number of layers or tiles that `params.json` says: no more than there are tensors, which a file may claim.
    ///
    /// # Errors
    /// That it says none, or one that cannot be.
    pub(crate) fn counted(&self, key: &str) -> Result<u64, String> {
        let count = number(self.params, key)?;
        if count > ckpt::bytes::to_u64(self.shapes.len()) {
            return Err(format!(
                "params.json says {count} for {key}, and there are {} tensors in all",
                self.shapes.len()
            ));
        }
        Ok(count)
    }

    /// Whether there is a vision tower.
    pub(crate) fn sees(&self) -> bool {
        self.shapes.keys().any(|name| name.starts_with("vision_model."))
    }

    /// The id of a special token by its place behind the ranks.
    pub(crate) fn slot(&self, slot: u64) -> u64 {
        self.first.saturating_add(slot)
    }

    /// The ids that end a text, of a base model or of one tuned for dialogue.
    pub(crate) fn ends(&self, base: &[u64], tuned: &[u64]) -> Value {
        let ids: Vec<u64> = if self.instruct { tuned } else { base }.iter().map(|slot| self.slot(*slot)).collect();
        match ids.as_slice() {
            [id] => json!(id),
            ids => json!(ids),
        }
    }

    /// A positive number of `params.json`.
    pub(crate) fn float(&self, key: &str, default: f64) -> f64 {
        self.params.get(key).and_then(Value::as_f64).filter(|value| *value > 0.0).unwrap_or(default)
    }
}

/// `generation_config.json`: the sampling that all of Meta's releases name.
pub(crate) fn generation_of(config: &Value) -> Vec<u8> {
    let of = |key: &str| ckpt::archs::setting(config, key).cloned().unwrap_or_default();
    super::text(&json!({
        "bos_token_id": of("bos_token_id"),
        "do_sample": true,
        "eos_token_id": of("eos_token_id"),
        "pad_token_id": of("pad_token_id"),
        "temperature": 0.6,
        "top_p": 0.9,
    }))
}

/// A positive whole number of `params.json`.
///
/// # Errors
/// That there is none under that key.
pub(crate) fn number(params: &Value, key: &str) -> Result<u64, String> {
    let said = params.get(key).and_then(Value::as_u64).filter(|&number| number > 0);
    said.ok_or_else(|| format!("params.json says no {key}"))
}

/// Patches of a square image.
pub(crate) fn square(image: u64, patch: u64) -> Option<u64> {
    let side = image.checked_div(patch)?;
    side.checked_mul(side)
}

/// `rope_scaling`, by the alphabet.
pub(crate) fn by_rotary(scaling: &RopeScaling) -> Value {
    json!({
        "factor": scaling.factor,
        "high_freq_factor": scaling.high_freq_factor,
        "low_freq_factor": scaling.low_freq_factor,
        "original_max_position_embeddings": scaling.original_max_position_embeddings,
        "rope_type": "llama3",
    })
}

/// A number of `config.json`, or what transformers takes where it is silent.
///
/// # Errors
/// If there is neither.
pub(crate) fn settled(config: &Value, key: &str, model_type: &str) -> Result<u64, String> {
    or_default(ckpt::archs::setting(config, key), key, model_type)
}

/// The same of the vision tower.
///
/// # Errors
/// As above.
pub(crate) fn settled_of_vision(config: &Value, key: &str, model_type: &str) -> Result<u64, String> {
    let path = format!("vision_config/{key}");
    or_default(config.pointer(&format!("/{path}")), &path, model_type)
}

fn or_default(said: Option<&Value>, path: &str, model_type: &str) -> Result<u64, String> {
    let defaults = || Arch::of_model_type(model_type).map_or(&[][..], |arch| arch.defaults);
    let default = || defaults().iter().find(|row| row.0 == path).map(|row| row.1);
    let number = said.and_then(Value::as_u64).or_else(default).filter(|&number| number > 0);
    number.ok_or_else(|| format!("config.json says no {path}"))
}

/// A positive number of `config.json`, or what transformers takes where it is silent.
pub(crate) fn float(config: &Value, key: &str, default: f64) -> f64 {
    ckpt::archs::setting(config, key).and_then(Value::as_f64).filter(|value| *value > 0.0).unwrap_or(default)
}

/// The base of the rotary frequencies, which transformers 5 keeps with their scaling.
pub(crate) fn theta(config: &Value) -> f64 {
    let inner = ckpt::archs::setting(config, "rope_parameters").and_then(|rope| rope.get("rope_theta")?.as_f64());
    inner.unwrap_or_else(|| float(config, "rope_theta", 500_000.0))
}

/// Factor and `high_freq_factor` of the rotary scaling, if there is any; what is not said of them is `(factor, high)`.
///
/// # Errors
/// For scaling that Meta's code does not know.
pub(crate) fn scaled(config: &Value, factor: f64, high: f64) -> Result<Option<(f64, f64)>, String> {
    let said = ["rope_scaling", "rope_parameters"].into_iter().find_map(|key| ckpt::archs::setting(config, key));
    let Some(said) = said else { return Ok(None) };
    let kind = said.get("rope_type").or_else(|| said.get("type")).and_then(Value::as_str).unwrap_or("default");
    if kind == "default" {
        return Ok(None);
    }
    let of = |key: &str, default: f64| said.get(key).and_then(Value::as_f64).unwrap_or(default);
    let is = |value: f64, wanted: f64| (value - wanted).abs() < f64::EPSILON;
    if kind != "llama3"
        || !is(of("low_freq_factor", 1.0), 1.0)
        || !is(of("original_max_position_embeddings", 8192.0), 8192.0)
    {
        return Err(format!("rope_scaling {said}: Meta's code has its own numbers for it"));
    }
    Ok(Some((of("factor", factor), of("high_freq_factor", high))))
}

/// `multiple_of` and `ffn_dim_multiplier` from which Meta's code makes that width.
///
/// # Errors
/// If none do.
pub(crate) fn factors(dim: u64, ffn: u64) -> Result<ffn::Factors, String> {
    ffn::factors(dim, ffn).ok_or_else(|| {
        format!("no multiple_of and ffn_dim_multiplier give a feed-forward width of {ffn} for dim {dim}")
    })
}

/// Keys without a value are left out, as the code that reads the file has its own for them.
pub(crate) fn without_nulls(params: &mut Value) {
    if let Some(fields) = params.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
