//! `--to hub`: a Meta download as the hub has it: config and tokenizer on top, the weights under `original/`.
//!
//! A job that saves in Hugging Face's form looks for `config.json` one folder above its weights; this gives it one,
//! and copies no weight.

use anyhow::Result;
use ckpt::archs::Naming;

use super::{Job, seeing};
use crate::draft::{Content, Draft};
use crate::options::refuse;

/// Plans the layout.
///
/// # Errors
/// For a source that is no Meta download; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let checkpoint = job.checkpoint;
    let is_meta = checkpoint.layout == ckpt::layouts::Layout::Meta
        && checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    if !is_meta {
        let help = "make one first with `--to meta`";
        return refuse("the hub layout is made of a Meta download, and this is none", help);
    }
    if job.options.dtype.is_some() || !job.options.select.is_empty() || !job.options.exclude.is_empty() {
        return refuse("the hub layout takes the weights as they are", "convert with --to hf or --to meta first");
    }
    let mut draft = Draft::default();
    let (table, tied) = job.table()?;
    seeing::described(job, &table, tied, &mut draft)?;
    let folder = checkpoint.weights.to_string_lossy().into_owned();
    for entry in &checkpoint.files {
        let Some(own) = entry.name.strip_prefix(&folder).filter(|own| !own.contains('/')) else { continue };
        let is_weights = checkpoint.shards.iter().any(|shard| shard.name == entry.name);
        let beside = ["params.json", "checklist.chk"].contains(&own) || own.starts_with("orig_params");
        if is_weights {
            draft.files.insert(format!("original/{own}"), Content::Linked(entry.path.clone()));
        } else if beside {
            draft.files.insert(format!("original/{own}"), Content::Copied(entry.path.clone()));
        } else {
            draft.files.entry(own.to_owned()).or_insert_with(|| Content::Copied(entry.path.clone()));
        }
    }
    if let Some(found) = super::tokenizer::model(checkpoint)? {
        draft.files.insert("original/tokenizer.model".to_owned(), Content::Copied(found.path));
    }
    Ok(draft)
}
