//! What belongs to such a checkpoint and is not there.

use std::collections::BTreeSet;

use ckpt::facts::Id;
use ckpt::layouts::training::{Part, State};
use ckpt::layouts::{ADAPTER_CONFIG, Checkpoint, Layout, inside};

/// Files that transformers and the programs that serve its models look for.
const HF: &[&str] = &["config.json", "generation_config.json", "tokenizer_config.json"];

/// File names and a few words, sorted.
pub(super) fn of(checkpoint: &Checkpoint, has_tokenizer: bool, training: Option<&State>) -> Vec<String> {
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
            // A part of a pipeline has its config; what it reads and says is the pipeline's own.
            let needed = if is_part(checkpoint) { &["config.json"][..] } else { HF };
            missing.extend(needed.iter().filter(|name| absent(name)).map(|name| (*name).to_owned()));
            let unlisted = checkpoint.findings.iter().filter(|finding| finding.id == Id::IndexInvalid);
            if checkpoint.index.is_none() && checkpoint.shards.len() > 1 {
                missing.extend(unlisted.filter_map(|finding| finding.file.clone()));
            }
            if !has_tokenizer && !is_part(checkpoint) {
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
        Layout::Mistral => {
            missing.extend(Some("params.json".to_owned()).filter(|name| absent(name)));
            if !has_tokenizer {
                missing.insert("tekken.json or tokenizer.model".to_owned());
            }
        }
        Layout::Adapter if checkpoint.adapter.is_none() => {
            missing.insert(ADAPTER_CONFIG.to_owned());
        }
        Layout::Dcp | Layout::Adapter | Layout::DeepSpeed | Layout::Megatron | Layout::File | Layout::Directory => {}
    }
    missing.extend(training.into_iter().flat_map(|training| of_training(checkpoint, training)));
    missing.into_iter().collect()
}

/// Whether it is a model of diffusers, or lies in the folder of a pipeline.
fn is_part(checkpoint: &Checkpoint) -> bool {
    let class = checkpoint.config.as_ref().and_then(|config| config.value.get("_class_name"));
    class.is_some() || checkpoint.root_file(&format!("../{}", inside::INDEX)).is_some()
}

/// A run that left some training state can be resumed only with the rest of it.
fn of_training(checkpoint: &Checkpoint, state: &State) -> Vec<String> {
    let begun = [Part::Optimizer, Part::Scheduler, Part::Rng].iter().any(|part| state.parts.contains(part));
    let Some(form) = state.form.filter(|_| begun) else { return Vec::new() };
    let needs = form.needs.iter().filter(|need| !state.parts.contains(&need.part));
    let words = needs.map(|need| need.part.words().to_owned());
    words.chain(form.unfinished(checkpoint).map(str::to_owned)).collect()
}
