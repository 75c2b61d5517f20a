//! What belongs to such a checkpoint and is not there.

use std::collections::BTreeSet;

use ckpt::document::Training;
use ckpt::facts::Id;
use ckpt::layouts::{Checkpoint, Layout};

/// Files that transformers and the programs that serve its models look for.
const HF: &[&str] = &["config.json", "generation_config.json", "tokenizer_config.json"];

/// File names and a few words, sorted.
pub(super) fn of(checkpoint: &Checkpoint, has_tokenizer: bool, training: Option<&Training>) -> Vec<String> {
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let shards = checkpoint.findings.iter().filter(|finding| finding.id == Id::ShardMissing);
    for finding in shards {
        let needed = finding.needed.as_deref().map(|needed| format!("shards: {needed}"));
        missing.extend(finding.file.clone().or(needed));
    }
    let weights = checkpoint.weights.to_string_lossy();
    let absent = |name: &str| checkpoint.root_file(name).is_none();
    match checkpoint.layout {
        Layout::Hf => {
            missing.extend(HF.iter().filter(|name| absent(name)).map(|name| (*name).to_owned()));
            if checkpoint.index.is_none() && checkpoint.shards.len() > 1 {
                missing.insert("model.safetensors.index.json".to_owned());
            }
            if !has_tokenizer {
                missing.insert("tokenizer".to_owned());
            }
        }
        Layout::Meta => {
            let params = format!("{weights}params.json");
            missing.extend(Some(params).filter(|name| absent(name)));
            if !has_tokenizer {
                missing.insert(format!("{weights}tokenizer.model"));
            }
        }
        Layout::File | Layout::Directory => {}
    }
    missing.extend(training.into_iter().flat_map(|training| of_training(checkpoint, training)));
    missing.into_iter().collect()
}

/// A run that left an optimizer's state can be resumed only with the rest of it.
fn of_training(checkpoint: &Checkpoint, training: &Training) -> Vec<String> {
    if !training.optimizer {
        return Vec::new();
    }
    let mut missing = Vec::new();
    let trainer = checkpoint.layout == Layout::Hf && checkpoint.root_file("optimizer.pt").is_some();
    // HF Trainer writes this one last, so a run that was killed while saving has all but it.
    if trainer && checkpoint.root_file("trainer_state.json").is_none() {
        missing.push("trainer_state.json".to_owned());
    }
    for (held, words) in [(training.scheduler, "scheduler state"), (training.rng, "RNG state")] {
        if !held {
            missing.push(words.to_owned());
        }
    }
    if training.step.is_none() && training.epoch.is_none() {
        missing.push("step and epoch".to_owned());
    }
    missing
}
