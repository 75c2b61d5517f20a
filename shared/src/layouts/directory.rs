//! One file, with its other parts if it is one of a split GGUF; or a directory of none of the known kinds that holds weight files on top.

use std::collections::BTreeSet;

use super::tree::Entry;
use super::{Checkpoint, Family, adapter, external, gguf, megatron, mistral, names, shards, wrapped};
use crate::archs::{ARCHS, Arch, Naming};
use crate::facts::FileId;

/// Reads a checkpoint that is one file.
pub(super) fn read_file(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let own = checkpoint.path.file_name().map(|own| own.to_string_lossy().into_owned()).unwrap_or_default();
    // Beside a model with values in other files lie these and no other models.
    let is_part = |entry: &Entry| !external::may_have(&own) || entry.name == own;
    let files = checkpoint.files.iter().enumerate().filter(|(_, entry)| is_part(entry));
    let files: Vec<FileId> = files.map(|(place, _)| FileId(place)).collect();
    let read = shards::read(&mut checkpoint, &files, jobs);
    join(&mut checkpoint, read);
    settle(&mut checkpoint);
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
    // Values of a model that lie in other files may be called as weights are.
    let has_values = |file: &FileId| external::may_have(checkpoint.pool.name(*file));
    let (models, mut files): (Vec<FileId>, Vec<FileId>) = files.into_iter().partition(has_values);
    let mut read = shards::read(&mut checkpoint, &models, jobs);
    let taken: BTreeSet<FileId> = read.iter().map(|read| read.shard.file).collect();
    files.retain(|file| !taken.contains(file));
    read.extend(shards::read(&mut checkpoint, &files, jobs));
    read.sort_by_key(|read| (read.shard.file, read.tensors.is_empty()));
    read.dedup_by_key(|read| read.shard.file);
    if wrapped::are_ranks(&read) {
        wrapped::join(&mut checkpoint, read);
    } else {
        join(&mut checkpoint, read);
    }
    settle(&mut checkpoint);
    gguf::complete(&mut checkpoint);
    checkpoint
}

/// Puts files and their tensors into the checkpoint; of an archive with several ranks, the joined ones.
fn join(checkpoint: &mut Checkpoint, read: Vec<shards::Read>) {
    match <[shards::Read; 1]>::try_from(read) {
        Ok([archive]) if megatron::is_archive(&archive) => megatron::join_archive(checkpoint, archive),
        Ok([one]) => shards::join(checkpoint, vec![one]),
        Err(several) => shards::join(checkpoint, several),
    }
}

/// The family, as the names tell it, and the config that lies beside them.
pub(super) fn settle(checkpoint: &mut Checkpoint) {
    checkpoint.family = by_names(checkpoint);
    let configs: &[&str] = match checkpoint.family.as_ref().map(|family| family.naming) {
        // The heads under Meta's names are told by nothing but the params.json beside them.
        Some(Naming::Meta) => &["params.json", "config.json"],
        Some(Naming::Hf | Naming::Gguf) => &["config.json"],
        // torchtune's models come from either form, and a wrapper may stand before the names.
        Some(Naming::Tune) | None => &["config.json", "params.json"],
    };
    checkpoint.config = configs.iter().find_map(|name| checkpoint.json(name));
    // Mistral's own names are Meta's: only the file beside them tells the two apart.
    checkpoint.family = mistral::family(checkpoint).or_else(|| tuned(checkpoint)).or(checkpoint.family.take());
}

/// Under torchtune's names, the family that the config beside them says: they do not tell Mistral, Gemma or Phi from Llama.
fn tuned(checkpoint: &Checkpoint) -> Option<Family> {
    let family = checkpoint.family.clone().filter(|family| family.naming == Naming::Tune)?;
    let arch = Arch::of_model_type(checkpoint.config.as_ref()?.value.get("model_type")?.as_str()?)?;
    let arch = arch.own_table(Naming::Tune).unwrap_or(arch);
    let names = checkpoint.model().map(|tensor| tensor.name.as_str());
    arch.recognises(Naming::Tune, names).then_some(Family { arch, ..family })
}

/// The family whose names these are.
pub(super) fn by_names(checkpoint: &Checkpoint) -> Option<Family> {
    let names = || checkpoint.model().map(|tensor| tensor.name.as_str());
    let schemes = [Naming::Meta, Naming::Hf, Naming::Tune];
    ARCHS.iter().flat_map(|arch| schemes.map(|naming| (*arch, naming))).find_map(|(arch, naming)| {
        arch.recognises(naming, names()).then(|| Family { arch, naming, from: "names".to_owned() })
    })
}
