//! Trees of models: pipelines of diffusers (`model_index.json` and a folder for each part), and folders that hold a
//! model each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::super::training::run;
use super::super::tree::Entry;
use super::super::{Layout, names, read_small};
use crate::facts::{Finding, Id, limits};
use crate::formats::json;

/// The file in which diffusers names the parts of a pipeline: `"vae": ["diffusers", "AutoencoderKL"]`, library and
/// class; both are null for a part that was left out.
pub const INDEX: &str = "model_index.json";

/// The config of a model of transformers or diffusers. Schedulers, tokenizers and processors have others.
const CONFIG: &str = "config.json";

/// Megatron's ranks are folders of one model.
const MEGATRON: &str = "model_optim_rng.pt";

/// Folders between a tree and a model in it: `text_encoder/Glyph-SDXL-v2/checkpoints` of HunyuanVideo has three.
const DEPTH: usize = 4;

/// Whether the names on top of a folder alone say that it is one model, or a part of one.
pub(super) fn is_one(folder: &Path) -> bool {
    let children = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: BTreeSet<String> = children.filter_map(|child| child.file_name().into_string().ok()).collect();
    !names.contains(INDEX) && names.iter().any(|name| names::is_weights(name) || name == "adapter_config.json")
}

/// The models of a tree with these files, by the names of their folders (or of lone files on top), sorted; `None` if it
/// is no tree: one model, or a single one in a folder below.
pub(super) fn of(entries: &[Entry]) -> Option<Vec<String>> {
    let has = |test: &dyn Fn(&str) -> bool| entries.iter().any(|entry| test(&entry.name));
    let is_pipeline = has(&|name| name == INDEX);
    if !is_pipeline && (names::layout_of(entries) != Layout::Directory || has(&|name| name.ends_with(MEGATRON))) {
        return None;
    }
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let (folder, own) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
        folders.entry(folder).or_default().push(own);
    }
    let on_top = folders.remove("").unwrap_or_default();
    let near = |folder: &str| {
        let parts = || folder.split('/');
        // What a run saved below its last model is no part of it.
        parts().count() <= DEPTH && !parts().any(|part| part.starts_with('.') || run::number(part).is_some())
    };
    folders.retain(|folder, _| near(folder));
    let mut models: BTreeSet<&str> = BTreeSet::new();
    for (folder, files) in &folders {
        // Meta's folder stands below the model's.
        let (model, ranks) = match folder.strip_suffix("/original") {
            Some(model) if files.iter().any(|name| names::meta_rank(name).is_some()) => (model, true),
            _ => (*folder, false),
        };
        let holds = ranks
            || files
                .iter()
                .any(|name| names::is_weights(name) || names::is_hf_weights(name) || names::is_bookkeeping(name));
        if holds && !has_ancestor(&models, model) {
            models.insert(model);
        }
    }
    let weights: Vec<&str> = on_top.into_iter().filter(|name| is_pipeline && names::is_weights(name)).collect();
    if models.is_empty() && weights.is_empty() && !is_pipeline {
        return None;
    }
    // A config alone is a model that lost its weights.
    let bare = folders.iter().filter(|(folder, files)| {
        let within = format!("{folder}/");
        files.contains(&CONFIG)
            && !models.contains(*folder)
            && !has_ancestor(&models, folder)
            && !models.iter().any(|model| model.starts_with(&within))
    });
    let bare: Vec<&str> = bare.map(|(folder, _)| *folder).collect();
    let mut found: Vec<String> = models.into_iter().chain(bare).chain(weights).map(str::to_owned).collect();
    found.sort();
    (is_pipeline || found.len() > 1).then_some(found)
}

/// Whether a folder lies below one of these.
fn has_ancestor(models: &BTreeSet<&str>, folder: &str) -> bool {
    folder.match_indices('/').filter_map(|(end, _)| folder.get(..end)).any(|above| models.contains(above))
}

/// The parts that a pipeline's index names and that are not there.
pub(super) fn missing(folder: &Path, entries: &[Entry]) -> Vec<Finding> {
    let Some(entry) = entries.iter().find(|entry| entry.name == INDEX) else { return Vec::new() };
    // One that cannot be parsed is told of by who reads it as the tree's config.
    let text = read_small(&folder.join(&entry.name), limits::JSON);
    let Ok(Value::Object(index)) = text.and_then(|text| json::parse(&text)) else { return Vec::new() };
    let mut findings = Vec::new();
    for (part, class) in &index {
        let [Value::String(library), Value::String(class)] = class.as_array().map_or(&[][..], Vec::as_slice) else {
            continue;
        };
        if part.starts_with('_') {
            continue;
        }
        let below = format!("{part}/");
        if !entries.iter().any(|entry| entry.name.starts_with(&below)) {
            let message = format!("{INDEX} names this folder, and there is nothing in it");
            let finding = Finding::new(Id::PartMissing, message).in_file(part.clone());
            findings.push(finding.needed(format!("{library} {class}"), "none"));
        }
        if findings.len() >= limits::FINDINGS {
            break;
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn models(names: &str) -> Option<Vec<String>> {
        let mut names: Vec<&str> = names.split(' ').collect();
        names.sort_unstable();
        let entry = |name: &str| Entry { name: name.to_owned(), path: PathBuf::from(name), size: 1 };
        of(&names.into_iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn trees_are_told_by_names() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            // A pipeline: two models, one that lost its weights, a scheduler and a tokenizer.
            (
                "model_index.json vae/config.json vae/diffusion_pytorch_model.safetensors unet/config.json \
                 text_encoder/model.safetensors scheduler/scheduler_config.json tokenizer/vocab.json",
                Some(&["text_encoder", "unet", "vae"]),
            ),
            // Single-file weights of the same pipeline lie on top of some.
            ("model_index.json v1.safetensors vae/model.safetensors", Some(&["v1.safetensors", "vae"])),
            ("model_index.json scheduler/scheduler_config.json", Some(&[])),
            // HunyuanVideo has no index, and what users add has folders of its own.
            (
                "config.json transformer/a/config.json transformer/a/w.safetensors transformer/b/w.safetensors \
                 text_encoder/README text_encoder/llm/model.safetensors text_encoder/G/checkpoints/m.pt",
                Some(&["text_encoder/G/checkpoints", "text_encoder/llm", "transformer/a", "transformer/b"]),
            ),
            ("a/config.json b/model.safetensors", Some(&["a", "b"])),
            ("a/original/consolidated.00.pth a/original/params.json b/model.gguf", Some(&["a", "b"])),
            // What lies below a model is the model's.
            ("a/model.safetensors a/onnx/model.safetensors b/model.safetensors", Some(&["a", "b"])),
            // One model, or one folder too high.
            ("model.safetensors a/model.safetensors b/model.safetensors", None),
            ("a/model.safetensors notes.txt", None),
            ("a/config.json b/config.json", None),
            // Steps of a run, and caches.
            ("model_index.json vae/w.safetensors checkpoint-5/vae/w.safetensors", Some(&["vae"])),
            (".a/model.safetensors b/model.safetensors", None),
            // Ranks of a trainer.
            ("mp_rank_00/model_optim_rng.pt mp_rank_01/model_optim_rng.pt", None),
        ];
        for (names, expected) in cases {
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(models(names), expected, "{names}");
        }
    }
}
