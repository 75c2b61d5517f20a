//! The parts of a training state: the files and the keys that hold them.

use crate::formats::Object;
use crate::layouts::Checkpoint;

/// A part of a training state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What the optimizer remembers of every parameter.
    Optimizer,
    /// Where the learning-rate schedule is.
    Scheduler,
    /// The random generators, of a rank or of all.
    Rng,
    /// How far the run is: step or epoch.
    Progress,
    /// Belongs to it and answers none of these: arguments, the scaler of mixed precision, the sampler.
    Other,
}

impl Part {
    /// What people call it.
    pub fn words(self) -> &'static str {
        match self {
            Part::Optimizer => "optimizer state",
            Part::Scheduler => "scheduler state",
            Part::Rng => "RNG state",
            Part::Progress => "step and epoch",
            Part::Other => "other training state",
        }
    }
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
    ("loops", Part::Other), ("callbacks", Part::Other), ("train_state", Part::Progress),
];

/// Files of HF Trainer, accelerate and torchtune, by the start and the end of their own names; what is between is a
/// number, if anything. accelerate numbers the second optimizer and all that follow (`optimizer_1.bin`).
#[rustfmt::skip]
const FILES: &[(&str, &str, Part)] = &[
    ("optimizer", ".pt", Part::Optimizer), ("optimizer", ".bin", Part::Optimizer),
    ("scheduler", ".pt", Part::Scheduler), ("scheduler", ".bin", Part::Scheduler),
    ("rng_state", ".pth", Part::Rng), ("random_states", ".pkl", Part::Rng),
    ("trainer_state", ".json", Part::Progress), ("scaler", ".pt", Part::Other), ("sampler", ".bin", Part::Other),
    ("dl_state_dict", ".bin", Part::Other), ("training_args", ".bin", Part::Other),
    ("custom_checkpoint", ".pkl", Part::Other), ("recipe_state", ".pt", Part::Other),
];

/// Files of sharded training below a save of HF Trainer or accelerate, by the start and the end of their path: FSDP's
/// optimizer, DeepSpeed's optimizer, and its model states, which hold the schedule too.
const SHARDED: &[(&str, &str, Part)] = &[
    ("optimizer_", ".distcp", Part::Optimizer),
    ("global_step", "_optim_states.pt", Part::Optimizer),
    ("global_step", "_model_states.pt", Part::Scheduler),
];

/// What part a file is, in whatever folder.
pub fn file_part(name: &str) -> Option<Part> {
    let sharded = SHARDED.iter().find(|(folder, end, _)| name.starts_with(folder) && name.ends_with(end));
    if let Some((_, _, part)) = sharded {
        return Some(*part);
    }
    FILES.iter().find(|(start, end, _)| is_numbered(name, start, end)).map(|(_, _, part)| *part)
}

/// Whether a file's own name begins and ends so, with nothing but a number between.
pub(super) fn is_numbered(name: &str, start: &str, end: &str) -> bool {
    let own = name.rsplit('/').next().unwrap_or(name);
    let middle = own.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    middle.is_some_and(|middle| middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_'))
}

/// Which names of a checkpoint's dictionaries belong to its training state.
#[derive(Debug)]
pub struct Keys {
    /// A file is nothing but an optimizer's state dict.
    lone_optimizer: bool,
}

impl Keys {
    /// Those of a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Keys {
        let objects = checkpoint.shards.iter().flat_map(|shard| &shard.objects);
        Keys::among(objects)
    }

    /// Those of a file that holds these objects.
    pub(super) fn among<'a>(mut objects: impl Iterator<Item = &'a Object>) -> Keys {
        Keys { lone_optimizer: objects.any(|object| object.path.starts_with("param_groups.")) }
    }

    /// Whether a tensor of that name is part of the training state, and not of the model.
    pub fn holds(&self, name: &str) -> bool {
        self.part(name).is_some()
    }

    /// The part that a name or path belongs to; `None` for what is not training state.
    pub fn part(&self, path: &str) -> Option<Part> {
        let first = first(path);
        if self.lone_optimizer && matches!(first, "state" | "param_groups") {
            return Some(Part::Optimizer);
        }
        KEYS.iter().find(|(key, _)| *key == first).map(|(_, part)| *part)
    }
}

/// The first key of a path; that below it where applications of torch.distributed.checkpoint put all they save under
/// one, as its tutorial does.
pub fn first(path: &str) -> &str {
    let path = path.strip_prefix("app.").unwrap_or(path);
    path.split_once('.').map_or(path, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_parts() {
        for (name, part) in [
            ("optimizer.pt", Some(Part::Optimizer)),
            ("a/optimizer_1.bin", Some(Part::Optimizer)),
            ("rng_state_12.pth", Some(Part::Rng)),
            ("random_states_0.pkl", Some(Part::Rng)),
            ("trainer_state.json", Some(Part::Progress)),
            ("custom_checkpoint_3.pkl", Some(Part::Other)),
            ("recipe_state/recipe_state.pt", Some(Part::Other)),
            ("optimizer_best.pt", None),
            ("pytorch_model.bin", None),
        ] {
            assert_eq!(file_part(name), part, "{name}");
        }
    }
}
