//! Figures of values (`--stats`): the one thing that is not told from headers.

use anyhow::Result;
use ckpt::cli::Context;
use ckpt::document::Stats;
use ckpt::facts::{Recipe, Tensor};
use ckpt::layouts::Checkpoint;
use ckpt::plan::read::Reader;
use ckpt::plan::scan;

/// The figures of the tensors to be shown, sorted by name. A tensor without data has none.
///
/// # Errors
/// Those of reading.
pub(crate) fn of(checkpoint: &Checkpoint, shown: &dyn Fn(&str) -> bool, context: &Context) -> Result<Vec<Stats>> {
    let has_data = |tensor: &&Tensor| tensor.recipe.absent().is_none();
    let mut tensors: Vec<&Tensor> =
        checkpoint.tensors.iter().filter(has_data).filter(|tensor| shown(&tensor.name)).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let recipes: Vec<&Recipe> = tensors.iter().map(|tensor| &tensor.recipe).collect();
    let reader = Reader::new(&checkpoint.pool);
    let scanned = scan::scan(&reader, &[], &recipes, true, context.jobs.get(), &context.progress)?;
    let rows = tensors.iter().zip(&scanned.values);
    Ok(rows.filter_map(|(tensor, seen)| Stats::of(&tensor.name, &tensor.recipe, seen)).collect())
}
