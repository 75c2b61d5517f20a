//! `--expect peft`: `AutoPeftModelForCausalLM` will load it.

use ckpt::adapters::{self, Scheme};
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Layout;

use crate::case::Case;

/// PEFT's names and files, and a config that says all. The rules have said what is wrong with pairs and ranks.
pub(super) fn check(case: &Case<'_>, _: &Context) -> Vec<Finding> {
    let checkpoint = case.checkpoint;
    let Some(adapter) = adapters::of(checkpoint) else {
        let message = "this is a model and no adapter";
        return vec![Finding::new(Id::ExpectLayout, message).needed("adapter", checkpoint.layout.name())];
    };
    let file = checkpoint.shards.first().map_or("", |shard| shard.name.as_str());
    let own = file.rsplit('/').next().unwrap_or(file);
    if checkpoint.layout != Layout::Adapter || adapter.scheme != Scheme::Peft || !own.starts_with("adapter_model.") {
        let message = match adapter.scheme {
            Scheme::Peft => "PEFT loads a folder with adapter_model.safetensors and adapter_config.json",
            Scheme::Tune | Scheme::Meta => {
                "the adapter has names that PEFT does not know; `ckpt-convert ADAPTER --to peft` renames it"
            }
        };
        return vec![Finding::new(Id::ExpectLayout, message).needed("peft", adapter.scheme.name())];
    }
    let mut findings = Vec::new();
    if file != own {
        let folder = file.strip_suffix(own).unwrap_or_default();
        let message = format!("the adapter lies in {folder}, which is the folder to give to PEFT");
        findings.push(Finding::new(Id::ExpectLayout, message).in_file(file));
    }
    let keys = ["peft_type", "task_type", "base_model_name_or_path", "lora_alpha", "r", "target_modules"];
    let has =
        |key: &str| adapter.said.and_then(|said| said.get(key)).is_some_and(|value| !value.is_null() && value != "");
    for key in keys.into_iter().filter(|key| adapter.said.is_some() && !has(key)) {
        let name = checkpoint.adapter.as_ref().map_or("", |config| config.name.as_str());
        let message = "the config does not say what AutoPeftModelForCausalLM reads from it";
        findings.push(Finding::new(Id::ExpectFormat, message).in_file(name).needed(key, "none"));
    }
    findings
}
