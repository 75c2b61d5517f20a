//! `--expect meta`: Meta's own code will load it, with `strict=True` where it does so (Llama 3 and later).

use ckpt::archs::{Naming, Need};
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id, limits};
use ckpt::layouts::{self, Layout, names};
use ckpt::tokenizers::{self, Summary};
use serde_json::Value;

use super::fix::convert;
use super::hf::mended;
use crate::case::Case;
use crate::rules;

pub(super) fn check(case: &Case<'_>, context: &Context) -> Vec<Finding> {
    let checkpoint = case.checkpoint;
    if checkpoint.layout == Layout::Meta {
        return readiness(case);
    }
    if checkpoint.also.iter().any(|also| also.starts_with("meta")) {
        // The hub's layout holds both; Meta's half has been looked at by nobody yet.
        let half = match layouts::open(&checkpoint.path, Some(Layout::Meta), context.jobs.get()) {
            Ok(half) => half,
            Err(error) => return vec![Finding::new(Id::FileUnreadable, format!("{error:#}"))],
        };
        let half = Case::new(&half);
        let mut findings = rules::check(&half, context);
        findings.retain(|finding| !checkpoint.findings.contains(finding));
        findings.extend(readiness(&half));
        return findings;
    }
    let message = match checkpoint.layout {
        Layout::File => "one file is not what Meta's code loads; give its folder",
        _ => "the weights are not in Meta's format",
    };
    let finding = Finding::new(Id::ExpectLayout, message).needed("meta", checkpoint.layout.name());
    vec![mended(finding, convert(case, &[("meta", "")]))]
}

/// What Meta's loaders need: the ranks and no other `*.pth`, params.json, tokenizer.model, and the exact set of names.
/// That the ranks are complete and fit together the layout has checked already.
fn readiness(case: &Case<'_>) -> Vec<Finding> {
    let fix = || convert(case, &[("meta", "")]);
    let folder = case.checkpoint.weights.to_string_lossy().into_owned();
    let mut findings = Vec::new();
    for entry in &case.checkpoint.files {
        let Some(own) = entry.name.strip_prefix(&folder).filter(|own| own.ends_with(".pth") && !own.contains('/'))
        else {
            continue;
        };
        if names::meta_rank(own).is_none() {
            // `sorted(glob("*.pth"))` of `llama3/generation.py`.
            let message = "Meta's loader takes every *.pth here for a rank";
            findings.push(mended(Finding::new(Id::ExpectExtraFile, message).in_file(entry.name.clone()), fix()));
        }
    }
    let params = format!("{folder}params.json");
    if case.checkpoint.root_file(&params).is_none() {
        let message = "Meta's code builds the model from it";
        findings.push(Finding::new(Id::ExpectFile, message).in_file(params.clone()));
    } else if case.checkpoint.config.is_some() {
        // `ModelArgs` has defaults for these that are those of one size of the model only.
        for key in ["dim", "n_layers", "n_heads"] {
            if case.setting(key).and_then(Value::as_u64).is_none() {
                let message = format!("params.json does not say {key}");
                findings.push(Finding::new(Id::ExpectFormat, message).in_file(params.clone()).needed(key, "none"));
            }
        }
    }
    let found = rules::tokenizer::meta_names(case).into_iter().find(|name| case.checkpoint.root_file(name).is_some());
    let tokenizer = found.as_deref().and_then(|name| read(case, name));
    if found.is_none() {
        let message = "Meta's code reads the tokenizer from it";
        findings.push(Finding::new(Id::ExpectFile, message).in_file(format!("{folder}tokenizer.model")));
    } else if let Some(tokenizer) =
        tokenizer.as_ref().filter(|tokenizer| !["tiktoken", "sentencepiece"].contains(&tokenizer.kind))
    {
        let message =
            format!("Meta's code reads tiktoken ranks or a SentencePiece model, and this is {}", tokenizer.kind);
        findings.push(Finding::new(Id::ExpectFormat, message).in_file(found.clone().unwrap_or_default()));
    }
    if is_strict(case, tokenizer.as_ref()) {
        findings.extend(strict(case, &params, tokenizer.as_ref()).into_iter().map(|finding| mended(finding, fix())));
    }
    findings
}

/// What can be said of the tokenizer; a defect is the rules' to tell.
fn read(case: &Case<'_>, name: &str) -> Option<Summary> {
    let file = case.checkpoint.small_file(name, limits::TOKENIZER).ok()??;
    Some(tokenizers::read(&file).ok()?.summary())
}

/// Llama 3 and later are loaded with `strict=True`: told by the tokenizer, else by a vocabulary that only they have.
fn is_strict(case: &Case<'_>, tokenizer: Option<&Summary>) -> bool {
    let rows = case.embedding().and_then(|embedding| embedding.recipe.shape.first().copied());
    tokenizer.map_or(rows.is_some_and(|rows| rows >= 128_000), |tokenizer| tokenizer.kind == "tiktoken")
}

/// Names that a strict load refuses. Missing ones the rules have told.
fn strict(case: &Case<'_>, params: &str, tokenizer: Option<&Summary>) -> Vec<Finding> {
    let Some((arch, Naming::Meta)) = case.family else { return Vec::new() };
    let mut findings = Vec::new();
    for tensor in &case.checkpoint.tensors {
        let message = match arch.find(Naming::Meta, &tensor.name) {
            Some(found) if found.row.need == Need::Derived => "Llama 3 computes this buffer and refuses to load it",
            Some(_) => continue,
            None => "Llama 3 is loaded strictly, and has no tensor of this name",
        };
        if findings.len() < limits::FINDINGS {
            findings.push(case.about(Id::ExpectFormat, tensor, message));
        }
    }
    // `assert model_args.vocab_size == tokenizer.n_words` of `llama3/generation.py`.
    let vocab = case.setting("vocab_size").and_then(Value::as_i64).unwrap_or(-1);
    if let Some(tokenizer) = tokenizer.filter(|tokenizer| i64::try_from(tokenizer.ids) != Ok(vocab)) {
        let message = "Llama 3 insists that vocab_size is the number of the tokenizer's ids";
        findings.push(Finding::new(Id::ExpectFormat, message).in_file(params).needed(tokenizer.ids, vocab));
    }
    findings
}
