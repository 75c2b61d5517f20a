//! Whether the output head is the embedding, as far as headers and a few bytes tell.

use ckpt::archs::Naming;
use ckpt::document::{Tied, YesNo};
use ckpt::facts::{Progress, Recipe, Tensor};
use ckpt::layouts::{Checkpoint, Layout, names};
use ckpt::plan::compare::first_difference;
use ckpt::plan::read::Reader;
use serde_json::Value;

/// Bytes compared at the beginning and at the end.
const SAMPLE: u64 = 64 << 10;

/// Endings of the embedding's name in families that the tools do not know.
const EMBEDDINGS: &[&str] =
    &["embed_tokens.weight", "tok_embeddings.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight"];

/// Endings of the head's name likewise.
const HEADS: &[&str] = &["lm_head.weight", "embed_out.weight", "output_layer.weight"];

/// The embedding, and the head if it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) embedding: &'a Tensor,
    pub(super) head: Option<&'a Tensor>,
}

/// Finds both by the names of the family, or else by names that many families use.
pub(super) fn pair(checkpoint: &Checkpoint) -> Option<Pair<'_>> {
    if let Some(family) = &checkpoint.family {
        let find = |row: Option<&ckpt::archs::Row>| row.and_then(|row| checkpoint.tensor(row.name(family.naming)));
        return Some(Pair { embedding: find(family.arch.embedding())?, head: find(family.arch.head()) });
    }
    let ending = |endings: &[&str]| {
        let ends = |tensor: &&Tensor| endings.iter().any(|ending| whole_ending(&tensor.name, ending));
        checkpoint.tensors.iter().find(ends)
    };
    Some(Pair { embedding: ending(EMBEDDINGS)?, head: ending(HEADS) })
}

/// Whether a name ends in these parts.
fn whole_ending(name: &str, ending: &str) -> bool {
    name.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The answer, and what it was told from. Groups of shared tensors are for the caller to add.
pub(super) fn of(checkpoint: &Checkpoint) -> Tied {
    let (head, from) = answer(checkpoint);
    Tied { head, from: from.map(str::to_owned), shared: Vec::new() }
}

fn answer(checkpoint: &Checkpoint) -> (YesNo, Option<&'static str>) {
    let unknown = (YesNo::Unknown, None);
    let Some(Pair { embedding, head }) = pair(checkpoint) else { return unknown };
    let Some(head) = head else { return not_stored(checkpoint) };
    let (a, b) = (&embedding.recipe, &head.recipe);
    if a == b {
        return (YesNo::Yes, Some("storage"));
    }
    if (a.dtype, &a.shape) != (b.dtype, &b.shape) {
        return (YesNo::No, Some("shape"));
    }
    let sums = embedding.crc32.zip(head.crc32);
    if sums.is_some_and(|(a, b)| a != b) {
        return (YesNo::No, Some("crc"));
    }
    match samples_agree(checkpoint, a, b) {
        Some(false) => (YesNo::No, Some("bytes")),
        Some(true) if sums.is_some() => (YesNo::Yes, Some("crc")),
        _ => unknown,
    }
}

/// A head that is not stored is the embedding, unless the config denies it or it lies in another shard.
fn not_stored(checkpoint: &Checkpoint) -> (YesNo, Option<&'static str>) {
    let one_of_many = checkpoint.layout == Layout::File
        && checkpoint.files.first().and_then(|entry| names::shard_number(&entry.name)).is_some_and(|(_, of)| of > 1);
    if one_of_many || checkpoint.damage().is_some() {
        return (YesNo::Unknown, None);
    }
    let hf = checkpoint.family.as_ref().is_none_or(|family| family.naming == Naming::Hf);
    match says(checkpoint).filter(|_| hf) {
        Some(true) => (YesNo::Yes, Some("config")),
        Some(false) => (YesNo::No, Some("config")),
        None => (YesNo::Yes, Some("absent")),
    }
}

/// What the config says.
pub(super) fn says(checkpoint: &Checkpoint) -> Option<bool> {
    let config = &checkpoint.config.as_ref()?.value;
    let own = config.get("tie_word_embeddings").and_then(Value::as_bool);
    own.or_else(|| config.get("text_config")?.get("tie_word_embeddings")?.as_bool())
}

/// Whether the first and the last rows of two values of one shape agree; `None` if they cannot be read.
fn samples_agree(checkpoint: &Checkpoint, a: &Recipe, b: &Recipe) -> Option<bool> {
    let (reader, progress) = (Reader::new(&checkpoint.pool), Progress::default());
    for last in [false, true] {
        let (a, b) = (edge(a, last)?, edge(b, last)?);
        if first_difference((&reader, &a), (&reader, &b), &progress).ok()?.is_some() {
            return Some(false);
        }
    }
    Some(true)
}

/// As many of a value's first or last rows as fill the sample.
fn edge(recipe: &Recipe, last: bool) -> Option<Recipe> {
    let rows = recipe.shape.first().copied().filter(|rows| *rows > 0)?;
    let row = recipe.len_bytes().checked_div(rows).filter(|bytes| *bytes > 0)?;
    let taken = SAMPLE.div_ceil(row).min(rows);
    Some(recipe.slice(0, if last { rows.saturating_sub(taken) } else { 0 }, taken))
}
