//! `--expect hf`: transformers will load it.

use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Layout;

use super::fix::{Fix, convert};
use crate::case::{Case, model_type};
use crate::rules::tokenizer;

/// Weights in Hugging Face's form with their index, a config that says which model, a tokenizer. That no tensor is
/// missing the rules have checked already.
pub(super) fn check(case: &Case<'_>, _: &Context) -> Vec<Finding> {
    let checkpoint = case.checkpoint;
    let fix = || convert(case, &[("hf", "")]);
    if checkpoint.layout != Layout::Hf {
        let message = match checkpoint.layout {
            Layout::File => "one file is not what transformers loads; give its folder",
            Layout::Meta => "the weights are in Meta's format, which transformers does not load",
            Layout::Mistral => "the weights are in Mistral's own format, which transformers does not load",
            Layout::Dcp | Layout::DeepSpeed | Layout::Megatron => {
                "the weights lie in the chunks of a training run, which transformers does not load"
            }
            Layout::Adapter => "this is an adapter, which is loaded on top of its base",
            Layout::Hf | Layout::Directory => "no weight file has a name that transformers looks for",
        };
        let finding = Finding::new(Id::ExpectLayout, message).needed("hf", checkpoint.layout.name());
        return vec![mended(finding, fix())];
    }
    let mut findings = Vec::new();
    if checkpoint.findings.iter().any(|finding| finding.id == Id::IndexInvalid) {
        let message = "transformers finds shards by their index";
        let finding = Finding::new(Id::ExpectFile, message).in_file("model.safetensors.index.json");
        findings.push(mended(finding, fix()));
    }
    let config = checkpoint.root_file("config.json");
    if config.is_none() {
        // Only Meta's params.json could stand in for it.
        let message = "transformers cannot tell which model this is";
        findings.push(Finding::new(Id::ExpectFile, message).in_file("config.json"));
    } else if checkpoint.config.is_some() && model_type(checkpoint).is_none() {
        let message = "the config has no model_type, by which transformers chooses the model";
        findings.push(Finding::new(Id::ExpectFormat, message).in_file("config.json").needed("model_type", "none"));
    }
    if !tokenizer::has_hf_files(case) {
        let message = "there is no tokenizer that AutoTokenizer could load";
        let finding = Finding::new(Id::ExpectFile, message).in_file("tokenizer.json");
        let elsewhere = ["original/tokenizer.model", "../tokenizer.model"];
        let found = elsewhere.into_iter().any(|name| checkpoint.root_file(name).is_some());
        findings.push(mended(finding, fix().filter(|_| found && config.is_some())));
    }
    findings
}

/// A finding with the command that mends it, if there is one.
pub(super) fn mended(finding: Finding, fix: Option<Fix>) -> Finding {
    let Some(fix) = fix else { return finding };
    let message =
        format!("{}; the command makes {}, which is then the one to use", finding.message, fix.target.display());
    Finding { message, ..finding }.fix(fix.command)
}
