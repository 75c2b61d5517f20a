//! Megatron-LM's own checkpoints: a folder a model-parallel rank with `model_optim_rng.pt` in it, and likewise NeMo's with
//! `model_weights.ckpt`. Ranks of tensor parallelism share tensors, ranks of pipeline parallelism share layers.

mod experts;
mod join;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::tree::Entry;
use super::{Checkpoint, Shard, directory, index, read_small, shards};
use crate::facts::{FileId, Finding, Id, Tensor};
use crate::formats::{Format, nemo};
use join::Chunk;

/// The file of a rank that holds its weights: Megatron's, NeMo's.
const FILES: [&str; 2] = ["model_optim_rng.pt", "model_weights.ckpt"];
/// The file that says which step is the newest.
const NEWEST: &str = "latest_checkpointed_iteration.txt";

/// A rank's place: in pipeline, in tensor and in expert parallelism.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    pipeline: u64,
    tensor: u64,
    /// Unless it is none: then a second number is that of the pipeline, for there may be a pipeline and no experts.
    expert: Option<u64>,
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
        if rest.len() > 2 {
            return None;
        }
        Some(Rank { pipeline, tensor, expert: rest.get(1).copied(), name: name.to_owned() })
    }

    /// The same where there is no pipeline, and a second number is that of the experts (`get_checkpoint_name`).
    fn without_pipeline(self) -> Rank {
        match self.expert {
            None => Rank { pipeline: 0, expert: Some(self.pipeline), ..self },
            Some(_) => self,
        }
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
    let number = |name: &str| first.and_then(|shard| argument(shard, name));
    let shared = number(EXPERTS).is_some_and(|size| size > 1);
    if shared && number("pipeline_model_parallel_size").is_none_or(|size| size < 2) {
        ranks = ranks.into_iter().map(Rank::without_pipeline).collect();
    }
    // Where experts are cut otherwise than all else, a rank's folder does not tell what it has.
    let tensor = number("tensor_model_parallel_size");
    let otherwise = number("expert_tensor_parallel_size").is_some_and(|size| Some(size) != tensor)
        || first.is_some_and(|shard| is_set(shard, "moe_extended_tp"));
    if otherwise && ranks.iter().any(|rank| rank.expert.is_some()) {
        checkpoint.findings.push(Finding::new(Id::Unsupported, SPLIT_EXPERTS).in_file(folder));
        return checkpoint;
    }
    let gaps = gaps(&ranks, first, &folder);
    let mixed = mixed(&read);
    let whole = !damaged && gaps.is_empty() && mixed.is_empty();
    checkpoint.findings.extend(gaps);
    checkpoint.findings.extend(mixed);
    let held = ranks.iter().zip(&mut read).map(|(rank, read)| {
        let tensors = std::mem::take(&mut read.tensors);
        (rank, read.shard.name.clone(), tensors)
    });
    let chunks = chunks(held.collect());
    for (place, mut read) in read.into_iter().enumerate() {
        if place > 0 {
            // What is no tensor every rank says again.
            read.shard.objects = Vec::new();
        }
        checkpoint.shards.push(read.shard);
    }
    // Of ranks that do not belong together, or of some of them, nothing whole can be made.
    if whole {
        match experts::all(chunks, &mut checkpoint.replicas) {
            Ok(chunks) => join::run(&mut checkpoint, chunks),
            Err(finding) => checkpoint.findings.push(finding),
        }
    }
    checkpoint.config = checkpoint.json("config.json");
    checkpoint.family = directory::by_names(&checkpoint);
    checkpoint
}

/// What ranks hold, by the chunks of the model that they share.
fn chunks(held: Vec<(&Rank, String, Vec<Tensor>)>) -> BTreeMap<(u64, u64), Chunk> {
    let mut chunks: BTreeMap<(u64, u64), Chunk> = BTreeMap::new();
    for (rank, file, tensors) in held {
        // NeMo saves the model's own dictionary.
        for (number, tensors) in join::models(tensors, rank.name.ends_with(FILES[1])) {
            chunks.entry((number, rank.pipeline)).or_default().push((rank.tensor, file.clone(), tensors));
        }
    }
    chunks
}

/// Whether a file is an archive of NeMo's that holds the weights of several ranks.
pub(super) fn is_archive(read: &shards::Read) -> bool {
    read.shard.format == Format::Nemo && read.tensors.first().is_some_and(|tensor| of_rank(&tensor.name).is_some())
}

/// The folder of the rank that a tensor of such an archive is of, and its own name.
fn of_rank(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(folder, _)| folder.starts_with(nemo::RANK))
}

/// Joins the ranks in an archive of NeMo's.
pub(super) fn join_archive(checkpoint: &mut Checkpoint, mut read: shards::Read) {
    let mut parts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for mut tensor in std::mem::take(&mut read.tensors) {
        let Some((folder, own)) = of_rank(&tensor.name) else { continue };
        let (folder, own) = (folder.to_owned(), own.to_owned());
        tensor.name = own;
        parts.entry(folder).or_default().push(tensor);
    }
    let ranks: Vec<(Option<Rank>, Vec<Tensor>)> =
        parts.into_iter().map(|(folder, tensors)| (Rank::of(&format!("{folder}/{}", FILES[1])), tensors)).collect();
    let file = read.shard.name.clone();
    let known: Vec<Rank> = ranks.iter().filter_map(|(rank, _)| rank.clone()).collect();
    let mut findings = Vec::new();
    if known.len() < ranks.len() {
        let message = "the archive holds folders of ranks whose numbers cannot be read";
        findings.push(Finding::new(Id::TarInvalid, message).needed("mp_rank_TT or mp_rank_TT_PPP", "another name"));
    }
    if known.iter().any(|rank| rank.expert.is_some()) || argument(&read.shard, EXPERTS).is_some_and(|size| size > 1) {
        findings.push(Finding::new(Id::Unsupported, SPLIT_EXPERTS));
    }
    findings.extend(gaps(&known, Some(&read.shard), "").into_iter().map(|finding| Finding {
        // It is a member of the archive, and no file.
        message: format!("{}; {} is not in the archive", finding.message, finding.file.unwrap_or_default()),
        file: None,
        ..finding
    }));
    checkpoint.shards.push(read.shard);
    if !findings.is_empty() {
        checkpoint.findings.extend(findings.into_iter().map(|finding| finding.in_file(file.clone())));
        return;
    }
    let mut held = Vec::new();
    for (rank, (_, tensors)) in known.iter().zip(ranks) {
        held.push((rank, file.clone(), tensors));
    }
    held.sort_by(|a, b| a.0.cmp(b.0));
    join::run(checkpoint, chunks(held));
}

/// What is said where nobody knows how to join experts.
const SPLIT_EXPERTS: &str = "experts are split over ranks otherwise than the rest of the model is, which is not joined; save the \
                             checkpoint as torch_dist with Megatron's --ckpt-format, which is read";
/// Ranks that share the experts.
const EXPERTS: &str = "expert_model_parallel_size";

/// Whether a switch was set among the arguments of the run that saved a rank.
fn is_set(shard: &Shard, name: &str) -> bool {
    let path = format!("args.{name}");
    shard.objects.iter().any(|object| object.path == path && object.value.as_bool() == Some(true))
}

/// A number among the arguments of the run that saved a rank, or in the settings of NeMo's archive.
fn argument(shard: &Shard, name: &str) -> Option<u64> {
    let paths = [format!("args.{name}"), format!("model_config.{name}")];
    shard.objects.iter().find(|object| paths.contains(&object.path))?.value.as_u64()
}

/// The ranks that are missing between the first and as many as the run had.
fn gaps(ranks: &[Rank], first: Option<&Shard>, folder: &str) -> Vec<Finding> {
    let most = |of: fn(&Rank) -> u64| ranks.iter().map(of).max().map_or(0, |last| last.saturating_add(1));
    let size = |name: &str, there: u64| first.and_then(|shard| argument(shard, name)).unwrap_or(there).max(there);
    let tensor = size("tensor_model_parallel_size", most(|rank| rank.tensor));
    let pipeline = size("pipeline_model_parallel_size", most(|rank| rank.pipeline));
    let with_experts = ranks.iter().any(|rank| rank.expert.is_some());
    let expert = if with_experts { size(EXPERTS, most(|rank| rank.expert.unwrap_or(0))) } else { 1 };
    let own = ranks.first().map_or("", |rank| rank.name.rsplit('/').next().unwrap_or(""));
    let there: BTreeSet<(u64, u64, u64)> =
        ranks.iter().map(|rank| (rank.tensor, rank.pipeline, rank.expert.unwrap_or(0))).collect();
    let places = (0..tensor).flat_map(|tensor| (0..pipeline).map(move |pipeline| (tensor, pipeline)));
    let places = places.flat_map(|(tensor, pipeline)| (0..expert).map(move |expert| (tensor, pipeline, expert)));
    let finding = |(at, stage, share): (u64, u64, u64)| {
        let number = |of: u64, number: u64| if of > 1 { format!("_{number:03}") } else { String::new() };
        let (stage, share) = (number(pipeline, stage), number(expert, share));
        let experts = if expert > 1 { format!(" and {expert} of expert") } else { String::new() };
        let message = format!(
            "a rank is missing: the run had {tensor} of tensor and {pipeline} of pipeline{experts} parallelism"
        );
        Finding::new(Id::ShardMissing, message).in_file(format!("{folder}mp_rank_{at:02}{stage}{share}/{own}"))
    };
    places.filter(|place| !there.contains(place)).map(finding).take(crate::facts::limits::FINDINGS).collect()
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
