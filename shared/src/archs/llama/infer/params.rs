//! From Meta's `params.json` and the weights beside it.

use serde_json::Value;

use super::{Evidence, Inference, Notes, ids, instruct, label, needed, positions, positive, whole};
use crate::archs::llama::facts::{Generation, ModelFacts, RopeScaling};
use crate::archs::llama::ffn;
use crate::facts::{Finding, Id, Severity};

const FILE: &str = "params.json";

/// Keys of `params.json` that only other families have, and what they are.
const FOREIGN: [(&str, &str); 5] = [
    ("moe_args", "a mixture of experts (Llama 4)"),
    ("vision_args", "a model that sees (Llama 4)"),
    ("vision_chunk_size", "a model that sees (Llama 3.2 Vision)"),
    ("quantization_args", "a quantized model, which has no Hugging Face form"),
    ("moe", "a mixture of experts (Mixtral)"),
];

/// The key of a `params.json` that says it is another family's, and what that is.
pub fn foreign(params: &Value) -> Option<(&'static str, &'static str)> {
    FOREIGN.into_iter().find(|(key, _)| params.get(key).is_some_and(|value| !value.is_null()))
}

/// The facts of a model in Meta's layout, from `params.json` (bare, or wrapped in `model`) and the weights.
///
/// # Errors
/// [`Id::JsonInvalid`] where a number is missing or is none, or an assumption is not of its kind;
/// [`Id::ShardMismatch`] where tensors have shapes from which no such model follows; [`Id::Unsupported`] for other
/// families.
pub fn from_params(params: &Value, evidence: &Evidence<'_>) -> Result<Inference, Finding> {
    let params = params.get("model").filter(|inner| inner.is_object()).unwrap_or(params);
    if let Some((key, what)) = foreign(params) {
        return Err(Finding::new(Id::Unsupported, format!("{key} says that this is {what}")).in_file(FILE));
    }
    let dim = needed(params, FILE, "dim")?;
    let layers = needed(params, FILE, "n_layers")?;
    let heads = needed(params, FILE, "n_heads")?;
    let head_dim = dim.checked_div(heads).filter(|head_dim| head_dim.checked_mul(heads) == Some(dim));
    let head_dim = head_dim.ok_or_else(|| {
        Finding::new(Id::JsonInvalid, "n_heads does not divide dim")
            .in_file(FILE)
            .needed(format_args!("a divisor of {dim}"), heads)
    })?;
    let mut notes = Notes::new(evidence);
    let vocab = vocab(&mut notes, params, evidence, dim)?;
    let (ffn, factors) = width(&mut notes, params, evidence, dim)?;
    let kv_heads = kv_heads(&mut notes, params, evidence, heads, head_dim)?;
    let tied = match evidence.tied {
        Some(tied) => {
            notes.choose("tie_word_embeddings", tied, "comparing output.weight with tok_embeddings.weight")?
        }
        None => notes.choose("tie_word_embeddings", false, "nothing tells; two tensors are the rule")?,
    };
    let scaled = params.get("use_scaled_rope").and_then(Value::as_bool).unwrap_or(false);
    let theta = positive(params, "rope_theta");
    let generation = generation(&mut notes, params, evidence, &Seen { vocab, theta, scaled, tied })?;
    let tuned = instruct(&mut notes, generation, evidence)?;
    let rope_theta = match theta {
        Some(theta) => notes.given("rope_theta", theta)?,
        None if generation.has_tiktoken() => {
            notes.choose("rope_theta", 500_000.0, "the default of Meta's code since Llama 3")?
        }
        None if generation == Generation::CodeLlama => notes.choose("rope_theta", 1_000_000.0, "the generation")?,
        None => notes.choose("rope_theta", 10_000.0, "the default of Meta's code before Llama 3")?,
    };
    let factor = match (scaled, tied) {
        (false, _) => notes.given("rope_scaling", None)?,
        // Meta's file cannot tell the two apart; the small models that share embedding and head have 32.
        (true, true) => {
            notes.choose("rope_scaling", Some(32.0), "use_scaled_rope, and that embedding and head are one")?
        }
        (true, false) => {
            notes.choose("rope_scaling", Some(8.0), "use_scaled_rope, and that embedding and head are two")?
        }
    };
    let max_position_embeddings = notes.choose("max_position_embeddings", positions(generation), "the generation")?;
    let (bos, eos) = ids(&mut notes, generation, tuned, vocab, evidence.vocabulary)?;
    let pad = notes.given("pad_token_id", None)?;
    let facts = ModelFacts {
        generation,
        instruct: tuned,
        dim,
        layers,
        heads,
        kv_heads,
        head_dim,
        ffn,
        vocab,
        // The default of `ModelArgs` in all of Meta's repositories.
        norm_eps: positive(params, "norm_eps").unwrap_or(1e-5),
        rope_theta,
        rope_scaling: factor.map(RopeScaling::llama3),
        max_position_embeddings,
        tied,
        dtype: evidence.dtype,
        bos,
        eos,
        pad,
        multiple_of: factors.map(|(multiple_of, _)| multiple_of),
        ffn_dim_multiplier: factors.and_then(|(_, multiplier)| multiplier),
    };
    Ok(Inference { facts, inferred: notes.inferred, findings: notes.findings })
}

/// Rows of a tensor in the shard at hand.
fn rows(evidence: &Evidence<'_>, name: &str) -> Option<u64> {
    (evidence.shape)(name)?.first().copied()
}

fn unfit(name: &str, message: String) -> Finding {
    Finding::new(Id::ShardMismatch, message).tensor(name)
}

/// Rows of the embedding, whichever way it is cut: Llama 3 cuts the rows, Llama 1 and 2 the columns.
fn vocab(notes: &mut Notes<'_>, params: &Value, evidence: &Evidence<'_>, dim: u64) -> Result<u64, Finding> {
    const NAME: &str = "tok_embeddings.weight";
    let Some(shape) = (evidence.shape)(NAME) else {
        let given = whole(params, "vocab_size").filter(|size| *size > 0);
        let ids = evidence.vocabulary.map(|vocabulary| vocabulary.ids);
        return match (given, ids) {
            (Some(given), _) => notes.given("vocab_size", given),
            (None, Some(ids)) => notes.choose("vocab_size", ids, "the tokenizer"),
            (None, None) => {
                Err(Finding::new(Id::TensorMissing, "nothing tells the size of the vocabulary").tensor(NAME))
            }
        };
    };
    match shape.as_slice() {
        [rows, columns] if *columns == dim => {
            let whole = rows.saturating_mul(evidence.shards);
            notes.choose(
                "vocab_size",
                whole,
                format_args!("{rows} rows of {NAME} in each of {} shards", evidence.shards),
            )
        }
        [rows, columns] if columns.checked_mul(evidence.shards) == Some(dim) => {
            notes.choose("vocab_size", *rows, format_args!("the rows of {NAME}"))
        }
        _ => Err(unfit(
            NAME,
            format!("{} shards of this shape do not make an embedding of width {dim}", evidence.shards),
        )
        .needed(format_args!("[rows, {dim}] or [rows, {dim}/{}]", evidence.shards), format_args!("{shape:?}"))),
    }
}

/// Width of the feed-forward layer, and the factors that give it if the file has them right.
fn width(
    notes: &mut Notes<'_>,
    params: &Value,
    evidence: &Evidence<'_>,
    dim: u64,
) -> Result<(u64, Option<ffn::Factors>), Finding> {
    const NAME: &str = "layers.0.feed_forward.w1.weight";
    let factors = whole(params, "multiple_of").map(|multiple_of| (multiple_of, positive(params, "ffn_dim_multiplier")));
    let formula = factors.and_then(|factors| ffn::width(dim, factors));
    let Some(rows) = rows(evidence, NAME) else {
        let width = formula
            .ok_or_else(|| Finding::new(Id::TensorMissing, "nothing tells the feed-forward width").tensor(NAME))?;
        return Ok((notes.choose("intermediate_size", width, "multiple_of and ffn_dim_multiplier")?, factors));
    };
    let width = rows.saturating_mul(evidence.shards);
    let from = format!("{rows} rows of {NAME} in each of {} shards", evidence.shards);
    let width = notes.choose("intermediate_size", width, from)?;
    match formula {
        Some(formula) if formula != width => {
            notes.findings.push(
                Finding::new(
                    Id::ConfigShape,
                    "multiple_of and ffn_dim_multiplier give another width than the weights have",
                )
                .severity(Severity::Warning)
                .in_file(FILE)
                .tensor(NAME)
                .needed(formula, width),
            );
            Ok((width, None))
        }
        formula => Ok((width, factors.filter(|_| formula.is_some()))),
    }
}

/// Key and value heads, copies of one head in several shards counted once.
fn kv_heads(
    notes: &mut Notes<'_>,
    params: &Value,
    evidence: &Evidence<'_>,
    heads: u64,
    head_dim: u64,
) -> Result<u64, Finding> {
    const NAME: &str = "layers.0.attention.wk.weight";
    let given = whole(params, "n_kv_heads").filter(|count| *count > 0).unwrap_or(heads);
    let stored = rows(evidence, NAME)
        .and_then(|rows| rows.checked_mul(evidence.shards)?.checked_div(head_dim))
        .filter(|stored| *stored > 0);
    let Some(stored) = stored else { return notes.given("num_key_value_heads", given) };
    if evidence.kv_repeat > 1 {
        let once = stored.checked_div(evidence.kv_repeat).unwrap_or(stored);
        return notes.choose(
            "num_key_value_heads",
            once,
            format_args!("{stored} stored heads, of which {} at a time are equal", evidence.kv_repeat),
        );
    }
    if stored == given {
        return notes.given("num_key_value_heads", given);
    }
    match stored.checked_rem(given) {
        Some(0) => notes.choose("num_key_value_heads", given, format_args!("n_kv_heads; {stored} heads are stored")),
        _ => Err(unfit(NAME, "the stored key heads are no multiple of those that params.json names".into())
            .needed(format_args!("a multiple of {given}"), stored)),
    }
}

/// What the generation is told from.
struct Seen {
    vocab: u64,
    theta: Option<f64>,
    scaled: bool,
    tied: bool,
}

fn generation(
    notes: &mut Notes<'_>,
    params: &Value,
    evidence: &Evidence<'_>,
    seen: &Seen,
) -> Result<Generation, Finding> {
    use Generation::{CodeLlama, Llama1, Llama2, Llama3, Llama31, Llama32, Llama33};
    let label = label::of(evidence.path);
    let named = label::generation(label);
    let by_name = |allowed: &[Generation]| named.filter(|named| allowed.contains(named));
    let name = || format!("the name {label}");
    let theta_is = |value: f64| seen.theta.is_some_and(|theta| (theta - value).abs() < 0.5);
    // Llama 3 changed the tokenizer, the size of the vocabulary and the rotary base at once.
    let tiktoken = match evidence.vocabulary {
        Some(vocabulary) => vocabulary.tiktoken,
        None => seen.scaled || theta_is(500_000.0) || seen.vocab >= 128_000,
    };
    let (value, from) = match (tiktoken, seen.scaled) {
        (true, true) => match by_name(&[Llama31, Llama32, Llama33]) {
            Some(named) => (named, name()),
            None if seen.tied => (Llama32, "use_scaled_rope, and that embedding and head are one".into()),
            None => (Llama31, "use_scaled_rope, and that embedding and head are two".into()),
        },
        (true, false) => match by_name(&[Llama31]) {
            // Llama Guard 3 8B was trained from 3.1 and does not scale.
            Some(named) if label.to_ascii_lowercase().contains("guard") => (named, name()),
            _ => (Llama3, "the tokenizer is tiktoken and use_scaled_rope is not set".into()),
        },
        (false, _) if theta_is(1_000_000.0) => (CodeLlama, "rope_theta 1,000,000".into()),
        (false, _) => {
            let grouped = params.get("n_kv_heads").is_some_and(|count| !count.is_null());
            match by_name(&[Llama1, Llama2, CodeLlama]) {
                Some(named) => (named, name()),
                None if grouped => (Llama2, "n_kv_heads, which Llama 1 did not know".into()),
                None if positive(params, "norm_eps").is_some_and(|eps| eps < 5e-6) => {
                    (Llama1, "norm_eps 1e-6, as most of Llama 1 has it".into())
                }
                None => (Llama2, "nothing tells Llama 1 from 2; only max_position_embeddings differs".into()),
            }
        }
    };
    notes.choose("generation", value, from)
}
