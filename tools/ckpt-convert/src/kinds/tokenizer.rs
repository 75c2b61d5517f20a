//! Finds the tokenizer of a source and reads it.

use std::path::PathBuf;

use anyhow::Result;
use ckpt::archs::llama::infer::Vocabulary;
use ckpt::facts::limits;
use ckpt::layouts::Checkpoint;
use ckpt::tokenizers::{self, Tokenizer};

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

/// The `tokenizer.json` of a source, if it has one.
///
/// # Errors
/// A finding if it cannot be read.
pub(super) fn json(checkpoint: &Checkpoint) -> Result<Option<Found>> {
    read(checkpoint, "tokenizer.json")
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
            tiktoken: matches!(self.tokenizer, Tokenizer::Tiktoken(_)),
            ids: summary.ids,
            bos: summary.bos,
            eos: summary.eos,
        }
    }
}
