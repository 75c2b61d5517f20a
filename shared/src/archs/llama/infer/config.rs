//! From Hugging Face's `config.json`, in the form of transformers 4 or 5.

use serde_json::Value;

use super::{Evidence, Inference, Notes, ids, instruct, label, needed, positions, positive, whole};
use crate::archs::llama::facts::{Generation, ModelFacts, RopeScaling};
use crate::facts::{Dtype, Finding, Id};

const FILE: &str = "config.json";

/// The rotary settings of either form: `rope_theta` and `rope_scaling`, or both in `rope_parameters`.
pub(in crate::archs) struct Rope<'a> {
    pub(in crate::archs) theta: Option<f64>,
    scaling: Option<&'a Value>,
}

pub(in crate::archs) fn rope(config: &Value) -> Rope<'_> {
    let object = |key| config.get(key).filter(|value: &&Value| value.is_object());
    let both = object("rope_parameters");
    Rope {
        theta: positive(config, "rope_theta").or_else(|| positive(both?, "rope_theta")),
        scaling: object("rope_scaling").or(both).filter(|scaling| kind(scaling) != "default"),
    }
}

/// What kind of scaling it is; the key was `type` before 4.43.
fn kind(scaling: &Value) -> &str {
    scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default")
}

/// The factor and thresholds of `llama3` scaling; `None` for none and for other kinds, which Meta's models do
/// not have.
fn scaling(rope: &Rope<'_>) -> Option<RopeScaling> {
    let scaling = rope.scaling.filter(|scaling| kind(scaling) == "llama3")?;
    Some(RopeScaling {
        factor: positive(scaling, "factor")?,
        low_freq_factor: positive(scaling, "low_freq_factor")?,
        high_freq_factor: positive(scaling, "high_freq_factor")?,
        original_max_position_embeddings: whole(scaling, "original_max_position_embeddings")?,
    })
}

/// The facts of a model in Hugging Face's layout. Of the evidence, shapes are not needed.
///
/// # Errors
/// [`Id::JsonInvalid`] where a number is missing or is none, or an assumption is not of its kind.
pub fn from_config(config: &Value, evidence: &Evidence<'_>) -> Result<Inference, Finding> {
    let dim = needed(config, FILE, "hidden_size")?;
    let layers = needed(config, FILE, "num_hidden_layers")?;
    let heads = needed(config, FILE, "num_attention_heads")?;
    let ffn = needed(config, FILE, "intermediate_size")?;
    let vocab = needed(config, FILE, "vocab_size")?;
    let mut notes = Notes::new(evidence);
    let kv_heads = notes.given("num_key_value_heads", whole(config, "num_key_value_heads").unwrap_or(heads))?;
    let rope = rope(config);
    let rope_theta = match rope.theta {
        Some(theta) => notes.given("rope_theta", theta)?,
        None => notes.choose("rope_theta", 10_000.0, "the default of transformers")?,
    };
    let rope_scaling = scaling(&rope);
    let factor = notes.given("rope_scaling", rope_scaling.as_ref().map(|scaling| scaling.factor))?;
    let rope_scaling =
        factor.map(|factor| RopeScaling { factor, ..rope_scaling.unwrap_or_else(|| RopeScaling::llama3(factor)) });
    let tied = match config.get("tie_word_embeddings").and_then(Value::as_bool) {
        Some(tied) => notes.given("tie_word_embeddings", tied)?,
        None => notes.choose("tie_word_embeddings", false, "the default of transformers for Llama")?,
    };
    let generation = generation(&mut notes, evidence, vocab, rope_theta, rope_scaling.as_ref())?;
    let tuned = instruct(&mut notes, generation, &Evidence { sibling: Some(config), ..*evidence })?;
    let max = match whole(config, "max_position_embeddings") {
        Some(max) => notes.given("max_position_embeddings", max)?,
        None => notes.choose("max_position_embeddings", positions(generation), "the generation")?,
    };
    let (bos, eos) = match (whole(config, "bos_token_id"), stops(config)) {
        (Some(bos), Some(eos)) => (notes.given("bos_token_id", bos)?, notes.given("eos_token_id", eos)?),
        _ => ids(&mut notes, generation, tuned, vocab, evidence.vocabulary)?,
    };
    let facts = ModelFacts {
        generation,
        instruct: tuned,
        dim,
        layers,
        heads,
        kv_heads,
        head_dim: whole(config, "head_dim").or_else(|| dim.checked_div(heads)).unwrap_or(0),
        ffn,
        vocab,
        // The default of `LlamaConfig`.
        norm_eps: positive(config, "rms_norm_eps").unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        max_position_embeddings: max,
        tied,
        dtype: evidence.dtype,
        bos,
        eos,
        pad: notes.given("pad_token_id", whole(config, "pad_token_id"))?,
        multiple_of: None,
        ffn_dim_multiplier: None,
    };
    // Meta's form has no place for the difference, so a doubt about it is of no use to anyone.
    notes.findings.retain(|finding| finding.id != Id::InstructUnknown);
    Ok(Inference { facts, inferred: notes.inferred, findings: notes.findings })
}

/// The dtype that `config.json` names, in either form's key.
pub fn config_dtype(config: &Value) -> Option<Dtype> {
    let name = config.get("torch_dtype").or_else(|| config.get("dtype"))?.as_str()?;
    Dtype::from_torch(name.strip_prefix("torch.").unwrap_or(name))
}

/// Ids that end a text: one, or a list of them.
pub(in crate::archs) fn stops(config: &Value) -> Option<Vec<u64>> {
    match config.get("eos_token_id")? {
        Value::Array(ids) => ids.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>().filter(|ids| !ids.is_empty()),
        id => id.as_u64().map(|id| vec![id]),
    }
}

fn generation(
    notes: &mut Notes<'_>,
    evidence: &Evidence<'_>,
    vocab: u64,
    theta: f64,
    scaling: Option<&RopeScaling>,
) -> Result<Generation, Finding> {
    use Generation::{CodeLlama, Llama1, Llama2, Llama3, Llama31, Llama32, Llama33};
    let label = label::of(evidence.path);
    let named = label::generation(label);
    let (value, from) = match (scaling, evidence.vocabulary) {
        (Some(scaling), _) => match named.filter(|named| [Llama31, Llama32, Llama33].contains(named)) {
            Some(named) => (named, format!("the name {label}")),
            None if scaling.factor > 8.0 => (Llama32, "rope_scaling with a factor above 8".into()),
            None => (Llama31, "rope_scaling of the kind llama3".into()),
        },
        (None, Some(vocabulary)) if vocabulary.tiktoken => {
            (Llama3, "the tokenizer is tiktoken and nothing is scaled".into())
        }
        (None, _) if (theta - 1_000_000.0).abs() < 0.5 && vocab < 100_000 => (CodeLlama, "rope_theta 1,000,000".into()),
        (None, _) if (theta - 10_000.0).abs() < 0.5 => match named.filter(|named| *named == Llama1) {
            Some(named) => (named, format!("the name {label}")),
            None => (Llama2, "rope_theta 10,000".into()),
        },
        (None, _) => (Llama3, format!("rope_theta {theta}, which no earlier generation has")),
    };
    notes.choose("generation", value, from)
}
