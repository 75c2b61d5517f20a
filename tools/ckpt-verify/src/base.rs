//! `--base`: whether an adapter fits the model it belongs on.

use std::path::Path;

use anyhow::{Context as _, Result};
use ckpt::adapters;
use ckpt::cli::{Context, Refusal};
use ckpt::facts::Finding;
use ckpt::layouts;

use crate::case::Case;
use crate::rules::adapters::on_base;

/// Looks for every module of the adapter in the base.
///
/// # Errors
/// Those of opening the base; a refusal for a checkpoint that is no adapter.
pub(crate) fn check(case: &Case<'_>, base: &Path, context: &Context) -> Result<Vec<Finding>> {
    if adapters::of(case.checkpoint).is_none() {
        let help = "to compare two models, use --against";
        return Err(Refusal::new("--base is for an adapter, and this is a model", help).into());
    }
    let shown = base.display();
    let opened =
        layouts::open_weights(base, None, context.weights, context.jobs.get()).with_context(|| shown.to_string())?;
    if let Some(damage) = opened.damage().filter(|_| opened.tensors.is_empty()) {
        return Err(anyhow::Error::new(damage.clone()).context(shown.to_string()));
    }
    Ok(on_base(case, &opened))
}
