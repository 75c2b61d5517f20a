//! The tokenizer beside the weights.

use ckpt::document::Tokenizer;
use ckpt::facts::limits;
use ckpt::formats::{Format, gguf};
use ckpt::layouts::Checkpoint;
use ckpt::tokenizers::{self, Summary};

/// A tokenizer that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) told: Tokenizer,
    /// What its file says, if it could be read.
    pub(super) summary: Option<Summary>,
}

/// Where a tokenizer may stand, best first; `""` is the folder of the weights, which in Meta's downloads with
/// `download.sh` has it one level up.
const NAMES: &[&str] = &[
    "tokenizer.json",
    "tokenizer.model",
    "../tokenizer.model",
    "original/tokenizer.model",
    "tiktoken.model",
    "tekken.json",
    "tokenizer.model.v3",
    "spiece.model",
    "sentencepiece.bpe.model",
    "qwen.tiktoken",
];

/// Vocabularies without a tokenizer's other half: an object of tokens, or a token a line.
const VOCABULARIES: &[&str] = &["vocab.json", "vocab.txt"];

/// The vocabulary inside a GGUF file.
fn inside(checkpoint: &Checkpoint) -> Option<Found> {
    checkpoint.shards.iter().filter(|shard| shard.format == Format::Gguf).find_map(|shard| {
        let value = |key: &str| shard.objects.iter().find(|object| object.path == key).map(|object| &object.value);
        let kind = value("tokenizer.ggml.model")?.as_str()?.to_owned();
        let tokens = value("tokenizer.ggml.tokens").and_then(gguf::length);
        Some(Found { told: Tokenizer { kind, tokens, file: shard.name.clone() }, summary: None })
    })
}

/// Finds and reads the tokenizer; of a lone file, which is judged alone, only what is inside it.
pub(super) fn find(checkpoint: &Checkpoint) -> Option<Found> {
    if let Some(found) = inside(checkpoint) {
        return Some(found);
    }
    if checkpoint.layout == ckpt::layouts::Layout::File {
        return None;
    }
    let folder = checkpoint.weights.to_string_lossy().into_owned();
    let place = |name: &&str| {
        let own = format!("{folder}{name}");
        // Only Meta's layout looks one level up, to where its other sizes lie as well.
        let up = name.starts_with("../") && (checkpoint.layout != ckpt::layouts::Layout::Meta || !folder.is_empty());
        (!up && checkpoint.root_file(&own).is_some()).then_some(own)
    };
    if let Some(name) = NAMES.iter().find_map(place) {
        let file = checkpoint.small_file(&name, limits::TOKENIZER).ok().flatten();
        let summary = file.and_then(|file| tokenizers::read(&file).ok()).map(|read| read.summary());
        let kind = summary.as_ref().map_or_else(|| own_kind(&name), |summary| summary.kind);
        let tokens = summary.as_ref().map(|summary| summary.ids);
        return Some(Found { told: Tokenizer { kind: kind.to_owned(), tokens, file: name }, summary });
    }
    let name = VOCABULARIES.iter().find_map(place)?;
    let file = checkpoint.small_file(&name, limits::TOKENIZER).ok().flatten();
    let tokens = file.and_then(|file| vocabulary(&name, &file));
    let kind = name.rsplit('/').next().unwrap_or(&name).to_owned();
    Some(Found { told: Tokenizer { kind, tokens, file: name }, summary: None })
}

/// What a file that cannot be read claims to be.
fn own_kind(name: &str) -> &'static str {
    if name.ends_with("tokenizer.json") {
        "tokenizer.json"
    } else if name.ends_with("tekken.json") {
        "tekken"
    } else if name.contains("tiktoken") {
        "tiktoken"
    } else {
        "unknown"
    }
}

fn vocabulary(name: &str, file: &[u8]) -> Option<u64> {
    let count = if name.ends_with(".txt") {
        file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
    } else {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(file).ok()?.len()
    };
    u64::try_from(count).ok()
}
