//! The small files of families other than Llama's: what one form's say, in the words of the other.

use anyhow::{Result, bail};
use ckpt::archs::{Arch, Naming, setting};
use ckpt::canonical::Table;
use ckpt::facts::{Finding, Id, limits};
use ckpt::tokenizers::{Ggml, Tokenizer};
use serde_json::{Value, json};

use super::{Job, gguf, hf::main_dtype, seeing, small, tokenizer};
use crate::draft::Draft;
use crate::metadata::{self, Family, Ids};
use crate::options::refuse;

/// A model of a family whose config is carried from one form to the other and not inferred.
pub(super) struct Known {
    pub(super) arch: &'static Arch,
    pub(super) family: &'static Family,
    /// In Hugging Face's words.
    pub(super) config: Value,
}

impl Known {
    /// The model, as the metadata's functions take it.
    pub(super) fn model(&self) -> metadata::Model<'_> {
        metadata::Model { arch: self.arch, family: self.family, config: &self.config }
    }

    /// The longest text, in tokens.
    pub(super) fn context(&self) -> u64 {
        setting(&self.config, "max_position_embeddings").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// The model, if its family is one of these; Llama's is not, nor those that see and go to Meta's form.
///
/// # Errors
/// A refusal for a family of which only the tensors are known; for options that nothing is inferred by.
pub(super) fn known(job: &Job<'_>, table: &Table) -> Result<Option<Known>> {
    let Some(arch) = table.arch.filter(|arch| arch.name != "llama" && !seeing::is_known(arch)) else { return Ok(None) };
    let naming = job.checkpoint.family.as_ref().map(|family| family.naming);
    let family = metadata::family(arch).filter(|_| naming != Some(Naming::Meta));
    let (Some(family), Some(told)) = (family, job.checkpoint.params()) else {
        let message = format!("{} is known by its tensors, and no config of it is made", arch.name);
        return refuse(message, super::AS_IT_IS);
    };
    small::nothing_inferred(job)?;
    let config = match naming {
        Some(Naming::Gguf) => {
            let told = with_factors(job, arch, told)?;
            family.config(arch, &told, main_dtype(&table.tensors, job.options.dtype))
        }
        _ => told.clone(),
    };
    Ok(Some(Known { arch, family, config }))
}

/// What the keys of a GGUF file say, and its two lists of factors of rotary frequencies, if it has them.
///
/// # Errors
/// A finding for factors whose scaling a config could not say; those of reading.
fn with_factors(job: &Job<'_>, arch: &Arch, told: &Value) -> Result<Value> {
    let mut told = told.clone();
    let own = |key: &str| crate::carry::key(job.checkpoint, &format!("{}.rope.{key}", arch.gguf));
    let number = |key: &str| own(key).and_then(Value::as_u64);
    let Some(fields) = told.as_object_mut() else { return Ok(told) };
    let sizes = (number("dimension_count"), job.checkpoint.head_dim());
    if let (Some(turned), Some(head)) = sizes
        && turned < head
    {
        fields.insert("partial_rotary_factor".to_owned(), metadata::quotient(turned, head).into());
    }
    let (Some(long), Some(short)) = (gguf::factors(job, gguf::LONG)?, gguf::factors(job, gguf::SHORT)?) else {
        return Ok(told);
    };
    let longest = fields.get("max_position_embeddings").and_then(Value::as_u64);
    let original = number("scaling.original_context_length").or(longest);
    if let (Some(longest), Some(original)) = (longest, original) {
        let found = own("scaling.attn_factor").and_then(Value::as_f64).unwrap_or(1.0);
        let due = f64::from(metadata::strength(longest, original));
        let apart = (found - due).abs();
        if apart.is_nan() || apart > 1e-5 {
            let message = "attention is strengthened by another factor than the length of texts says";
            bail!(Finding::new(Id::Unsupported, message).needed(due, found));
        }
        fields.insert("original_max_position_embeddings".to_owned(), original.into());
    }
    let list = |numbers: &[f32]| -> Vec<Value> { numbers.iter().map(|number| metadata::shortest(*number)).collect() };
    let scaling = json!({"type": "longrope", "long_factor": list(&long), "short_factor": list(&short)});
    fields.insert("rope_scaling".to_owned(), scaling);
    Ok(told)
}

/// Makes the small files of Hugging Face's form.
///
/// # Errors
/// A vocabulary that cannot be read.
pub(super) fn hf(job: &Job<'_>, known: &Known, draft: &mut Draft) -> Result<()> {
    draft.make("config.json", metadata::config_text(&known.config));
    match tokenizer::ggml(job.checkpoint)? {
        Some(inside) => {
            let inside = Ggml { strips: known.arch.name == "phi3", ..inside };
            small::vocabulary(job, None, known.context(), &inside, draft)
        }
        None => Ok(()),
    }
}

/// The vocabulary in the form that GGUF keeps: as `tokenizer.json` has it, or where that is no SentencePiece model's,
/// as `tokenizer.model` does with the tokens that were added to it.
///
/// # Errors
/// A tokenizer that cannot be read, or for whose kind llama.cpp's name is not known.
pub(super) fn vocabulary(job: &Job<'_>) -> Result<Option<Ggml>> {
    if let Some(inside) = tokenizer::ggml(job.checkpoint)? {
        return Ok(Some(inside));
    }
    let (json, model) = (tokenizer::json(job.checkpoint)?, tokenizer::model(job.checkpoint)?);
    let told = json.and_then(|found| match found.tokenizer {
        Tokenizer::Json(json) => Some((json, found.name)),
        _ => None,
    });
    let pieces = model.and_then(|found| match found.tokenizer {
        Tokenizer::SentencePiece(model) => Some(Ggml::from_sentencepiece(&model)),
        _ => None,
    });
    Ok(match (told, pieces) {
        (Some((json, name)), pieces) => match (Ggml::from_json(&json), pieces) {
            (Ok(ggml), _) => Some(ggml),
            (Err(_), Some(pieces)) => Some(pieces.with_added(&json.added).map_err(|finding| finding.in_file(name))?),
            (Err(finding), None) => bail!(finding.in_file(name)),
        },
        (None, Some(pieces)) => Some(pieces),
        (None, None) => small::ggml(job, None)?,
    })
}

/// The tokens that have a part to play: as the tokenizer's settings name them, else as the config numbers them.
///
/// # Errors
/// Those of reading.
pub(super) fn ids(job: &Job<'_>, known: &Known, ggml: &Ggml) -> Result<Ids> {
    let settings = job.checkpoint.small_file("tokenizer_config.json", limits::JSON)?;
    let settings: Option<Value> = settings.and_then(|text| serde_json::from_slice(&text).ok());
    let named = |part: &str| {
        let token = settings.as_ref()?.get(format!("{part}_token"))?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        let place = ggml.tokens.iter().position(|token| token == text)?;
        u64::try_from(place).ok()
    };
    let numbered = |part: &str| {
        let id = setting(&known.config, &format!("{part}_token_id"))?;
        id.as_u64().or_else(|| id.as_array()?.first()?.as_u64())
    };
    let id = |part: &str| named(part).or_else(|| numbered(part));
    Ok(Ids { bos: id("bos"), eos: id("eos"), pad: id("pad") })
}
