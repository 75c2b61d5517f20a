//! The section that ckpt-inspect fills, one file a field or two.

mod adapter;
mod config;
mod count;
pub(crate) mod diff;
mod family;
mod missing;
mod packed;
pub(crate) mod run;
pub(crate) mod several;
pub(crate) mod stats;
pub(crate) mod tensors;
mod tied;
mod tokenizer;
mod training;
pub(crate) mod tree;

use std::collections::BTreeSet;

use ckpt::document::{File, Inspect, Shard};
use ckpt::layouts::{Checkpoint, Layout, names};

pub(crate) use count::Counts;

/// Everything that headers tell of a checkpoint, and what each of its tensors counts for.
pub(crate) fn of(checkpoint: &Checkpoint) -> (Inspect, Counts) {
    let tokenizer = tokenizer::find(checkpoint);
    let mut tied = tied::of(checkpoint);
    let counts = Counts::of(checkpoint, &tied);
    tied.shared.clone_from(&counts.shared);
    let facts = family::facts(checkpoint, tokenizer.as_ref(), &tied);
    let training = ckpt::layouts::training::of(checkpoint);
    let inspect = Inspect {
        layout: checkpoint.layout.name().to_owned(),
        formats: formats(checkpoint),
        shard: shard(checkpoint),
        family: family::of(checkpoint, facts.as_ref()),
        parameters: counts.parameters,
        bytes: counts.bytes,
        dtypes: counts.dtypes.clone(),
        tied,
        files: files(checkpoint),
        config: config::of(checkpoint, facts.as_ref()),
        missing: missing::of(checkpoint, tokenizer.is_some(), training.as_ref()),
        adapter: adapter::of(checkpoint),
        tokenizer: tokenizer.map(|tokenizer| tokenizer.told),
        training: training.as_ref().map(training::of),
        also: checkpoint.also.clone(),
        tensors: None,
        tree: None,
        stats: None,
        diff: None,
    };
    (inspect, counts)
}

/// The container formats of the weight files.
fn formats(checkpoint: &Checkpoint) -> Vec<String> {
    let names: BTreeSet<&str> = checkpoint.shards.iter().map(|shard| shard.format.name()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Which shard a lone file says it is.
fn shard(checkpoint: &Checkpoint) -> Option<Shard> {
    // Parts of a split GGUF come along with the one that was named.
    let ([file], Layout::File) = (checkpoint.files.as_slice(), checkpoint.layout) else { return None };
    let name = &file.name;
    if let Some((number, of)) = names::shard_number(name) {
        return Some(Shard { number, of: Some(of) });
    }
    // The file of one rank, as its own tensors have it.
    let told = checkpoint.shards.first().and_then(|shard| shard.metadata.get("shard")?.split_once(" of "));
    if let Some((number, of)) = told {
        return Some(Shard { number: number.parse().ok()?, of: of.parse().ok() });
    }
    // `consolidated.pth` is all there is; a number means that there may be more.
    let numbered = name.strip_prefix("consolidated.").is_some_and(|rest| rest != "pth");
    names::meta_rank(name).filter(|_| numbered).map(|number| Shard { number, of: None })
}

/// Every file, with the format of those that hold weights.
fn files(checkpoint: &Checkpoint) -> Vec<File> {
    let mut files: Vec<File> = checkpoint
        .files
        .iter()
        .map(|entry| File { path: entry.name.clone(), size: entry.size, format: None })
        .collect();
    for shard in &checkpoint.shards {
        if let Some(file) = files.get_mut(shard.file.0) {
            file.format = Some(shard.format.name().to_owned());
        }
    }
    files
}
