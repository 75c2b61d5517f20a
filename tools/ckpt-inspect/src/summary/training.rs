//! Training state: what a resumed run would find, in files beside the weights or under keys among them.

use std::collections::BTreeSet;

use ckpt::document::Training;
use ckpt::formats::Object;
use ckpt::layouts::{Checkpoint, Layout};
use serde_json::{Map, Value};

/// A part of a training state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Optimizer,
    Scheduler,
    Rng,
    /// Belongs to it and answers none of the questions: arguments, the scaler of mixed precision, the sampler.
    Other,
}

/// First parts of names in the dictionaries that training loops save: plain scripts, Lightning, DeepSpeed, Megatron,
/// torchtune, torchtitan.
#[rustfmt::skip]
const KEYS: &[(&str, Part)] = &[
    ("optimizer", Part::Optimizer), ("optimizers", Part::Optimizer), ("optim", Part::Optimizer),
    ("opt", Part::Optimizer), ("optimizer_states", Part::Optimizer), ("optimizer_state", Part::Optimizer),
    ("optimizer_state_dict", Part::Optimizer), ("optim_state_dict", Part::Optimizer),
    ("scheduler", Part::Scheduler), ("lr_scheduler", Part::Scheduler), ("lr_schedulers", Part::Scheduler),
    ("scheduler_state_dict", Part::Scheduler), ("lr_scheduler_state_dict", Part::Scheduler),
    ("opt_param_scheduler", Part::Scheduler),
    ("rng", Part::Rng), ("rng_state", Part::Rng), ("rng_states", Part::Rng), ("random_states", Part::Rng),
    ("torch_rng_state", Part::Rng), ("cuda_rng_state", Part::Rng), ("cuda_rng_state_all", Part::Rng),
    ("scaler", Part::Other), ("grad_scaler", Part::Other), ("dataloader", Part::Other), ("sampler", Part::Other),
    ("loops", Part::Other), ("callbacks", Part::Other),
];

/// Files of HF Trainer, accelerate and torchtune, by the start of their names; what follows is a number, if anything.
#[rustfmt::skip]
const FILES: &[(&str, &str, Part)] = &[
    ("optimizer", ".pt", Part::Optimizer), ("optimizer", ".bin", Part::Optimizer),
    ("scheduler", ".pt", Part::Scheduler), ("scheduler", ".bin", Part::Scheduler),
    ("rng_state", ".pth", Part::Rng), ("random_states", ".pkl", Part::Rng),
    ("scaler", ".pt", Part::Other), ("sampler", ".bin", Part::Other), ("training_args", ".bin", Part::Other),
    ("recipe_state", ".pt", Part::Other),
];

/// The file that HF Trainer writes last.
const TRAINER_STATE: &str = "trainer_state.json";

const STEPS: &[&str] = &["global_step", "global_steps", "step", "iteration", "iter", "num_updates", "steps_run"];
const EPOCHS: &[&str] = &["epoch", "epochs_run", "current_epoch"];

/// Scalars that are told beside step and epoch, and the longest text among them: enough for the settings of a run,
/// too few for its logs.
const VALUES: usize = 100;
const TEXT: usize = 200;

/// Which names belong to a training state.
#[derive(Debug)]
pub(super) struct State {
    /// The file is nothing but an optimizer's state dict.
    lone_optimizer: bool,
}

impl State {
    pub(super) fn of(checkpoint: &Checkpoint) -> State {
        let mut objects = objects(checkpoint).map(|object| object.path.as_str());
        State { lone_optimizer: objects.any(|path| path.starts_with("param_groups.")) }
    }

    /// Whether a tensor of that name is part of it, and not of the model.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.part(name).is_some()
    }

    fn part(&self, path: &str) -> Option<Part> {
        let first = first(path);
        if self.lone_optimizer && matches!(first, "state" | "param_groups") {
            return Some(Part::Optimizer);
        }
        KEYS.iter().find(|(key, _)| *key == first).map(|(_, part)| *part)
    }
}

fn first(path: &str) -> &str {
    path.split_once('.').map_or(path, |(first, _)| first)
}

fn objects(checkpoint: &Checkpoint) -> impl Iterator<Item = &Object> {
    checkpoint.shards.iter().flat_map(|shard| &shard.objects)
}

/// The training state, if there is any.
pub(super) fn of(checkpoint: &Checkpoint) -> Option<Training> {
    let state = State::of(checkpoint);
    let mut training = Training::default();
    let mut found: BTreeSet<String> = BTreeSet::new();
    let names = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str());
    let paths = objects(checkpoint).map(|object| object.path.as_str());
    let mut last = "";
    for path in names.chain(paths) {
        // Neighbours nearly always share their first part.
        let key = first(path);
        if key == last {
            continue;
        }
        last = key;
        if let Some(part) = state.part(path) {
            note(&mut training, part);
            found.insert(key.to_owned());
        }
    }
    if checkpoint.layout != Layout::File {
        for entry in &checkpoint.files {
            if let Some(part) = file_part(&entry.name) {
                note(&mut training, part);
                found.insert(entry.name.clone());
            }
        }
    }
    for object in objects(checkpoint) {
        scalar(&mut training, &mut found, object);
    }
    if let Some(Value::Object(state)) = trainer_state(checkpoint) {
        found.insert(TRAINER_STATE.to_owned());
        training.step = state.get("global_step").and_then(Value::as_u64).or(training.step);
        training.epoch = state.get("epoch").and_then(Value::as_f64).or(training.epoch);
        for (key, value) in state {
            keep(&mut training.values, &key, &value);
        }
    }
    if found.is_empty() {
        return None;
    }
    training.values.sort_keys();
    training.found = found.into_iter().collect();
    Some(training)
}

fn note(training: &mut Training, part: Part) {
    match part {
        Part::Optimizer => training.optimizer = true,
        Part::Scheduler => training.scheduler = true,
        Part::Rng => training.rng = true,
        Part::Other => {}
    }
}

/// What part a file is, in whatever folder.
fn file_part(name: &str) -> Option<Part> {
    let own = name.rsplit('/').next().unwrap_or(name);
    let row = FILES.iter().find(|(start, end, _)| {
        let middle = own.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        middle.is_some_and(|middle| middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_'))
    });
    row.map(|(_, _, part)| *part)
}

/// Takes step and epoch from the top of a dictionary, and other scalars as they are.
fn scalar(training: &mut Training, found: &mut BTreeSet<String>, object: &Object) {
    let path = object.path.as_str();
    if STEPS.contains(&path) && object.value.is_u64() {
        training.step = training.step.max(object.value.as_u64());
        found.insert(path.to_owned());
    } else if EPOCHS.contains(&path) && object.value.is_number() {
        training.epoch = object.value.as_f64().or(training.epoch);
        found.insert(path.to_owned());
    } else if !path.contains("state.") && !path.contains(".params") {
        // What an optimizer keeps of each parameter, and the parameters' numbers, would drown the rest.
        keep(&mut training.values, path, &object.value);
    }
}

/// Keeps a scalar, as long as there are not too many.
fn keep(values: &mut Map<String, Value>, path: &str, value: &Value) {
    let short = match value {
        // What is no scalar is described in angle brackets.
        Value::String(text) => text.len() <= TEXT && !text.starts_with('<'),
        Value::Bool(_) | Value::Number(_) => true,
        _ => false,
    };
    if short && values.len() < VALUES {
        values.insert(path.to_owned(), value.clone());
    }
}

fn trainer_state(checkpoint: &Checkpoint) -> Option<Value> {
    if checkpoint.layout == Layout::File {
        return None;
    }
    let text = checkpoint.small_file(TRAINER_STATE, ckpt::facts::limits::JSON).ok()??;
    ckpt::formats::json::parse(&text).ok()
}
