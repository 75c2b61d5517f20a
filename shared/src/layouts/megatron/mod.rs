//! Megatron-LM's own checkpoints: a folder a model-parallel rank with `model_optim_rng.pt` in it, and likewise NeMo's with
//! `model_weights.ckpt`. Ranks of tensor parallelism share tensors, ranks of pipeline parallelism share layers.

mod join;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tree::Entry;
use super::{Checkpoint, Shard, directory, index, read_small, shards};
use crate::facts::{FileId, Finding, Id};
use join::Chunk;

/// The file of a rank that holds its weights: Megatron's, NeMo's.
const FILES: [&str; 2] = ["model_optim_rng.pt", "model_weights.ckpt"];
/// The file that says which step is the newest.
const NEWEST: &str = "latest_checkpointed_iteration.txt";

/// A rank's place: in tensor and in pipeline parallelism, and whether there is a third, among experts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    pipeline: u64,
    tensor: u64,
    experts: bool,
    /// Its file, relative to the folder of the ranks.
    name: String,
}

impl Rank {
    /// `mp_rank_00/model_optim_rng.pt`, `mp_rank_03_002/…`, `mp_rank_03_002_001/…`.
    fn of(name: &str) -> Option<Rank> {
        let (folder, own) = name.rsplit_once('/')?;
        let numbers = folder.strip_prefix("mp_rank_").filter(|_| FILES.contains(&own))?;
        let numbers: Vec<u64> = numbers.split('_').map(|digits| digits.parse().ok()).collect::<Option<_>>()?;
        let (&tensor, rest) = numbers.split_first()?;
        let pipeline = rest.first().copied().unwrap_or(0);
        Some(Rank { pipeline, tensor, experts: rest.len() > 1, name: name.to_owned() })
    }
}

/// The folder of the ranks among these files, with its slash: the top, the one of the newest step, or the only one.
pub(super) fn folder(entries: &[Entry]) -> Option<String> {
    let above = |entry: &Entry| {
        let (folder, _) = entry.name.rsplit_once('/')?;
        let (above, own) = folder.rsplit_once('/').unwrap_or(("", folder));
        let (_, file) = entry.name.rsplit_once('/')?;
        Rank::of(&format!("{own}/{file}")).map(|_| above.to_owned())
    };
    let mut folders: Vec<String> = entries.iter().filter_map(above).collect();
    folders.sort();
    folders.dedup();
    let has = |folder: &str| folders.iter().any(|own| own == folder);
    let newest = || {
        let entry = entries.iter().find(|entry| entry.name == NEWEST)?;
        let text = read_small(&entry.path, 64).ok()?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Some(text.parse::<u64>().map_or(text, |step| format!("iter_{step:07}")))
    };
    let chosen = if has("") {
        String::new()
    } else if let Some(newest) = newest().filter(|newest| has(newest)) {
        newest
    } else {
        folders.first().filter(|_| folders.len() == 1)?.clone()
    };
    Some(if chosen.is_empty() { chosen } else { format!("{chosen}/") })
}

/// Reads the ranks of one step.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let Some(folder) = folder(&checkpoint.files) else { return checkpoint };
    if !folder.is_empty() && !index::is_safe(&folder) {
        return checkpoint;
    }
    checkpoint.weights = PathBuf::from(&folder);
    let own = |entry: &Entry| Rank::of(entry.name.strip_prefix(&folder)?);
    let mut ranks: Vec<Rank> = checkpoint.files.iter().filter_map(own).collect();
    ranks.sort();
    let id = |rank: &Rank| checkpoint.file(&format!("{folder}{}", rank.name)).map(|found| found.0);
    let files: Vec<FileId> = ranks.iter().filter_map(id).collect();
    let mut read = shards::read(&mut checkpoint, &files, jobs);
    let damaged = read.len() != ranks.len();
    let first = read.first().map(|read| &read.shard);
    let split_experts = ranks.iter().any(|rank| rank.experts)
        || first.and_then(|shard| argument(shard, "expert_model_parallel_size")).is_some_and(|size| size > 1);
    if split_experts {
        let message = "experts are split over ranks (expert parallel), which is not joined; save the checkpoint as \
                       torch_dist with Megatron's --ckpt-format, which is read";
        checkpoint.findings.push(Finding::new(Id::Unsupported, message).in_file(folder));
        return checkpoint;
    }
    let gaps = gaps(&ranks, first, &folder);
    let mixed = mixed(&read);
    let whole = !damaged && gaps.is_empty() && mixed.is_empty();
    checkpoint.findings.extend(gaps);
    checkpoint.findings.extend(mixed);
    let mut chunks: BTreeMap<(u64, u64), Chunk> = BTreeMap::new();
    for (rank, read) in ranks.iter().zip(&mut read) {
        for (number, tensors) in join::models(std::mem::take(&mut read.tensors)) {
            chunks.entry((number, rank.pipeline)).or_default().push((rank.tensor, read.shard.name.clone(), tensors));
        }
    }
    for (place, mut read) in read.into_iter().enumerate() {
        if place > 0 {
            // What is no tensor every rank says again.
            read.shard.objects = Vec::new();
        }
        checkpoint.shards.push(read.shard);
    }
    // Of ranks that do not belong together, or of some of them, nothing whole can be made.
    if whole {
        join::run(&mut checkpoint, chunks);
    }
    checkpoint.config = checkpoint.json("config.json");
    checkpoint.family = directory::by_names(&checkpoint);
    checkpoint
}

/// A number among the arguments of the run that saved a rank.
fn argument(shard: &Shard, name: &str) -> Option<u64> {
    let path = format!("args.{name}");
    shard.objects.iter().find(|object| object.path == path)?.value.as_u64()
}

/// The ranks that are missing between the first and as many as the run had.
fn gaps(ranks: &[Rank], first: Option<&Shard>, folder: &str) -> Vec<Finding> {
    let most = |of: fn(&Rank) -> u64| ranks.iter().map(of).max().map_or(0, |last| last.saturating_add(1));
    let size = |name: &str, there: u64| first.and_then(|shard| argument(shard, name)).unwrap_or(there).max(there);
    let tensor = size("tensor_model_parallel_size", most(|rank| rank.tensor));
    let pipeline = size("pipeline_model_parallel_size", most(|rank| rank.pipeline));
    let own = ranks.first().map_or("", |rank| rank.name.rsplit('/').next().unwrap_or(""));
    let missing =
        (0..tensor).flat_map(|tensor| (0..pipeline).map(move |pipeline| (tensor, pipeline))).filter(|place| {
            let there = |rank: &Rank| (rank.tensor, rank.pipeline) == *place;
            !ranks.iter().any(there)
        });
    let finding = |(at, stage): (u64, u64)| {
        let stage = if pipeline > 1 { format!("_{stage:03}") } else { String::new() };
        let message =
            format!("a rank is missing: the run had {tensor} of tensor and {pipeline} of pipeline parallelism");
        Finding::new(Id::ShardMissing, message).in_file(format!("{folder}mp_rank_{at:02}{stage}/{own}"))
    };
    missing.map(finding).take(crate::facts::limits::FINDINGS).collect()
}

/// Ranks that were saved at another step than the first.
fn mixed(read: &[shards::Read]) -> Vec<Finding> {
    let step = |read: &shards::Read| {
        read.shard.objects.iter().find(|object| object.path == "iteration").and_then(|object| object.value.as_u64())
    };
    let Some(first) = read.first().and_then(step) else { return Vec::new() };
    let other = |read: &shards::Read| {
        let theirs = step(read).filter(|&theirs| theirs != first)?;
        let message = "the rank is of another step than the first: two saves are mixed here";
        let finding = Finding::new(Id::ShardMismatch, message).in_file(read.shard.name.clone());
        Some(finding.needed(format!("step {first}"), format!("step {theirs}")))
    };
    read.iter().filter_map(other).collect()
}
