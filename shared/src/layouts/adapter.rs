//! Adapters: the small matrices that fine-tuning puts beside a model's own. PEFT keeps them in a folder with their
//! config; torchtune and llama-stack in a file of their own, on top of an epoch's folder or in `adapter/` below it.

use std::path::PathBuf;

use super::tree::Entry;
use super::{Checkpoint, Layout, shards};
use crate::facts::FileId;

/// PEFT's config, and that of torchtune's saves in Hugging Face's form.
pub const CONFIG: &str = "adapter_config.json";

/// Weight files of PEFT (`WEIGHTS_NAME`, `SAFETENSORS_WEIGHTS_NAME`), which stand beside a config.
const PEFT: &[&str] = &["adapter_model.safetensors", "adapter_model.bin"];

/// Those of torchtune since 0.5 and of llama-stack in Meta's form. torchtune before named the epoch: `adapter_0.pt`.
const TUNE: &[&str] = &["adapter_model.pt", "adapter.pth"];

/// Folders of a save that may hold its adapter; llama-stack's has one of its own.
const FOLDERS: &[&str] = &["", "adapter/"];

/// What the tensors of low-rank adapters are called: PEFT's `lora_A`, torchtune's `lora_a`.
const PARTS: &[&str] = &[".lora_A.", ".lora_a.", ".lora_embedding_A"];

/// Whether a file's own name is that of an adapter's weights.
pub(super) fn is_one(name: &str) -> bool {
    let own = name.rsplit('/').next().unwrap_or(name);
    let epoch = own.strip_prefix("adapter_").and_then(|rest| rest.strip_suffix(".pt"));
    PEFT.contains(&own) || TUNE.contains(&own) || epoch.is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The adapter of a folder: that which has its config beside it, for only that one says its alpha; else the first.
pub(super) fn find(entries: &[Entry]) -> Option<FileId> {
    let has = |name: &str| entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok();
    let whole = FOLDERS.iter().filter(|folder| has(&format!("{folder}{CONFIG}")).is_some()).find_map(|folder| {
        let mut files = PEFT.iter().chain(TUNE);
        files.find_map(|file| has(&format!("{folder}{file}")))
    });
    let any = || {
        let in_folder = |name: &str, folder: &str| name.strip_prefix(folder).is_some_and(|own| !own.contains('/'));
        FOLDERS
            .iter()
            .find_map(|folder| entries.iter().position(|entry| in_folder(&entry.name, folder) && is_one(&entry.name)))
    };
    whole.or_else(any).map(FileId)
}

/// torchtune's own file beside PEFT's, in the same folder or one above, as the same save leaves both.
pub fn torchtunes(checkpoint: &Checkpoint) -> Option<FileId> {
    let own = checkpoint.weights.join("adapter_model.pt");
    let file = [&*own.to_string_lossy(), "adapter_model.pt"].into_iter().find_map(|name| checkpoint.file(name));
    file.map(|(file, _)| file).filter(|_| checkpoint.layout == Layout::Adapter)
}

/// An adapter beside the weights of a model, in the words of `Checkpoint::also`.
pub(super) fn also(checkpoint: &Checkpoint) -> Option<String> {
    let file = find(&checkpoint.files)?;
    let folder =
        checkpoint.pool.name(file).rsplit_once('/').map_or("./".to_owned(), |(folder, _)| format!("{folder}/"));
    Some(format!("adapter at {folder}"))
}

/// Reads a folder as an adapter.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let file = find(&checkpoint.files);
    let name = file.map(|file| checkpoint.pool.name(file).to_owned()).unwrap_or_default();
    checkpoint.weights = PathBuf::from(name.rsplit_once('/').map_or("", |(folder, _)| folder));
    let read = shards::read(&mut checkpoint, file.as_slice(), jobs);
    shards::join(&mut checkpoint, read);
    // The folder of the weights comes first; llama-stack keeps torchtune's file one folder above the config.
    let own = checkpoint.weights.join(CONFIG).to_string_lossy().into_owned();
    settle(&mut checkpoint, &[&own, CONFIG, "adapter/adapter_config.json"]);
    checkpoint
}

/// Reads what stands beside a file that is an adapter.
pub(super) fn beside(checkpoint: &mut Checkpoint) {
    if looks_so(checkpoint) {
        settle(checkpoint, &[CONFIG, "adapter/adapter_config.json"]);
    }
}

/// Takes the first of these configs that is there, and the base model's, which tells how its rows lie.
fn settle(checkpoint: &mut Checkpoint, configs: &[&str]) {
    checkpoint.adapter = configs.iter().find_map(|name| checkpoint.json(name));
    let base = ["config.json", "params.json", "original/params.json", "../config.json", "../params.json"];
    checkpoint.config = base.iter().find_map(|name| {
        // What is wrong with a base model's file is no fault of the adapter.
        let text = checkpoint.small_file(name, crate::facts::limits::JSON).ok()??;
        let value = crate::formats::json::parse(&text).ok()?;
        Some(super::Json { name: (*name).to_owned(), value })
    });
}

/// Whether a checkpoint is an adapter and no model.
pub fn is_adapter(checkpoint: &Checkpoint) -> bool {
    checkpoint.layout == Layout::Adapter || looks_so(checkpoint)
}

/// Whether a file is an adapter's by its name, or its tensors are those of an adapter and of nothing else: a whole model
/// under training has its own weights beside them.
fn looks_so(checkpoint: &Checkpoint) -> bool {
    let names = || checkpoint.tensors.iter().map(|tensor| tensor.name.as_str());
    let is_part = |name: &str| PARTS.iter().any(|part| name.contains(part));
    let is_named = checkpoint.path.file_name().is_some_and(|name| is_one(&name.to_string_lossy()));
    let mostly = || {
        !names().any(|name| name.contains(".base_layer."))
            && names().filter(|name| is_part(name)).count().saturating_mul(4) >= checkpoint.tensors.len()
    };
    checkpoint.layout == Layout::File && names().any(is_part) && (is_named || mostly())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.into_iter().map(|name| Entry { name: name.to_owned(), path: PathBuf::new(), size: 0 }).collect()
    }

    #[test]
    fn the_adapter_with_its_config_is_the_one() {
        let found = |names: &[&str]| {
            let entries = entries(names);
            find(&entries).map(|file| entries[file.0].name.clone())
        };
        let stack = ["adapter_model.pt", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"];
        assert_eq!(found(&stack).as_deref(), Some("adapter/adapter_model.safetensors"));
        let tune = ["adapter_model.pt", "adapter_model.safetensors", "adapter_config.json"];
        assert_eq!(found(&tune).as_deref(), Some("adapter_model.safetensors"));
        assert_eq!(found(&["params.json", "adapter/adapter.pth"]).as_deref(), Some("adapter/adapter.pth"));
        assert_eq!(found(&["adapter_0.pt"]).as_deref(), Some("adapter_0.pt"));
        assert_eq!(found(&["adapter_best.pt", "x/adapter.pth"]), None);
    }
}
