//! Mistral: `consolidated.safetensors`, shards of it with or without their index, or `consolidated.NN.pth`; and
//! `params.json` beside them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::tree::Entry;
use super::{Checkpoint, Family, directory, index, names, read_small, shards};
use crate::archs::{Arch, Naming, mistral};
use crate::facts::{FileId, Finding, Id, limits};

/// The index of shards.
const LISTING: &str = "consolidated.safetensors.index.json";

/// Whether a file on top holds weights that only this layout calls so.
pub(super) fn is_own_weights(name: &str) -> bool {
    name == "consolidated.safetensors"
        || (name.starts_with("consolidated-") && name.ends_with(".safetensors") && names::shard_number(name).is_some())
        || part(name).is_some_and(|_| name.ends_with(".pt"))
}

/// The number of a `consolidated.NN.pth` or `.pt`: the first Mixtral came in eight of them, whole tensors in each.
fn part(name: &str) -> Option<u64> {
    names::meta_rank(name).or_else(|| names::meta_rank(&format!("{}h", name.strip_suffix(".pt").map(|_| name)?)))
}

/// Whether files that could be Meta's are Mistral's by the `params.json` on top.
pub(super) fn claims(entries: &[Entry]) -> bool {
    let Some(params) = entries.iter().find(|entry| entry.name == "params.json") else { return false };
    let text = read_small(&params.path, limits::JSON).ok();
    let params: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
    params.is_some_and(|params| mistral::facts::is_own(&params))
}

/// Reads a folder with weights on top.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    checkpoint.weights = PathBuf::new();
    checkpoint.config = checkpoint.json("params.json");
    let of = |test: &dyn Fn(&str) -> bool| -> Vec<FileId> {
        let files = checkpoint.files.iter().enumerate();
        files.filter(|(_, entry)| test(&entry.name)).map(|(place, _)| FileId(place)).collect()
    };
    let (safetensors, parts) =
        (of(&|name| is_own_weights(name) && name.ends_with(".safetensors")), of(&|name| part(name).is_some()));
    if checkpoint.file(LISTING).is_some() {
        let used = index::read(&mut checkpoint, LISTING, jobs);
        let message = "the weight file belongs to no index; a left-over of another save?";
        stray(&mut checkpoint, safetensors.iter().filter(|file| !used.contains(file)), message);
    } else {
        let files = if safetensors.is_empty() { &parts } else { &safetensors };
        gaps(&mut checkpoint, files);
        let read = shards::read(&mut checkpoint, files, jobs);
        shards::join(&mut checkpoint, read);
    }
    if !safetensors.is_empty() {
        let message =
            "mistral_inference takes one of consolidated.safetensors and consolidated.NN.pth, and both are here";
        stray(&mut checkpoint, parts.iter(), message);
    }
    let told = checkpoint.params().is_some_and(mistral::facts::is_own);
    checkpoint.family = if told {
        family(&checkpoint)
    } else {
        directory::by_names(&checkpoint).map(|found| dense(found, &checkpoint))
    };
    checkpoint
}

/// Where there is no `params.json`, names that Mistral shares with Llama are Mistral's in this layout.
fn dense(found: Family, checkpoint: &Checkpoint) -> Family {
    let shared = checkpoint.config.is_none() && found.naming == Naming::Meta && found.arch.name == "llama";
    Arch::of_model_type("mistral").filter(|_| shared).map_or(found.clone(), |arch| Family { arch, ..found })
}

fn stray<'a>(checkpoint: &mut Checkpoint, files: impl Iterator<Item = &'a FileId>, message: &str) {
    for &file in files {
        let name = checkpoint.pool.name(file).to_owned();
        checkpoint.findings.push(Finding::new(Id::ShardStray, message).in_file(name));
    }
}

/// Files whose numbers say that there should be more of them.
fn gaps(checkpoint: &mut Checkpoint, files: &[FileId]) {
    let names: Vec<String> = files.iter().map(|file| checkpoint.pool.name(*file).to_owned()).collect();
    let mut report = |name: String| {
        let message = "a file is missing between those that are there";
        checkpoint.findings.push(Finding::new(Id::ShardMissing, message).in_file(name));
    };
    let numbered: BTreeSet<(u64, u64)> = names.iter().filter_map(|name| names::shard_number(name)).collect();
    // No more gaps than there can be files are told one by one.
    for of in numbered.iter().map(|(_, of)| *of).collect::<BTreeSet<u64>>() {
        let absent = (1..=of).filter(|number| !numbered.contains(&(*number, of)));
        absent
            .take(limits::FINDINGS)
            .for_each(|number| report(format!("consolidated-{number:05}-of-{of:05}.safetensors")));
    }
    let parts: BTreeSet<u64> = names.iter().filter_map(|name| part(name)).collect();
    let ending = if names.iter().any(|name| name.ends_with(".pt")) { "pt" } else { "pth" };
    for number in 0..parts.last().copied().unwrap_or(0) {
        if !parts.contains(&number) {
            report(format!("consolidated.{number:02}.{ending}"));
        }
    }
}

/// The family that `params.json` tells, if the names are those of its tensors or nearly so: one that is missing or one
/// too many does not make it another model.
pub(super) fn family(checkpoint: &Checkpoint) -> Option<Family> {
    let config = checkpoint.config.as_ref().filter(|config| config.name == "params.json")?;
    let params = checkpoint.params().filter(|params| mistral::facts::is_own(params))?;
    if mistral::foreign(params).is_some() {
        return None;
    }
    let kind = if params.get("moe").is_some_and(Value::is_object) { "mixtral" } else { "mistral" };
    let arch = Arch::of_model_type(kind)?;
    let known = |name: &str| arch.find(Naming::Meta, name).is_some();
    let unknown = checkpoint.tensors.iter().filter(|tensor| !known(&tensor.name)).count();
    let nearly = unknown.saturating_mul(10) < checkpoint.tensors.len();
    nearly.then(|| Family { arch, naming: Naming::Meta, from: config.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_weights() {
        for name in ["consolidated.safetensors", "consolidated-00001-of-00051.safetensors", "consolidated.07.pt"] {
            assert!(is_own_weights(name), "{name}");
        }
        for name in ["consolidated.00.pth", "a/consolidated.safetensors", "consolidated.7.pt", "model.safetensors"] {
            assert!(!is_own_weights(name), "{name}");
        }
        assert_eq!(
            (part("consolidated.03.pt"), part("consolidated.03.pth"), part("consolidated.3")),
            (Some(3), Some(3), None)
        );
    }
}
