//! Finds the tokenizer of a source and reads it.

use std::path::PathBuf;

use anyhow::Result;
use ckpt::archs::llama::infer::Vocabulary;
use ckpt::bytes::to_u64;
use ckpt::facts::limits;
use ckpt::formats::{Format, gguf};
use ckpt::layouts::{Checkpoint, Shard};
use ckpt::tokenizers::{self, Ggml, Tokenizer};
use serde_json::Value;

/// A tokenizer file.
pub(super) struct Found {
    /// Its name in the source.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) tokenizer: Tokenizer,
}

/// Where a `tokenizer.model` can lie: beside the weights, on top, or, as Meta's first downloads have it, one folder up.
fn places(checkpoint: &Checkpoint) -> Vec<String> {
    let weights = checkpoint.weights.display();
    let mut places = vec![format!("{weights}tokenizer.model"), "tokenizer.model".to_owned()];
    places.push("original/tokenizer.model".to_owned());
    if checkpoint.layout == ckpt::layouts::Layout::Meta {
        places.push("../tokenizer.model".to_owned());
    }
    places
}

/// The `tokenizer.model` of a source, if it has one.
///
/// # Errors
/// A finding if it cannot be read.
pub(super) fn model(checkpoint: &Checkpoint) -> Result<Option<Found>> {
    places(checkpoint).iter().map(|name| read(checkpoint, name)).find_map(Result::transpose).transpose()
}

/// The tokenizer of Mistral's own form that a source has on top, if it has one.
///
/// # Errors
/// A finding if it cannot be read.
pub(super) fn mistral(checkpoint: &Checkpoint) -> Result<Option<Found>> {
    let names = checkpoint.files.iter().map(|entry| entry.name.as_str());
    tokenizers::names::mistral(names).map_or(Ok(None), |name| read(checkpoint, name))
}

/// The `tokenizer.json` of a source, if it has one.
///
/// # Errors
/// A finding if it cannot be read.
pub(super) fn json(checkpoint: &Checkpoint) -> Result<Option<Found>> {
    read(checkpoint, "tokenizer.json")
}

/// The vocabulary inside a GGUF source, if it has one.
///
/// # Errors
/// A finding if the header cannot be read again.
pub(super) fn ggml(checkpoint: &Checkpoint) -> Result<Option<Ggml>> {
    let held = |shard: &&Shard| shard.objects.iter().any(|object| object.path == "tokenizer.ggml.model");
    let Some(shard) = checkpoint.shards.iter().find(|shard| held(shard)).filter(|shard| shard.format == Format::Gguf)
    else {
        return Ok(None);
    };
    let source = checkpoint.pool.get(shard.file)?;
    let name = |key: &str| format!("tokenizer.ggml.{key}");
    let value = |key: &str| shard.objects.iter().find(|object| object.path == name(key)).map(|object| &object.value);
    let [tokens, types, scores, merges] = ["tokens", "token_type", "scores", "merges"].map(name);
    let mut arrays = gguf::arrays(&*source, &[&tokens, &types, &scores, &merges])
        .map_err(|finding| finding.in_file(shard.name.clone()))?;
    let mut taken = |key: &str| arrays.remove(key).unwrap_or_default();
    let texts = |values: Vec<Value>| -> Vec<String> {
        values.into_iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
    };
    let text = |key: &str| value(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = |key: &str| value(key).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let number = |value: &Value| value.to_string().parse().unwrap_or(0.0);
    Ok(Some(Ggml {
        model: text("model"),
        pre: text("pre"),
        tokens: texts(taken(&tokens)),
        types: taken(&types).iter().map(|kind| kind.as_u64().unwrap_or(1)).collect(),
        scores: taken(&scores).iter().map(number).collect(),
        merges: texts(taken(&merges)),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        unk: id("unknown_token_id"),
        add_bos: value("add_bos_token").and_then(Value::as_bool),
        add_space_prefix: value("add_space_prefix").and_then(Value::as_bool),
        strips: false,
    }))
}

/// What a vocabulary inside a GGUF file tells about the model.
pub(super) fn vocabulary_of(ggml: &Ggml) -> Vocabulary {
    Vocabulary {
        tiktoken: ggml.pre == "llama-bpe",
        ids: to_u64(ggml.tokens.len()),
        bos: ggml.bos.map(u64::from),
        eos: ggml.eos.map(u64::from),
    }
}

fn read(checkpoint: &Checkpoint, name: &str) -> Result<Option<Found>> {
    let Some(bytes) = checkpoint.small_file(name, limits::TOKENIZER)? else { return Ok(None) };
    let tokenizer = tokenizers::read(&bytes).map_err(|finding| finding.in_file(name))?;
    let path = checkpoint.root().join(name);
    Ok(Some(Found { name: name.to_owned(), path, tokenizer }))
}

impl Found {
    /// What it tells about the model.
    pub(super) fn vocabulary(&self) -> Vocabulary {
        let summary = self.tokenizer.summary();
        Vocabulary {
            tiktoken: matches!(self.tokenizer, Tokenizer::Tiktoken(_) | Tokenizer::Tekken(_)),
            ids: summary.ids,
            bos: summary.bos,
            eos: summary.eos,
        }
    }
}
