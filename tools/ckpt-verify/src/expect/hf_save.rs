//! `--expect hf-save`: a job that starts from Meta's files and saves in Hugging Face's format will find what it needs.
//!
//! llama-stack's torchtune checkpointer (0.2.12, `TorchtuneCheckpointer`) takes the folder of `consolidated.*.pth` for
//! its checkpoint, loads the one `*.pth` there, and at the end of the training reads `config.json` in the *parent* of
//! that folder: the layout of the hub, where Meta's files lie in `original/`. A download from Meta has them on top.

use std::path::{Path, PathBuf};

use ckpt::archs::{Naming, Size, Sizes, llama};
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id, limits};
use ckpt::formats::json;
use ckpt::layouts::names;
use serde_json::Value;

use super::fix::{Fix, convert};
use crate::case::Case;

/// The folder that the job will call its checkpoint, and what lies there.
struct Start<'a> {
    /// Relative to the path: empty or `original/`.
    folder: &'static str,
    /// Names of every `*.pth` in it.
    weights: Vec<&'a str>,
}

pub(super) fn check(case: &Case<'_>, _: &Context) -> Vec<Finding> {
    let Some(start) = ["", "original/"].into_iter().find_map(|folder| start(case, folder)) else {
        let message = "there is no consolidated.*.pth for the job to start from";
        let finding = Finding::new(Id::ExpectLayout, message).needed("meta", case.checkpoint.layout.name());
        return vec![mended(finding, convert(case, &[("meta", " --mp 1"), ("hub", "")]))];
    };
    let ranks = start.weights.iter().filter(|name| rank(start.folder, name).is_some()).count();
    let fix = || {
        if ranks == 1 { convert(case, &[("hub", "")]) } else { convert(case, &[("meta", " --mp 1"), ("hub", "")]) }
    };
    let mut findings: Vec<Finding> = Vec::new();
    if let [_, second, ..] = start.weights.as_slice() {
        let extra = start.weights.iter().rev().find(|name| rank(start.folder, name).is_none()).unwrap_or(second);
        let message = "the job loads exactly one *.pth";
        let finding = Finding::new(Id::ExpectExtraFile, message).in_file(*extra);
        findings.push(mended(finding.needed("1 file", format!("{} files", start.weights.len())), fix()));
    }
    findings.extend(config(case, &start).map(|finding| mended(finding, fix())));
    let tokenizer = format!("{}tokenizer.model", start.folder);
    if case.checkpoint.root_file(&tokenizer).is_none() {
        let message = "the job reads the tokenizer beside the weights";
        // One folder up it can be linked from; from nowhere it cannot.
        let found =
            crate::rules::tokenizer::meta_names(case).iter().any(|name| case.checkpoint.root_file(name).is_some());
        let finding = Finding::new(Id::ExpectFile, message).in_file(tokenizer);
        findings.push(mended(finding, fix().filter(|_| found)));
    }
    findings
}

/// The rank of a file of that folder.
fn rank(folder: &str, name: &str) -> Option<u64> {
    name.strip_prefix(folder).and_then(names::meta_rank)
}

/// The folder, if it holds Meta's weights.
fn start<'a>(case: &Case<'a>, folder: &'static str) -> Option<Start<'a>> {
    let inside = case.checkpoint.files.iter().filter_map(|entry| {
        let own = entry.name.strip_prefix(folder)?;
        (own.ends_with(".pth") && !own.contains('/')).then_some(entry.name.as_str())
    });
    let weights: Vec<&str> = inside.collect();
    // A file given alone has no folder that was looked at.
    let has = weights.iter().any(|name| rank(folder, name).is_some()) && case.checkpoint.path.is_dir();
    has.then_some(Start { folder, weights })
}

/// What is wrong with the config that the save will read.
fn config(case: &Case<'_>, start: &Start<'_>) -> Option<Finding> {
    let root = &case.checkpoint.path;
    let (place, name) =
        if start.folder.is_empty() { (parent(root), "../config.json") } else { (root.clone(), "config.json") };
    let path = place.join("config.json");
    if !path.is_file() {
        let beside = start.folder.is_empty() && root.join("config.json").is_file();
        let message = if beside {
            "config.json is not where the save will look: it stands beside the weights and not one folder up"
        } else {
            "config.json is not where the save will look: this is a Meta download"
        };
        let finding = Finding::new(Id::ExpectFile, message).in_file(name);
        return Some(finding.needed(path.display(), "nothing"));
    }
    let format = |message: String| Some(Finding::new(Id::ExpectFormat, message).in_file(name));
    let read =
        std::fs::metadata(&path).ok().filter(|data| data.len() <= limits::JSON).and_then(|_| std::fs::read(&path).ok());
    let Some(value) = read.and_then(|text| json::parse(&text).ok()) else {
        return format("the save reads this config.json, and it cannot be parsed".to_owned());
    };
    // What `_save_hf_format_checkpoint` asks it for.
    let keys = ["num_attention_heads", "num_key_value_heads", "hidden_size"];
    if let Some(key) = keys.into_iter().find(|key| value.get(*key).and_then(Value::as_u64).is_none()) {
        return format(format!("the save reads {key} from this config.json, and it is not there"));
    }
    let theirs = Sizes::of(&llama::LLAMA, Naming::Hf, Some(&value));
    let (size, (wanted, found)) = [Size::Dim, Size::Heads, Size::KvHeads].into_iter().find_map(|size| {
        let pair = (case.sizes.get(size)?, theirs.get(size)?);
        (case.family?.1 == Naming::Meta && pair.0 != pair.1).then_some((size, pair))
    })?;
    let finding = format(format!("this config.json is another model's: its {size:?} differs from that of params.json"));
    finding.map(|finding| finding.needed(wanted, found))
}

/// The parent as the job's `Path.parent` has it: the path without its last part, links not followed.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if path.file_name().is_some() => {
            if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            }
        }
        _ => path.join(".."),
    }
}

/// A finding with the command that mends it. The job must then start from what the command makes.
fn mended(finding: Finding, fix: Option<Fix>) -> Finding {
    let Some(fix) = fix else { return finding };
    let start = fix.target.join("original");
    let message = format!("{}; let the job start from {}, which the command makes", finding.message, start.display());
    Finding { message, ..finding }.fix(fix.command)
}
