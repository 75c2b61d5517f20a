//! How a `config.json` says that rotary frequencies are scaled, and how GGUF does.

use ckpt::archs::setting;
use ckpt::formats::gguf::Put;
use serde_json::Value;

use super::gguf::{number, single};

/// The rotary settings of either form of config: `rope_theta` and `rope_scaling` up to transformers 4,
/// `rope_parameters` since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rope<'a> {
    /// Base of the frequencies.
    pub(crate) theta: Option<f64>,
    /// Base of those of layers that see a window only, where it is another.
    pub(crate) local: Option<f64>,
    /// What else is done to them.
    pub(crate) scaling: Option<&'a Value>,
    /// The longest text that the model can be given, in tokens.
    longest: Option<u64>,
    /// The longest before the scaling, where the config says it outside of it.
    original: Option<u64>,
    /// The part of a head that is turned.
    pub(crate) partial: f64,
}

/// Two lists of factors by which frequencies are divided: for texts beyond the length that the model was first made for,
/// and for those within (`longrope`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Factors {
    /// Beyond.
    pub(crate) long: Vec<f32>,
    /// Within.
    pub(crate) short: Vec<f32>,
}

/// What a config says of its layers' frequencies.
pub(crate) fn rope(config: &Value) -> Rope<'_> {
    let object = |key| setting(config, key).filter(|value: &&Value| value.is_object());
    let all = object("rope_parameters");
    // Where kinds of layers differ, each has its own.
    let both = all.map(|all| all.get("full_attention").unwrap_or(all));
    let number = |key| setting(config, key).and_then(Value::as_f64);
    let theta = number("rope_theta");
    let local = || all?.get("sliding_attention")?.get("rope_theta")?.as_f64();
    Rope {
        local: number("rope_local_base_freq").or_else(local),
        theta: theta.or_else(|| both?.get("rope_theta")?.as_f64()),
        scaling: object("rope_scaling").or(both).filter(|scaling| kind(scaling) != "default"),
        longest: setting(config, "max_position_embeddings").and_then(Value::as_u64),
        original: setting(config, "original_max_position_embeddings").and_then(Value::as_u64),
        partial: number("partial_rotary_factor")
            .or_else(|| both?.get("partial_rotary_factor")?.as_f64())
            .unwrap_or(1.0),
    }
}

/// What kind of scaling it is; the key was `type` before 4.43.
pub(super) fn kind(scaling: &Value) -> &str {
    scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default")
}

/// Kinds of scaling that llama.cpp does by its keys alone, and their settings that it knows or computes alike.
const KINDS: &[(&str, &[&str])] = &[
    ("linear", &["factor"]),
    ("yarn", &["factor", "original_max_position_embeddings"]),
    ("longrope", &["factor", "original_max_position_embeddings", "long_factor", "short_factor"]),
    // Its first name.
    ("su", &["factor", "original_max_position_embeddings", "long_factor", "short_factor"]),
];

impl Rope<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.scaling?.get(key).filter(|value| !value.is_null())
    }

    /// Why llama.cpp cannot scale so, if it cannot.
    pub(crate) fn refusal(&self) -> Option<String> {
        let scaling = self.scaling?;
        let kind = kind(scaling);
        let Some((_, known)) = KINDS.iter().find(|row| row.0 == kind) else {
            return Some(format!("rope_scaling of the kind {kind}: it is not written as GGUF here"));
        };
        let same = |key: &str| {
            known.contains(&key) || matches!(key, "rope_type" | "type" | "rope_theta" | "partial_rotary_factor")
        };
        let other = scaling.as_object()?.iter().find(|(key, value)| !same(key) && !value.is_null());
        let ratio = self.longest.zip(self.original()).map(|(longest, original)| quotient(longest, original));
        let factor = self.get("factor").and_then(Value::as_f64).filter(|_| self.factors().is_some());
        let apart = factor.zip(ratio).map(|(factor, ratio)| (factor - ratio).abs());
        if let (Some(factor), Some(ratio)) = (factor, ratio)
            && apart.is_some_and(|apart| apart.is_nan() || apart > 1e-6)
        {
            return Some(format!(
                "rope_scaling.factor {factor}: llama.cpp takes the ratio of the two lengths, {ratio}"
            ));
        }
        other.map(|(key, value)| format!("rope_scaling.{key} {value}: GGUF has no key for it that is known here"))
    }

    /// The two lists of factors, if the scaling has them.
    pub(crate) fn factors(&self) -> Option<Factors> {
        let list = |key| -> Option<Vec<f32>> {
            self.get(key)?.as_array()?.iter().map(|number| Some(single(number.as_f64()?))).collect()
        };
        Some(Factors { long: list("long_factor")?, short: list("short_factor")? })
    }

    /// The length in tokens that the model was first made for.
    fn original(&self) -> Option<u64> {
        self.get("original_max_position_embeddings").and_then(Value::as_u64).or(self.original)
    }

    /// The keys, after the name of the architecture.
    pub(crate) fn keys(&self) -> Vec<(&'static str, Put)> {
        let Some(scaling) = self.scaling else { return Vec::new() };
        if self.factors().is_some() {
            let original = self.original().or(self.longest);
            let strength = self.longest.zip(original).map(|(longest, original)| strength(longest, original));
            let original = original.map(|original| ("rope.scaling.original_context_length", number(original)));
            let strength = strength.map(|strength| ("rope.scaling.attn_factor", Put::F32(strength)));
            return original.into_iter().chain(strength).collect();
        }
        let factor = self.get("factor").and_then(Value::as_f64);
        let mut keys = vec![("rope.scaling.type", Put::Text(kind(scaling).to_owned()))];
        keys.extend(factor.map(|factor| ("rope.scaling.factor", Put::F32(single(factor)))));
        if kind(scaling) == "yarn" {
            keys.extend(
                self.original().or(self.longest).map(|length| ("rope.scaling.original_context_length", number(length))),
            );
        }
        keys
    }
}

/// A part of a whole, of sizes that are small.
pub(crate) fn quotient(part: u64, whole: u64) -> f64 {
    let float = |size: u64| u32::try_from(size).map_or(f64::INFINITY, f64::from);
    float(part) / float(whole)
}

/// The shortest decimal that is this number in single precision.
pub(crate) fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().unwrap_or_default().into()
}

/// By how much `longrope` strengthens attention for a model whose texts have grown so much longer (the paper's formula,
/// which transformers and llama.cpp's converter share).
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "lengths of texts are far below 2^53, and a length beyond only changes the last digits"
)]
pub(crate) fn strength(longest: u64, original: u64) -> f32 {
    let (longest, original) = (longest as f64, original as f64);
    if longest <= original || original <= 1.0 {
        return 1.0;
    }
    single((1.0 + (longest / original).ln() / original.ln()).sqrt())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_config_say_the_same() {
        let old =
            json!({"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 8.0}, "rope_local_base_freq": 1e4});
        let full = json!({"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6});
        let new = json!({"rope_parameters": {"full_attention": full, "sliding_attention": {"rope_theta": 1e4}}});
        for config in [old, new] {
            let rope = rope(&config);
            assert_eq!((rope.theta, rope.local, rope.refusal()), (Some(1e6), Some(1e4), None));
            let keys = [("rope.scaling.type", Put::Text("linear".into())), ("rope.scaling.factor", Put::F32(8.0))];
            assert_eq!(rope.keys(), keys);
        }
        let plain = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}});
        assert_eq!((rope(&plain).theta, rope(&plain).keys()), (Some(1e4), Vec::new()));
    }

    #[test]
    fn two_lists_of_factors_come_with_the_strength_of_attention() {
        let scaling = json!({"rope_type": "longrope", "long_factor": [1.5, 4.0], "short_factor": [1.0, 1.25]});
        let config = json!({
            "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096, "rope_scaling": scaling,
        });
        let rope = rope(&config);
        assert_eq!(rope.factors(), Some(Factors { long: vec![1.5, 4.0], short: vec![1.0, 1.25] }));
        // sqrt(1 + ln(32) / ln(4096)) = sqrt(1 + 5 / 12)
        let strength = Put::F32(1.190_238_1);
        let original = ("rope.scaling.original_context_length", Put::U32(4096));
        assert_eq!(rope.keys(), [original, ("rope.scaling.attn_factor", strength)]);
    }

    #[test]
    fn what_gguf_cannot_say_is_refused() {
        for (scaling, cause) in [
            (json!({"rope_type": "dynamic", "factor": 2.0}), "dynamic"),
            (json!({"rope_type": "yarn", "factor": 2.0, "beta_fast": 16}), "beta_fast"),
        ] {
            let config = json!({ "rope_scaling": scaling });
            assert!(rope(&config).refusal().unwrap().contains(cause));
        }
    }
}
