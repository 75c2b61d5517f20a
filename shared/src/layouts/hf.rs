//! Hugging Face: `model.safetensors`, or shards with an index; `pytorch_model.bin` and the names of diffusers likewise;
//! `config.json`.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Checkpoint, Family, directory, index, mistral, names, shards};
use crate::archs::{Arch, Naming};
use crate::facts::{FileId, Finding, Id, Severity};

/// Reads a folder with weights on top.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    checkpoint.weights = PathBuf::new();
    checkpoint.config = checkpoint.json("config.json");
    checkpoint.also = also(&checkpoint);
    // One file, and the index that stands for several.
    let mut stores = names::STORES.iter().map(|(stem, ending)| {
        let file = format!("{stem}.{ending}");
        let listing = format!("{file}.index.json");
        (file, listing)
    });
    let store = stores.find(|(file, index)| checkpoint.file(file).is_some() || checkpoint.file(index).is_some());
    let mut used: Vec<FileId> = Vec::new();
    if let Some((file, listing)) = &store {
        let (alone, indexed) = (checkpoint.file(file).map(|(id, _)| id), checkpoint.file(listing).is_some());
        if let (Some(alone), false) = (alone, indexed) {
            used.push(alone);
            let read = shards::read(&mut checkpoint, &used, jobs);
            shards::join(&mut checkpoint, read);
        } else {
            used = index::read(&mut checkpoint, listing, jobs);
            if alone.is_some() && !used.iter().any(|file| Some(*file) == alone) {
                let message = format!("transformers loads this file and never looks at {listing}");
                let finding = Finding::new(Id::ShardStray, message).severity(Severity::Error).in_file(file.clone());
                checkpoint.findings.push(finding);
            }
            used.extend(alone);
        }
        strays(&mut checkpoint, &used);
    } else {
        // Shards without an index: they say what they hold, but no loader will find them.
        checkpoint = directory::read(checkpoint, jobs);
        let message = "shards without their index; transformers will not find them";
        let finding = Finding::new(Id::IndexInvalid, message).in_file(listing(&checkpoint));
        checkpoint.findings.push(finding.severity(Severity::Warning).needed("an index", "none"));
    }
    checkpoint.family = family(&checkpoint);
    checkpoint
}

/// The index that shards on top should have.
fn listing(checkpoint: &Checkpoint) -> String {
    let named = |stem: &str, ending: &str| {
        let (start, end) = (format!("{stem}-"), format!(".{ending}"));
        checkpoint.files.iter().any(|entry| entry.name.starts_with(&start) && entry.name.ends_with(&end))
    };
    let store = names::STORES.iter().find(|(stem, ending)| named(stem, ending));
    let (stem, ending) = store.unwrap_or(&("model", "safetensors"));
    format!("{stem}.{ending}.index.json")
}

/// Other layouts in the same folder.
fn also(checkpoint: &Checkpoint) -> Vec<String> {
    let ranks = |folder: &str| {
        checkpoint
            .files
            .iter()
            .any(|entry| entry.name.strip_prefix(folder).is_some_and(|name| names::meta_rank(name).is_some()))
    };
    let mut also = Vec::new();
    if ranks("original/") {
        also.push("meta at original/".to_owned());
    }
    if checkpoint.files.iter().any(|entry| mistral::is_own_weights(&entry.name)) {
        also.push("mistral at ./".to_owned());
    } else if ranks("") {
        also.push("meta at ./".to_owned());
    }
    also.extend(super::adapter::also(checkpoint));
    also
}

/// Weight files on top that neither name nor index brings in.
fn strays(checkpoint: &mut Checkpoint, used: &[FileId]) {
    let first = used.first();
    let used: HashSet<FileId> = used.iter().copied().collect();
    let format = first.map(|file| checkpoint.pool.name(*file).ends_with(".safetensors"));
    for (place, entry) in checkpoint.files.iter().enumerate() {
        let same_kind = Some(entry.name.ends_with(".safetensors")) == format;
        if names::is_hf_weights(&entry.name)
            && names::is_weights(&entry.name)
            && same_kind
            && !used.contains(&FileId(place))
        {
            let message = "the weight file belongs to no index; a left-over of another save?";
            checkpoint.findings.push(Finding::new(Id::ShardStray, message).in_file(entry.name.clone()));
        }
    }
}

/// The family that `config.json` names, or else the one the tensors' names show.
fn family(checkpoint: &Checkpoint) -> Option<Family> {
    let Some(config) = &checkpoint.config else {
        return directory::by_names(checkpoint);
    };
    let arch = Arch::of_model_type(config.value.get("model_type")?.as_str()?)?;
    Some(Family { arch, naming: Naming::Hf, from: config.name.clone() })
}
