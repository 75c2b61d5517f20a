//! What Meta's `params.json` and Hugging Face's `config.json` leave unsaid, worked out from the weights, the
//! tokenizer and the name. Everything worked out says from what, and can be overridden by `--assume KEY=VALUE`.

mod config;
mod label;
mod params;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value;

pub use config::{config_dtype, from_config};
pub(in crate::archs) use config::{rope, stops};
pub use label::of as model_name;
pub use params::{foreign, from_params};

use super::facts::{Generation, ModelFacts};
use crate::facts::{Dtype, Finding, Id};

/// One thing that was worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Inferred {
    /// Its key, which is also that of `--assume`; mostly the field of `config.json`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// From what, in words.
    pub from: String,
}

/// The facts of a model, and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference<F = ModelFacts> {
    /// All of them.
    pub facts: F,
    /// Those that stand in no file as they are, in a fixed order.
    pub inferred: Vec<Inferred>,
    /// What is doubtful: never an error.
    pub findings: Vec<Finding>,
}

/// What the tokenizer beside the weights tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    /// It is of Llama 3's kind, tiktoken; otherwise of Llama 2's, SentencePiece.
    pub tiktoken: bool,
    /// Ids there are, special ones included.
    pub ids: u64,
    /// The id that begins a text.
    pub bos: Option<u64>,
    /// The id that ends one.
    pub eos: Option<u64>,
}

/// What is known of a model besides its `params.json` or `config.json`.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The shape of a tensor by its name in the source's own layout (Meta names for `params.json`), of the first
    /// shard where there are several.
    pub shape: &'a dyn Fn(&str) -> Option<Vec<u64>>,
    /// Model-parallel shards; 1 if the shapes are those of the whole model.
    pub shards: u64,
    /// How many shards hold a copy of the same key and value heads, where comparing bytes has told; else 1.
    pub kv_repeat: u64,
    /// The tokenizer, if there is one.
    pub vocabulary: Option<Vocabulary>,
    /// The output head is the embedding, byte for byte; `None` where they were not compared.
    pub tied: Option<bool>,
    /// Dtype of the floating tensors.
    pub dtype: Dtype,
    /// The path of the checkpoint, whose last telling component is taken for its name.
    pub path: &'a str,
    /// A `config.json` beside Meta's files (the hub's layout), if there is one.
    pub sibling: Option<&'a Value>,
    /// Whether the embedding's rows for the headers of messages are trained, unlike reserved ones; `None` where
    /// nobody looked.
    pub headers_trained: Option<bool>,
    /// `--assume`: values by key, as typed.
    pub assume: &'a BTreeMap<String, String>,
}

/// The keys that can be assumed, with what their values are.
pub const ASSUMABLE: &[(&str, &str)] = &[
    ("generation", "llama-1, llama-2, code-llama, llama-3, llama-3.1, llama-3.2 or llama-3.3"),
    ("instruct", "true or false"),
    ("vocab_size", "a number"),
    ("intermediate_size", "a number"),
    ("num_key_value_heads", "a number"),
    ("rope_theta", "a number"),
    ("rope_scaling", "the factor, or none"),
    ("sliding_window", "a number, or none"),
    ("max_position_embeddings", "a number"),
    ("tie_word_embeddings", "true or false"),
    ("bos_token_id", "a number"),
    ("eos_token_id", "numbers with commas between"),
    ("pad_token_id", "a number, or none"),
];

/// Collects what was worked out, and lets `--assume` have its way.
pub(in crate::archs) struct Notes<'a> {
    assume: &'a BTreeMap<String, String>,
    pub(in crate::archs) inferred: Vec<Inferred>,
    pub(in crate::archs) findings: Vec<Finding>,
}

/// A value that can be assumed and reported.
pub(in crate::archs) trait Assumed: Sized {
    /// From what was typed.
    fn typed(text: &str) -> Option<Self>;
    /// For the report.
    fn told(&self) -> Value;
}

/// Numbers and truth values are typed and told as they are.
macro_rules! plain {
    ($($type:ty)*) => {$(impl Assumed for $type {
        fn typed(text: &str) -> Option<Self> {
            <$type>::from_str(text).ok()
        }
        fn told(&self) -> Value {
            (*self).into()
        }
    })*};
}
plain! { u64 bool }

impl Assumed for f64 {
    fn typed(text: &str) -> Option<Self> {
        f64::from_str(text).ok().filter(|value| value.is_finite() && *value > 0.0)
    }
    fn told(&self) -> Value {
        (*self).into()
    }
}

impl Assumed for Generation {
    fn typed(text: &str) -> Option<Self> {
        Generation::from_name(text)
    }
    fn told(&self) -> Value {
        self.name().into()
    }
}

impl<T: Assumed> Assumed for Option<T> {
    fn typed(text: &str) -> Option<Self> {
        if text == "none" { Some(None) } else { T::typed(text).map(Some) }
    }
    fn told(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::told)
    }
}

impl<T: Assumed> Assumed for Vec<T> {
    fn typed(text: &str) -> Option<Self> {
        text.split(',').map(|item| T::typed(item.trim())).collect()
    }
    fn told(&self) -> Value {
        match self.as_slice() {
            [one] => one.told(),
            all => all.iter().map(T::told).collect(),
        }
    }
}

impl<'a> Notes<'a> {
    pub(in crate::archs) fn new(evidence: &Evidence<'a>) -> Notes<'a> {
        Notes { assume: evidence.assume, inferred: Vec::new(), findings: Vec::new() }
    }

    /// What `--assume` says of a key.
    fn assumed<T: Assumed>(&self, key: &str) -> Result<Option<T>, Finding> {
        let Some(text) = self.assume.get(key) else { return Ok(None) };
        let wanted = ASSUMABLE.iter().find(|(row, _)| *row == key).map_or("", |(_, wanted)| wanted);
        let message = format!("--assume {key}={text}: the value is not {wanted}");
        T::typed(text).map(Some).ok_or_else(|| Finding::new(Id::JsonInvalid, message))
    }

    /// Takes and reports a value: the assumed one, or this one with where it comes from.
    pub(in crate::archs) fn choose<T: Assumed>(
        &mut self,
        key: &str,
        value: T,
        from: impl Display,
    ) -> Result<T, Finding> {
        let (value, from) = match self.assumed(key)? {
            Some(assumed) => (assumed, "--assume".to_owned()),
            None => (value, from.to_string()),
        };
        self.inferred.push(Inferred { key: key.to_owned(), value: value.told(), from });
        Ok(value)
    }

    /// Takes a value that stands in a file as it is, which is reported only if it is overridden.
    pub(in crate::archs) fn given<T: Assumed>(&mut self, key: &str, value: T) -> Result<T, Finding> {
        if self.assume.contains_key(key) { self.choose(key, value, "") } else { Ok(value) }
    }
}

/// A whole number of a JSON object, written as an integer or as a float without a fraction.
pub(in crate::archs) fn whole(object: &Value, key: &str) -> Option<u64> {
    let value = object.get(key)?;
    value.as_u64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..1e15).contains(float))?;
        format!("{float:.0}").parse().ok()
    })
}

/// A whole number that must be there and positive.
pub(in crate::archs) fn needed(object: &Value, file: &str, key: &str) -> Result<u64, Finding> {
    whole(object, key).filter(|number| *number > 0).ok_or_else(|| {
        let found = object.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
        Finding::new(Id::JsonInvalid, format!("{key} should be a positive whole number"))
            .in_file(file)
            .needed("a positive whole number", found)
    })
}

/// A positive number that may be missing.
pub(in crate::archs) fn positive(object: &Value, key: &str) -> Option<f64> {
    object.get(key)?.as_f64().filter(|value| value.is_finite() && *value > 0.0)
}

/// Positions a generation was trained for.
fn positions(generation: Generation) -> u64 {
    match generation {
        Generation::Llama1 => 2048,
        Generation::Llama2 => 4096,
        Generation::CodeLlama => 16_384,
        Generation::Llama3 => 8192,
        Generation::Llama31 | Generation::Llama32 | Generation::Llama33 => 131_072,
    }
}

/// The ids that begin and end a text.
fn ids(
    notes: &mut Notes<'_>,
    generation: Generation,
    instruct: bool,
    vocab: u64,
    vocabulary: Option<Vocabulary>,
) -> Result<(u64, Vec<u64>), Finding> {
    if !generation.has_tiktoken() {
        let bos = vocabulary.and_then(|vocabulary| vocabulary.bos);
        let eos = vocabulary.and_then(|vocabulary| vocabulary.eos);
        let from = |id: Option<u64>| if id.is_some() { "the tokenizer" } else { "the generation" };
        return Ok((
            notes.choose("bos_token_id", bos.unwrap_or(1), from(bos))?,
            notes.choose("eos_token_id", vec![eos.unwrap_or(2)], from(eos))?,
        ));
    }
    // Special tokens stand right behind the ranks, in slots that all releases share: 0 begins a text, 1 ends it,
    // 8 ends a message that a tool answers, 9 ends a turn.
    let told = vocabulary.and_then(|vocabulary| vocabulary.bos);
    let first = told.unwrap_or(if vocab >= 128_256 { 128_000 } else { vocab.saturating_sub(256) });
    let from = if told.is_some() { "the number of ranks in the tokenizer" } else { "the vocabulary of the weights" };
    let slots: &[u64] = match (instruct, generation) {
        (false, _) => &[1],
        (true, Generation::Llama3) => &[1, 9],
        (true, _) => &[1, 8, 9],
    };
    let eos = slots.iter().map(|slot| first.saturating_add(*slot)).collect();
    let kind = if instruct { "tuned for dialogue" } else { "a base model" };
    Ok((
        notes.choose("bos_token_id", first, from)?,
        notes.choose("eos_token_id", eos, format_args!("{from}, and that it is {kind}"))?,
    ))
}

/// Whether a model of a later family of Meta's is tuned for dialogue, by its name or as was assumed; from what; and what
/// is doubtful about it.
///
/// # Errors
/// For an assumption that is neither `true` nor `false`.
pub fn tuned(evidence: &Evidence<'_>) -> Result<(bool, Vec<Inferred>, Vec<Finding>), Finding> {
    let mut notes = Notes::new(evidence);
    let tuned = instruct(&mut notes, Generation::Llama32, evidence)?;
    Ok((tuned, notes.inferred, notes.findings))
}

/// Whether the model is tuned for dialogue.
fn instruct(notes: &mut Notes<'_>, generation: Generation, evidence: &Evidence<'_>) -> Result<bool, Finding> {
    let label = label::of(evidence.path);
    // Before Llama 3 tuned models end a turn with the token that ends a text.
    let sibling = evidence.sibling.filter(|_| generation.has_tiktoken());
    let stops = sibling.and_then(|config| config.get("eos_token_id")).map(|eos| match eos {
        Value::Array(ids) => ids.len() > 1,
        // Llama 3's tuned models name the end of a turn alone.
        id => id.as_u64() == Some(128_009),
    });
    let (value, from) = if generation == Generation::Llama1 {
        (false, "the generation, which has no tuned release".to_owned())
    } else if let Some(tuned) = label::instruct(label) {
        (tuned, format!("the name {label}"))
    } else if let Some(tuned) = stops {
        (tuned, "eos_token_id of config.json".to_owned())
    } else if let Some(trained) = evidence.headers_trained {
        (trained, "whether the embedding's rows for the headers of messages are trained".to_owned())
    } else {
        if !notes.assume.contains_key("instruct") {
            notes.findings.push(
                Finding::new(
                    Id::InstructUnknown,
                    "nothing tells a base model from one tuned for dialogue: taken for base",
                )
                .needed("--assume instruct=true or --assume instruct=false", label),
            );
        }
        (false, "nothing tells; base models are the default".to_owned())
    };
    notes.choose("instruct", value, from)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "sizes of the test's own models")]
mod tests;
