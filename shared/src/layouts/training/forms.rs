//! The forms in which programs save their training, one row each: what shows it, what a resume reads, what is written
//! last.

use super::parts::{Part, file_part, first, is_numbered};
use crate::facts::Severity;
use crate::layouts::Checkpoint;

/// A form.
#[derive(Debug)]
pub struct Form {
    /// Name in documents.
    pub name: &'static str,
    /// The program, for people.
    pub program: &'static str,
    /// Any of these shows it.
    signs: &'static [Sign],
    /// What a resume reads.
    pub needs: &'static [Need],
    /// What is written last, any of these: a save without it was broken off. Empty where nothing marks the end.
    pub last: &'static [&'static str],
}

/// What shows a form.
#[derive(Debug)]
enum Sign {
    /// A file of that start and end of its own name, a number between them or nothing.
    File(&'static str, &'static str),
    /// A file whose path ends so.
    Ending(&'static str),
    /// A key on top of a dictionary in a file.
    Key(&'static str),
    /// A key of training state of whatever name.
    AnyKey,
}

/// A part that a resume reads.
#[derive(Debug)]
pub struct Need {
    /// Which.
    pub part: Part,
    /// The file or key that holds it.
    pub file: &'static str,
    /// What it means for a resume that it is missing: it fails or starts afresh (error), or goes on a little differently
    /// (warning).
    pub severity: Severity,
}

const fn need(part: Part, file: &'static str, severity: Severity) -> Need {
    Need { part, file, severity }
}

/// Every form; the first whose sign is there counts.
pub static FORMS: &[Form] = &[
    Form {
        name: "lightning",
        program: "Lightning",
        signs: &[Sign::Key("pytorch-lightning_version"), Sign::Key("optimizer_states"), Sign::Key("loops")],
        needs: &[
            need(Part::Optimizer, "optimizer_states", Severity::Error),
            need(Part::Scheduler, "lr_schedulers", Severity::Warning),
            need(Part::Progress, "global_step", Severity::Error),
        ],
        last: &[],
    },
    Form {
        // `Trainer._save_checkpoint` (transformers 5): the model and training_args.bin, optimizer and scheduler, the
        // random states, the trainer's state. A resume that lacks one of optimizer.pt and scheduler.pt starts both
        // afresh without a word; without trainer_state.json it fails.
        name: "hf-trainer",
        program: "Hugging Face Trainer",
        signs: &[
            Sign::File("trainer_state", ".json"),
            Sign::File("training_args", ".bin"),
            Sign::File("rng_state", ".pth"),
            Sign::File("optimizer", ".pt"),
            Sign::File("scheduler", ".pt"),
        ],
        needs: &[
            need(Part::Optimizer, "optimizer.pt", Severity::Error),
            need(Part::Scheduler, "scheduler.pt", Severity::Error),
            need(Part::Rng, "rng_state.pth", Severity::Warning),
            need(Part::Progress, "trainer_state.json", Severity::Error),
        ],
        last: &["trainer_state.json"],
    },
    Form {
        // `save_accelerator_state`: weights, optimizers, schedulers, samplers, scaler, random states; objects that were
        // registered come after. A scheduler is there if one was prepared; `load_accelerator_state` goes on without the
        // random states and only logs it. No step is kept but in the folder's name and in registered objects.
        name: "accelerate",
        program: "accelerate",
        signs: &[
            Sign::File("random_states", ".pkl"),
            Sign::File("optimizer", ".bin"),
            Sign::File("sampler", ".bin"),
            Sign::File("custom_checkpoint", ".pkl"),
        ],
        needs: &[
            need(Part::Optimizer, "optimizer.bin", Severity::Error),
            need(Part::Scheduler, "scheduler.bin", Severity::Warning),
            need(Part::Rng, "random_states_0.pkl", Severity::Warning),
        ],
        last: &["random_states_0.pkl"],
    },
    Form {
        // Weights and index first, then the recipe's state: the optimizer, epochs and seed. The last epoch has none.
        name: "torchtune",
        program: "torchtune",
        signs: &[Sign::File("recipe_state", ".pt")],
        needs: &[
            need(Part::Optimizer, "recipe_state.pt: optimizer", Severity::Error),
            need(Part::Progress, "recipe_state.pt: epochs_run", Severity::Error),
        ],
        last: &[],
    },
    Form {
        // The planner of the coordinator writes `.metadata` under another name and renames it when every rank is done;
        // without collectives each rank writes its own.
        name: "dcp",
        program: "torch.distributed.checkpoint",
        signs: &[Sign::Ending(".distcp")],
        needs: &[],
        last: &[".metadata", "__0.metadata"],
    },
    Form {
        // What a script saves as one dictionary; nothing says what else it would have.
        name: "file",
        program: "a training script",
        signs: &[Sign::AnyKey],
        needs: &[
            need(Part::Optimizer, "optimizer", Severity::Error),
            need(Part::Scheduler, "scheduler", Severity::Warning),
            need(Part::Rng, "rng_state", Severity::Warning),
            need(Part::Progress, "epoch", Severity::Warning),
        ],
        last: &[],
    },
];

impl Form {
    /// The form of a checkpoint, told by its files and by keys on top of its dictionaries.
    pub(super) fn of(checkpoint: &Checkpoint, parts: bool) -> Option<&'static Form> {
        FORMS.iter().find(|form| {
            form.signs.iter().any(|sign| match sign {
                Sign::File(start, end) => files(checkpoint).any(|name| is_numbered(name, start, end)),
                Sign::Ending(end) => files(checkpoint).any(|name| name.ends_with(end)),
                Sign::Key(key) => {
                    let objects = checkpoint.shards.iter().flat_map(|shard| &shard.objects);
                    objects.into_iter().any(|object| first(&object.path) == *key)
                }
                Sign::AnyKey => parts,
            })
        })
    }

    /// What should have been written last, if none of it is there.
    pub fn unfinished(&self, checkpoint: &Checkpoint) -> Option<&'static str> {
        let there = |last: &&str| files(checkpoint).any(|name| name == *last);
        // Of several ranks each writes its own; any will do.
        let numbered = |last: &&str| {
            file_part(last) == Some(Part::Rng) && files(checkpoint).any(|name| file_part(name) == Some(Part::Rng))
        };
        let done = self.last.is_empty() || self.last.iter().any(|last| there(last) || numbered(last));
        if done { None } else { self.last.first().copied() }
    }
}

/// Files of a folder; a file given alone has none beside it.
fn files(checkpoint: &Checkpoint) -> impl Iterator<Item = &str> {
    let alone = checkpoint.layout == crate::layouts::Layout::File;
    checkpoint.files.iter().filter(move |_| !alone).map(|entry| entry.name.as_str())
}
