//! Damage to training state.

use serde_json::json;

use super::{Case, copy_over, cut, remove, rename, write};
use crate::support::{edit_json, edit_tensors, fixtures, set};

const TRAINER: &str = "training/run/checkpoint-4";
const ACCELERATE: &str = "training/accelerate";

/// accelerate saves no config beside the weights, which is said of the intact tree too.
const BARE: &str = "warning config-missing config.json -";

pub(crate) const CASES: &[Case] = &[
    (
        "killed before the trainer's state",
        TRAINER,
        |model| remove(model, &["trainer_state.json"]),
        &["error save-incomplete trainer_state.json -"],
    ),
    (
        "killed before the random states",
        TRAINER,
        |model| remove(model, &["trainer_state.json", "rng_state.pth"]),
        &["error save-incomplete trainer_state.json -", "warning training-partial rng_state.pth -"],
    ),
    (
        "trainer's state cut short",
        TRAINER,
        |model| cut(model, "trainer_state.json", 100),
        &["error json-invalid trainer_state.json -"],
    ),
    (
        "trainer's state empty",
        TRAINER,
        |model| write(model, "trainer_state.json", b""),
        &["error json-invalid trainer_state.json -"],
    ),
    ("optimizer lost", TRAINER, |model| remove(model, &["optimizer.pt"]), &["warning training-partial optimizer.pt -"]),
    ("schedule lost", TRAINER, |model| remove(model, &["scheduler.pt"]), &["warning training-partial scheduler.pt -"]),
    (
        "random states lost",
        TRAINER,
        |model| remove(model, &["rng_state.pth"]),
        &["warning training-partial rng_state.pth -"],
    ),
    (
        "random state of a rank lost",
        TRAINER,
        |model| {
            copy_over(&model.join("rng_state.pth"), model, "rng_state_0.pth");
            rename(model, "rng_state.pth", "rng_state_2.pth");
        },
        &["warning training-partial rng_state_1.pth -"],
    ),
    ("optimizer cut short", TRAINER, |model| cut(model, "optimizer.pt", 1000), &["error zip-truncated optimizer.pt -"]),
    ("optimizer empty", TRAINER, |model| write(model, "optimizer.pt", b""), &["error file-empty optimizer.pt -"]),
    (
        "schedule that never reached the disk",
        TRAINER,
        |model| write(model, "scheduler.pt", &[0; 1465]),
        &["error file-zeros scheduler.pt -"],
    ),
    (
        "random states that are a Git LFS pointer",
        TRAINER,
        |model| write(model, "rng_state.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        &["error file-lfs-pointer rng_state.pth -"],
    ),
    (
        "optimizer of another model",
        "hf-tiny",
        |model| {
            for name in ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin"] {
                copy_over(&fixtures().join(TRAINER).join(name), model, name);
            }
        },
        &["error training-mismatch optimizer.pt "],
    ),
    (
        "optimizer of a larger model nobody knows",
        TRAINER,
        |model| {
            set(&model.join("config.json"), &[("model_type", json!("unheard_of"))]);
            edit_tensors(&model.join("model.safetensors"), |_, tensors| tensors.truncate(6));
        },
        &["error training-mismatch optimizer.pt -"],
    ),
    (
        "left-over of a save",
        TRAINER,
        |model| write(model, "optimizer.pt.tmp", b"?"),
        &["warning partial-left optimizer.pt.tmp -"],
    ),
    (
        "weights of the step cut short",
        TRAINER,
        |model| cut(model, "model.safetensors", 1000),
        &["error safetensors-truncated model.safetensors "],
    ),
    (
        "weights of the step lost",
        TRAINER,
        |model| remove(model, &["model.safetensors"]),
        &["error not-a-checkpoint - -"],
    ),
    (
        "accelerate killed before the random states",
        ACCELERATE,
        |model| remove(model, &["random_states_0.pkl", "custom_checkpoint_0.pkl"]),
        &["error save-incomplete random_states_0.pkl -", BARE],
    ),
    (
        "accelerate's optimizer lost",
        ACCELERATE,
        |model| remove(model, &["optimizer.bin"]),
        &["warning training-partial optimizer.bin -", BARE],
    ),
    (
        "accelerate's random states cut short",
        ACCELERATE,
        |model| cut(model, "random_states_0.pkl", 10),
        &["error zip-truncated random_states_0.pkl -", BARE],
    ),
    (
        "object of a script cut short",
        ACCELERATE,
        |model| cut(model, "custom_checkpoint_0.pkl", 10),
        &["error zip-truncated custom_checkpoint_0.pkl -", BARE],
    ),
    (
        "distributed save without its metadata",
        "hf-tiny",
        |model| {
            remove(model, &[crate::support::FIRST, crate::support::SECOND, crate::support::INDEX]);
            write(model, "__0_0.distcp", b"?");
        },
        &["error save-incomplete .metadata -"],
    ),
    (
        "dictionary of a script cut short",
        "training/train_state.pt",
        |model| cut(model, "train_state.pt", 1000),
        &["error zip-truncated train_state.pt -"],
    ),
    (
        "trainer's state that is no object",
        TRAINER,
        |model| {
            edit_json(&model.join("trainer_state.json"), serde_json::Map::clear);
            remove(model, &["scheduler.pt"]);
        },
        &["warning training-partial scheduler.pt -"],
    ),
];
