//! One file, with its other parts if it is one of a split GGUF; or a directory of none of the known kinds that holds weight files on top.

use super::{Checkpoint, Family, adapter, gguf, mistral, names, shards, wrapped};
use crate::archs::{ARCHS, Naming};
use crate::facts::FileId;

/// Reads a checkpoint that is one file.
pub(super) fn read_file(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let files: Vec<FileId> = (0..checkpoint.files.len()).map(FileId).collect();
    let read = shards::read(&mut checkpoint, &files, jobs);
    shards::join(&mut checkpoint, read);
    checkpoint.family = by_names(&checkpoint);
    // The heads of Meta's files are told by nothing but the params.json beside them.
    let meta = checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    checkpoint.config = checkpoint.json(if meta { "params.json" } else { "config.json" });
    if checkpoint.config.is_none() && checkpoint.family.is_none() {
        // A wrapper may stand before the names.
        checkpoint.config = checkpoint.json("params.json");
    }
    // Mistral's own names are Meta's: only the file beside them tells the two apart.
    checkpoint.family = mistral::family(&checkpoint).or(checkpoint.family.take());
    gguf::complete(&mut checkpoint);
    adapter::beside(&mut checkpoint);
    checkpoint
}

/// Reads every weight file on top of the directory.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let on_top = |name: &str| !name.contains('/') && names::is_weights(name);
    let files: Vec<FileId> = checkpoint
        .files
        .iter()
        .enumerate()
        .filter(|(_, entry)| on_top(&entry.name))
        .map(|(place, _)| FileId(place))
        .collect();
    let read = shards::read(&mut checkpoint, &files, jobs);
    if wrapped::are_ranks(&read) {
        wrapped::join(&mut checkpoint, read);
    } else {
        shards::join(&mut checkpoint, read);
    }
    checkpoint.config = checkpoint.json("config.json");
    checkpoint.family = by_names(&checkpoint);
    gguf::complete(&mut checkpoint);
    checkpoint
}

/// The family whose names these are.
pub(super) fn by_names(checkpoint: &Checkpoint) -> Option<Family> {
    let names = || checkpoint.model().map(|tensor| tensor.name.as_str());
    let schemes = [Naming::Meta, Naming::Hf];
    ARCHS.iter().flat_map(|arch| schemes.map(|naming| (*arch, naming))).find_map(|(arch, naming)| {
        arch.recognises(naming, names()).then(|| Family { arch, naming, from: "names".to_owned() })
    })
}
