//! DeepSpeed: the 16-bit model in `model_states`, and ZeRO's fp32 master weights flat and cut over the ranks in
//! `optim_states`, or universal checkpoints with a file for each parameter.
//!
//! There are two answers to "the weights": the masters, which are exact, and the module's 16-bit copies.

mod flat;
mod states;
mod zero;

use std::collections::HashMap;
use std::path::PathBuf;

use super::tree::Entry;
use super::{Checkpoint, Weights, directory, index, read_small, shards};
use crate::facts::{FileId, Finding, Id, Severity, Tensor};
use states::Model;

/// Files that say which folder holds the newest step.
const POINTERS: [&str; 2] = ["latest", "latest_universal"];

/// The same, and the scripts that DeepSpeed leaves beside them.
pub(super) const NOTES: [&str; 4] = ["latest", "latest_universal", "zero_to_fp32.py", "zero_to_torch.py"];

/// What the files say of where parameters lie: read here, and no part of a training state.
const GEOMETRY: [&str; 8] = [
    "param_shapes",
    "frozen_param_shapes",
    "shared_params",
    "buffer_names",
    "optimizer_state_dict.param_slice_mappings",
    "optimizer_state_dict.param_alignment_paddings",
    "optimizer_state_dict.group_paddings",
    "optimizer_state_dict.fp32_flat_groups",
];

const MODEL: &str = "_model_states.pt";
const OPTIMIZER: &str = "_optim_states.pt";

/// The folder of a universal checkpoint in which every parameter has a folder, and in that the file of its fp32 weights.
const EACH: &str = "zero/";
const MASTER: &str = "/fp32.pt";

/// A rank's file: its data-parallel and its model-parallel rank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    data: u64,
    model: u64,
    name: String,
}

impl Rank {
    /// `bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt`, `mp_rank_00_model_states.pt`.
    fn of(name: &str, ending: &str) -> Option<Rank> {
        let stem = name.strip_suffix(ending)?;
        let (before, model) = stem.rsplit_once("mp_rank_")?;
        let data = before.rsplit_once("zero_pp_rank_").map_or(Some("0"), |(_, rest)| rest.strip_suffix('_'))?;
        Some(Rank { data: data.parse().ok()?, model: model.parse().ok()?, name: name.to_owned() })
    }
}

/// The folder of the states among these files, with its slash: the one the pointer names, the top, or the only one.
pub(super) fn folder(entries: &[Entry]) -> Option<String> {
    let mut folders: Vec<&str> = entries.iter().filter_map(|entry| of_state(&entry.name)).collect();
    folders.dedup();
    if folders.is_empty() {
        return None;
    }
    if folders.contains(&"") {
        return Some(String::new());
    }
    if let Some(entry) = POINTERS.iter().find_map(|name| entries.iter().find(|entry| entry.name == *name)) {
        let text = read_small(&entry.path, 4096).ok()?;
        return Some(format!("{}/", String::from_utf8_lossy(&text).trim()));
    }
    let [one] = folders.as_slice() else { return None };
    (!one.contains('/')).then(|| format!("{one}/"))
}

/// The folder, without its slash, of a step that this file is a state of.
fn of_state(name: &str) -> Option<&str> {
    if name.ends_with(MODEL) || name.ends_with(OPTIMIZER) {
        return Some(name.rsplit_once('/').map_or("", |(folder, _)| folder));
    }
    let (before, parameter) = name.strip_suffix(MASTER)?.rsplit_once(EACH)?;
    let whole = !parameter.contains('/') && (before.is_empty() || before.ends_with('/'));
    whole.then(|| before.trim_end_matches('/'))
}

/// Reads the newest step.
pub(super) fn read(mut checkpoint: Checkpoint, weights: Weights, jobs: usize) -> Checkpoint {
    let Some(folder) = folder(&checkpoint.files) else { return checkpoint };
    checkpoint.weights = PathBuf::from(&folder);
    let ranks = |ending: &str| {
        let own = |entry: &Entry| Rank::of(entry.name.strip_prefix(&folder)?, ending);
        let mut ranks: Vec<Rank> = checkpoint.files.iter().filter_map(own).collect();
        ranks.sort();
        ranks
    };
    let (models, optimizers) = (ranks(MODEL), ranks(OPTIMIZER));
    let split = models.iter().chain(&optimizers).any(|rank| rank.model > 0)
        || checkpoint
            .files
            .iter()
            .any(|entry| entry.name.strip_prefix(&folder).is_some_and(|own| own.starts_with("layer_")));
    let refusal = if !folder.is_empty() && !index::is_safe(&folder) {
        let message = "the pointer to the newest step leads out of the checkpoint";
        checkpoint.weights = PathBuf::new();
        Some(Finding::new(Id::NameUnsafe, message).in_file(POINTERS[0]).needed("a folder inside", &folder))
    } else if models.is_empty() {
        let message = "the folder of the step that is to be read holds no states of the model";
        Some(Finding::new(Id::ShardMissing, message).in_file(format!("{folder}mp_rank_00{MODEL}")))
    } else if split {
        let message = "the model itself is split over ranks (tensor, pipeline or expert parallel), which is not read; \
                       DeepSpeed's ds_to_universal joins it";
        let finding = Finding::new(Id::Unsupported, message);
        Some(if folder.is_empty() { finding } else { finding.in_file(folder.clone()) })
    } else {
        None
    };
    if let Some(finding) = refusal {
        checkpoint.findings.push(finding);
        return checkpoint;
    }
    let before = checkpoint.findings.len();
    let mut step = Step::read(&mut checkpoint, &folder, &models, &optimizers, jobs);
    once(&mut checkpoint.findings, before);
    match step.model(&checkpoint) {
        Ok(model) => {
            step.agree(&mut checkpoint, &folder, &model);
            zero::weights(&mut checkpoint, &folder, &step, &model, weights, jobs);
        }
        Err(finding) => checkpoint.findings.push(finding),
    }
    directory::settle(&mut checkpoint);
    checkpoint
}

/// The files of a step, read: ranks in order, their tensors by name.
#[derive(Debug)]
struct Step {
    models: Vec<File>,
    optimizers: Vec<File>,
}

/// One file of a rank.
#[derive(Debug)]
struct File {
    rank: u64,
    name: String,
    file: FileId,
    /// In the order of the file.
    tensors: Vec<Tensor>,
    places: HashMap<String, usize>,
}

impl File {
    fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).and_then(|&place| self.tensors.get(place))
    }
}

impl Step {
    fn read(checkpoint: &mut Checkpoint, folder: &str, models: &[Rank], optimizers: &[Rank], jobs: usize) -> Step {
        let mut files = |ranks: &[Rank]| {
            let id = |rank: &Rank| Some((rank.data, checkpoint.file(&format!("{folder}{}", rank.name))?.0));
            let ids: Vec<(u64, FileId)> = ranks.iter().filter_map(id).collect();
            let list: Vec<FileId> = ids.iter().map(|id| id.1).collect();
            let mut files = Vec::new();
            for mut read in shards::read(checkpoint, &list, jobs) {
                let file = read.shard.file;
                let rank = ids.iter().find(|id| id.1 == file).map_or(0, |id| id.0);
                if !files.is_empty() {
                    // What is no tensor every rank says again.
                    read.shard.objects = Vec::new();
                }
                let is_state = |path: &str| !GEOMETRY.iter().any(|start| path.starts_with(start));
                read.shard.objects.retain(|object| is_state(&object.path));
                let places = read.tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.clone(), place));
                let (name, places) = (read.shard.name.clone(), places.collect());
                files.push(File { rank, name, file, tensors: read.tensors, places });
                checkpoint.shards.push(read.shard);
            }
            files
        };
        Step { models: files(models), optimizers: files(optimizers) }
    }

    fn model(&self, checkpoint: &Checkpoint) -> Result<Model, Finding> {
        let Some(first) = self.models.first() else {
            return Err(Finding::new(Id::ShardMissing, "no states of the model can be read"));
        };
        let source = checkpoint.pool.get(first.file).map_err(|error| crate::formats::detect::unreadable(&error));
        source.and_then(|source| states::model(&*source)).map_err(|finding| finding.in_file(first.name.clone()))
    }

    /// Files of one save must speak of one step.
    fn agree(&mut self, checkpoint: &mut Checkpoint, folder: &str, model: &Model) {
        let steps: Vec<(String, Option<u64>)> = self
            .models
            .iter()
            .skip(1)
            .map(|file| {
                let read = checkpoint.pool.get(file.file).ok().and_then(|source| states::model(&*source).ok());
                (file.name.clone(), read.and_then(|other| other.steps))
            })
            .collect();
        let made: Vec<(String, Option<f32>)> =
            self.optimizers.iter().map(|file| (file.name.clone(), steps_made(checkpoint, file))).collect();
        let differs = |name: &str, ours: String, theirs: String| {
            let message = "the file is of another step than the first rank's: two saves are mixed here";
            Finding::new(Id::ShardMismatch, message).in_file(name).needed(ours, theirs)
        };
        for (name, other) in steps {
            if let (Some(ours), Some(theirs)) = (model.steps, other)
                && ours != theirs
            {
                checkpoint.findings.push(differs(&name, format!("step {ours}"), format!("step {theirs}")));
            }
        }
        let first = made.first().and_then(|file| file.1);
        for (name, other) in made {
            if let (Some(ours), Some(theirs)) = (first, other)
                && ours.to_bits() != theirs.to_bits()
            {
                checkpoint.findings.push(differs(&name, format!("{ours} steps made"), format!("{theirs} steps made")));
            }
        }
        let said = folder.strip_prefix("global_step").and_then(|rest| rest.trim_end_matches('/').parse::<u64>().ok());
        if let (Some(said), Some(steps)) = (said, model.steps)
            && said != steps
        {
            let message = "the states are of another step than their folder says";
            let finding = Finding::new(Id::ShardMismatch, message).severity(Severity::Warning).in_file(folder);
            checkpoint.findings.push(finding.needed(format!("step {said}"), format!("step {steps}")));
        }
    }
}

/// How many steps a rank's optimizer has made, where it is kept as a number of fp32.
fn steps_made(checkpoint: &Checkpoint, file: &File) -> Option<f32> {
    const STEPS: [&str; 2] = ["base_optimizer_state", "optimizer_state_dict"];
    let tensor = STEPS.iter().find_map(|key| file.get(&format!("optimizer_state_dict.{key}.state.0.step")))?;
    let (id, offset) = tensor.recipe.contiguous().filter(|_| tensor.recipe.dtype == crate::facts::Dtype::F32)?;
    let mut bytes = [0; 4];
    checkpoint.pool.read_exact_at(id, &mut bytes, offset).ok()?;
    Some(f32::from_le_bytes(bytes))
}

/// Keeps the first of the notes on unknown classes, which every rank's file would repeat.
fn once(findings: &mut Vec<Finding>, from: usize) {
    let mut seen = false;
    let mut place = 0usize;
    findings.retain(|finding| {
        let old = place < from;
        place = place.saturating_add(1);
        let note = finding.id == Id::PickleUnknownClass;
        let keep = old || !note || !seen;
        seen |= note && !old;
        keep
    });
}
