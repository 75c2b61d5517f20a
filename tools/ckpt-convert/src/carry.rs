//! What goes along with the weights as it is, and what cannot: the small files beside them, the objects among them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ckpt::canonical;
use ckpt::formats::Format;
use ckpt::layouts::{ADAPTER_CONFIG, Checkpoint, Layout, names, training};
use serde_json::Value;

use crate::draft::{Content, Draft};

/// Texts about a model, by their names up to the first dot.
const TEXTS: &[&str] = &["README", "LICENSE", "NOTICE", "USE_POLICY", "USE-POLICY", "COPYING", "CITATION"];

/// Settings of Hugging Face's form that Meta's says nothing of.
const SETTINGS: &[&str] = &[
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
];

/// Carries every small file on top of the source that the draft does not make itself. Weights, their indexes and
/// training state stay; they and folders are listed as lost.
pub(crate) fn files(checkpoint: &Checkpoint, draft: &mut Draft) {
    let shards: HashSet<&str> = checkpoint.shards.iter().map(|shard| shard.name.as_str()).collect();
    let mut folders = BTreeSet::new();
    for entry in checkpoint.files.iter().filter(|entry| !shards.contains(entry.name.as_str())) {
        if let Some((folder, _)) = entry.name.split_once('/') {
            folders.insert(folder);
            continue;
        }
        let own = entry.name.as_str();
        if names::is_bookkeeping(own) || own.ends_with(".index.json") || own == "checklist.chk" {
            continue;
        }
        if names::is_adapter(own) || own == ADAPTER_CONFIG {
            draft.lost.push(format!("{own}: an adapter beside the model"));
            continue;
        }
        if names::is_weights(own) {
            draft.lost.push(format!("{own}: weights that are not part of this model"));
            continue;
        }
        if entry.path.file_name().is_none_or(|name| name.to_str().is_none()) {
            draft.lost.push(format!("{own}: its name is not UTF-8"));
            continue;
        }
        if training::file_part(own).is_some() {
            draft.lost.push(of_training(own));
            continue;
        }
        draft.files.entry(own.to_owned()).or_insert_with(|| Content::Copied(entry.path.clone()));
    }
    let weights = checkpoint.weights.to_string_lossy();
    for folder in folders.into_iter().filter(|folder| weights.strip_suffix('/') != Some(*folder)) {
        // The hub's copy of Meta's files is another checkpoint, not a part of this one.
        let what = if folder == "original" { "another layout of the same model" } else { "a folder" };
        draft.lost.push(format!("{folder}/: {what} beside the weights"));
    }
}

/// Carries what lies in a tree beside its models: its index, schedulers, tokenizers, adapters, notes. Weights that stand in
/// none of its models stay behind, and are listed as lost.
pub(crate) fn beside_models(rest: &Checkpoint, draft: &mut Draft) {
    for entry in &rest.files {
        let own = entry.name.rsplit('/').next().unwrap_or(&entry.name);
        let why = if names::is_weights(own) {
            "weights that are not part of a model of this tree"
        } else if names::is_bookkeeping(own) || training::file_part(own).is_some() {
            "training state of the source"
        } else if entry.name.contains('\u{fffd}') {
            "its name is not UTF-8"
        } else {
            draft.files.insert(entry.name.clone(), Content::Copied(entry.path.clone()));
            continue;
        };
        draft.lost.push(format!("{}: {why}", entry.name));
    }
}

/// Carries texts about an adapter, and the tokenizer that PEFT's trainers save beside it; the rest of a save is its base's or
/// the training's, and is listed as lost.
pub(crate) fn of_adapter(checkpoint: &Checkpoint, draft: &mut Draft) {
    if checkpoint.layout == Layout::File {
        return;
    }
    let folder = checkpoint.weights.to_string_lossy();
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    for entry in &checkpoint.files {
        let own = entry.name.strip_prefix(prefix.as_str()).filter(|own| !own.contains('/'));
        let is_read = checkpoint.shards.iter().any(|shard| shard.name == entry.name);
        let is_config = checkpoint.adapter.as_ref().is_some_and(|config| config.name == entry.name);
        let goes = |own: &str| {
            let stem = own.split('.').next().unwrap_or(own);
            TEXTS.contains(&stem)
                || own.starts_with("tokenizer")
                || (SETTINGS.contains(&own) && own != "generation_config.json")
        };
        match own {
            _ if is_read || is_config => {}
            Some(own) if goes(own) => drop(draft.files.insert(own.to_owned(), Content::Copied(entry.path.clone()))),
            _ => draft.lost.push(format!("{}: no part of the adapter", entry.name)),
        }
    }
}

/// Carries what lies beside a checkpoint that is one file: of those files only what a model of Hugging Face's form has
/// is its own.
pub(crate) fn beside_file(checkpoint: &Checkpoint, draft: &mut Draft) {
    if checkpoint.layout != Layout::File {
        return;
    }
    let own = ["config.json", "tokenizer.json", "tokenizer.model"];
    for name in own.iter().chain(SETTINGS) {
        if let Some(path) = checkpoint.root_file(name) {
            draft.files.entry((*name).to_owned()).or_insert(Content::Copied(path));
        }
    }
}

/// Lists training state in files beside the weights, where one file is all that is written.
pub(crate) fn training(checkpoint: &Checkpoint, draft: &mut Draft) {
    // A file given alone may be called as it likes.
    let beside = checkpoint.files.iter().filter(|_| checkpoint.layout != Layout::File);
    let state = beside.filter(|entry| !entry.name.contains('/') && training::file_part(&entry.name).is_some());
    draft.lost.extend(state.map(|entry| of_training(&entry.name)));
    draft.lost.sort();
    draft.lost.dedup();
}

fn of_training(name: &str) -> String {
    format!("{name}: training state of the source")
}

/// Carries the texts that speak of the model, and lists the small files that the target's form has no place for.
pub(crate) fn texts(checkpoint: &Checkpoint, form: &str, draft: &mut Draft) {
    let weights = checkpoint.weights.to_string_lossy();
    for entry in &checkpoint.files {
        let own = entry.name.strip_prefix(&*weights).unwrap_or(&entry.name);
        let stem = own.split('.').next().unwrap_or(own).to_ascii_uppercase();
        if TEXTS.contains(&stem.as_str()) {
            draft.files.entry(own.to_owned()).or_insert_with(|| Content::Copied(entry.path.clone()));
        } else if SETTINGS.contains(&own) && !draft.files.contains_key(own) {
            draft.lost.push(format!("{own}: {form} has no place for it"));
        }
    }
}

/// The value under a key of the source's GGUF files.
pub(crate) fn key<'a>(checkpoint: &'a Checkpoint, key: &str) -> Option<&'a Value> {
    let mut objects = checkpoint.shards.iter().flat_map(|shard| &shard.objects);
    objects.find(|object| object.path == key).map(|object| &object.value)
}

/// Keys of GGUF files that speak of the form of the file, or that a config and a tokenizer made of them say too.
fn is_told(path: &str, architecture: &str) -> bool {
    let own = ["general.architecture", "general.alignment", "general.file_type", "general.quantization_version"];
    let of_model = path.strip_prefix(architecture).is_some_and(|rest| rest.starts_with('.'));
    own.contains(&path) || of_model || path.starts_with("tokenizer.") || path.starts_with("split.")
}

/// Lists what the source's files hold besides the model: no other container has a place for it. Of training state one
/// line a key is enough; what keys of a GGUF file say, a config that is made of them says as well.
pub(crate) fn objects(checkpoint: &Checkpoint, draft: &mut Draft) {
    let keys = training::Keys::of(checkpoint);
    let mut state: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let made = draft.files.contains_key("config.json");
    let architecture = key(checkpoint, "general.architecture").and_then(Value::as_str).unwrap_or("general");
    for shard in &checkpoint.shards {
        // What ranks say alike is kept of the first one alone.
        if shard.name.ends_with("_optim_states.pt") && shard.objects.is_empty() {
            draft.lost.push(format!("{}: the optimizer's state", shard.name));
        }
        let told = |path: &str| made && shard.format == Format::Gguf && is_told(path, architecture);
        for object in shard.objects.iter().filter(|object| !told(&object.path)) {
            if keys.holds(&object.path) {
                let _ = state.entry((&shard.name, training::first(&object.path))).or_default();
            } else {
                draft.lost.push(format!("{}: {} = {}", shard.name, object.path, object.value));
            }
        }
    }
    let is_written = checkpoint.tensors.iter().all(|tensor| keys.holds(&tensor.name));
    for tensor in checkpoint.tensors.iter().filter(|tensor| !is_written && keys.holds(&tensor.name)) {
        let file = tensor.recipe.contiguous().map_or("", |(file, _)| checkpoint.pool.name(file));
        let count = state.entry((file, training::first(&tensor.name))).or_default();
        *count = count.saturating_add(1);
    }
    draft.lost.extend(state.into_iter().map(|((file, key), tensors)| {
        let count = if tensors == 0 { String::new() } else { format!(", {tensors} tensors") };
        // What several files hold in parts is no one's.
        let place = if file.is_empty() { String::new() } else { format!("{file}: ") };
        format!("{place}{key}: training state{count}")
    }));
}

/// Lists tensors that lie outside what wraps the model, such as an optimizer's, by the first part of their names.
pub(crate) fn outside(names: &[String], draft: &mut Draft) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in names {
        let first = name.split('.').next().unwrap_or(name);
        let count = counts.entry(first).or_default();
        *count = count.saturating_add(1);
    }
    for (first, count) in counts {
        let many = if count == 1 { "1 tensor that is".to_owned() } else { format!("{count} tensors that are") };
        draft.lost.push(format!("{first}: {many} not of the model"));
    }
}

/// Lists the buffers among the names left out of a table: they can be derived.
pub(crate) fn derived(left_out: &[String], draft: &mut Draft) {
    let buffers = left_out.iter().filter(|name| canonical::is_derived(name));
    draft.lost.extend(buffers.map(|name| format!("{name}: it follows from the config")));
}
