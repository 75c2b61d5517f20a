//! GGUF files: the parts of one that was split, and the config that their keys amount to.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::tree::Tree;
use super::{Checkpoint, Family, Json, Shard, names, tree};
use crate::archs::{Arch, KEYS, Naming};
use crate::bytes::to_u64;
use crate::facts::{Finding, Id};
use crate::formats::Format;

/// Keys of the vocabulary, and what `config.json` calls the same.
const IDS: &[(&str, &str)] = &[
    ("tokenizer.ggml.bos_token_id", "bos_token_id"),
    ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ("tokenizer.ggml.padding_token_id", "pad_token_id"),
];

/// What `config.json` calls the widths of an expert's layer, and of the experts' that every token takes.
const EXPERT_WIDTH: &str = "moe_intermediate_size";
const SHARED_WIDTH: &str = "shared_expert_intermediate_size";

/// The files of a path that names one file: the other parts come along if it is one part of a split GGUF.
pub(super) fn with_parts(path: &Path, data: &fs::Metadata) -> Tree {
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let stem = own.as_deref().and_then(stem);
    let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    if let (Some(stem), Some(folder)) = (stem, folder)
        && let Ok(entries) = fs::read_dir(folder)
    {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut parts: Vec<String> = names.filter(|name| self::stem(name) == Some(stem)).collect();
        parts.sort();
        if parts.len() > 1 {
            return tree::several(folder, parts);
        }
    }
    tree::single(path, data)
}

/// What the names of all parts have in common: `NAME` and `00003` of `NAME-00001-of-00003.gguf`.
fn stem(name: &str) -> Option<(&str, u64)> {
    let (_, of) = names::shard_number(name)?;
    let (before, _) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    Some((before.rsplit_once('-')?.0, of))
}

fn value<'a>(shard: &'a Shard, key: &str) -> Option<&'a Value> {
    shard.objects.iter().find(|object| object.path == key).map(|object| &object.value)
}

/// Takes from the keys of the checkpoint's GGUF files what other layouts have in files of their own.
pub(super) fn complete(checkpoint: &mut Checkpoint) {
    if !checkpoint.shards.iter().any(|shard| shard.format == Format::Gguf) {
        return;
    }
    missing_parts(checkpoint);
    if let Some(config) = config(checkpoint) {
        let experts = config.value.get("num_local_experts").and_then(Value::as_u64).is_some_and(|count| count > 0);
        let named = config.value.get("model_type").and_then(Value::as_str);
        let arch = named.and_then(|architecture| Arch::of_gguf(architecture, experts));
        let names = || checkpoint.tensors.iter().map(|tensor| tensor.name.as_str());
        let named = arch.filter(|arch| names().any(|name| arch.find(Naming::Gguf, name).is_some()));
        checkpoint.family =
            named.map(|arch| Family { arch, naming: Naming::Gguf, from: "general.architecture".to_owned() });
        checkpoint.config = Some(config);
    }
}

/// A split file says how many parts it has; here is whether they are there, and fit together.
fn missing_parts(checkpoint: &mut Checkpoint) {
    let Some(first) = checkpoint.shards.iter().find(|shard| value(shard, "split.count").is_some()) else { return };
    let number = |key: &str| value(first, key).and_then(Value::as_u64);
    let (Some(count), name) = (number("split.count").filter(|count| *count > 1), first.name.clone()) else { return };
    let has = |part: u64| {
        let own = |shard: &&Shard| value(shard, "split.no").and_then(Value::as_u64) == Some(part);
        checkpoint.shards.iter().any(|shard| own(&shard))
    };
    let stem = stem(&name).map(|(stem, _)| stem.to_owned());
    // A count is sixteen bits in the file, but other numbers can be written there.
    let gone: Vec<u64> = (0..count.min(u64::from(u16::MAX))).filter(|part| !has(*part)).collect();
    for part in &gone {
        let part = part.saturating_add(1);
        let file = stem.as_ref().map_or_else(|| name.clone(), |stem| format!("{stem}-{part:05}-of-{count:05}.gguf"));
        let message = format!("part {part} of {count} is missing");
        checkpoint.findings.push(Finding::new(Id::ShardMissing, message).in_file(file));
    }
    let held = to_u64(checkpoint.tensors.len());
    if let Some(all) = number("split.tensors.count").filter(|all| gone.is_empty() && *all != held) {
        let message = "the parts do not hold the number of tensors that they say all have together";
        checkpoint.findings.push(Finding::new(Id::ShardMismatch, message).in_file(name).needed(all, held));
    }
}

/// The keys as a `config.json` would say them, those of the first part that has any.
fn config(checkpoint: &Checkpoint) -> Option<Json> {
    let named = |shard: &&Shard| value(shard, "general.architecture").is_some_and(Value::is_string);
    let shard = checkpoint.shards.iter().find(named)?;
    let architecture = value(shard, "general.architecture")?.as_str()?;
    let mut config = Map::new();
    config.insert("model_type".to_owned(), architecture.into());
    for key in KEYS {
        let found = value(shard, &format!("{architecture}.{}", key.gguf));
        // An array has one size a layer, where layers differ.
        if let (Some(value), Some(name)) = (found.filter(|value| value.is_number()), key.hf.first()) {
            config.insert((*name).to_owned(), value.clone());
        }
    }
    for (key, name) in IDS {
        if let Some(id) = value(shard, key).filter(|value| value.is_u64()) {
            config.insert((*name).to_owned(), id.clone());
        }
    }
    let rows = |name: &str| checkpoint.tensor(name).and_then(|tensor| tensor.recipe.shape.first().copied());
    if let Some(rows) = rows("token_embd.weight") {
        // The embedding has a row for every token; a model without a head of its own has the embedding's.
        config.insert("vocab_size".to_owned(), rows.into());
        config.insert("tie_word_embeddings".to_owned(), checkpoint.tensor("output.weight").is_none().into());
    }
    // Files from before there were keys for them.
    for (name, widths) in [("blk.0.ffn_gate_exps.weight", EXPERT_WIDTH), ("blk.0.ffn_gate_shexp.weight", SHARED_WIDTH)]
    {
        let shape = checkpoint.tensor(name).map(|tensor| tensor.recipe.shape.as_slice());
        if let (Some([.., rows, _]), false) = (shape, architecture == "llama" || config.contains_key(widths)) {
            config.insert(widths.to_owned(), (*rows).into());
        }
    }
    let key = |name: &str| value(shard, &format!("{architecture}.rope.scaling.{name}"));
    if let Some(kind) = key("type").and_then(Value::as_str).filter(|kind| *kind != "none") {
        let mut scaling = json!({"rope_type": kind});
        if let Some(fields) = scaling.as_object_mut() {
            for (name, own) in [("factor", "factor"), ("original_context_length", "original_max_position_embeddings")] {
                if let Some(value) = key(name) {
                    fields.insert(own.to_owned(), value.clone());
                }
            }
        }
        config.insert("rope_scaling".to_owned(), scaling);
    }
    Some(Json { name: shard.name.clone(), value: Value::Object(config) })
}
