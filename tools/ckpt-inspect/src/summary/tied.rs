//! Whether the output head is the embedding, as far as headers and a few bytes tell.

use ckpt::archs::{Naming, Need, Size};
use ckpt::document::{Tied, YesNo};
use ckpt::facts::{FileId, Op, Recipe, Tensor};
use ckpt::layouts::{Checkpoint, Layout, names};
use serde_json::Value;

/// Bytes compared at the beginning and at the end.
const SAMPLE: u64 = 64 << 10;

/// Endings of the embedding's name in families that the tools do not know.
const EMBEDDINGS: &[&str] =
    &["embed_tokens.weight", "tok_embeddings.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight"];

/// Endings of the head's name likewise.
const HEADS: &[&str] = &["lm_head.weight", "embed_out.weight"];

/// The embedding, and the head if it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) embedding: &'a Tensor,
    pub(super) head: Option<&'a Tensor>,
}

/// Finds both by the names of the family, or else by names that many families use.
pub(super) fn pair(checkpoint: &Checkpoint) -> Option<Pair<'_>> {
    if let Some(family) = &checkpoint.family {
        let row = |embedding: bool| {
            let wanted = |row: &&ckpt::archs::Row| {
                row.shape == [Size::Vocab, Size::Dim] && (row.need == Need::Head) != embedding
            };
            family.arch.rows.iter().find(wanted).and_then(|row| row.named(family.naming, 0))
        };
        let find = |name: Option<String>| name.and_then(|name| checkpoint.tensor(&name));
        return Some(Pair { embedding: find(row(true))?, head: find(row(false)) });
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

/// Whether the first and the last bytes of two values of one size agree; `None` if they are not laid out alike, so
/// that a few reads do not tell.
fn samples_agree(checkpoint: &Checkpoint, a: &Recipe, b: &Recipe) -> Option<bool> {
    match (&a.op, &b.op) {
        (Op::Bytes { file: first, offset: one }, Op::Bytes { file: second, offset: other }) => {
            let bytes = a.len_bytes();
            let length = bytes.min(SAMPLE);
            let last = bytes.saturating_sub(length);
            let same = |skip: u64| {
                let a = sample(checkpoint, *first, one.checked_add(skip)?, length)?;
                Some(a == sample(checkpoint, *second, other.checked_add(skip)?, length)?)
            };
            Some(same(0)? && same(last)?)
        }
        (Op::Tiles(a), Op::Tiles(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).filter(|(a, b)| a.at == b.at && a.part.shape == b.part.shape);
            // One difference is enough, and none proves nothing without checksums.
            pairs.find_map(|(a, b)| samples_agree(checkpoint, &a.part, &b.part).filter(|same| !same))
        }
        _ => None,
    }
}

fn sample(checkpoint: &Checkpoint, file: FileId, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ckpt::bytes::to_usize(length)];
    checkpoint.pool.read_exact_at(file, &mut bytes, offset).ok()?;
    Some(bytes)
}
