//! `--merge-adapter`: the base's tensors with an adapter merged into them, before they are made another kind.

use std::path::Path;

use anyhow::{Context as _, Result};
use ckpt::adapters;
use ckpt::cli::Context;
use ckpt::facts::FileId;
use ckpt::layouts::{self, Checkpoint};

use crate::kinds::adapter::{fits, no_alpha, turned, whole};
use crate::options::{Options, refuse};

/// Opens the adapter and puts it into the base's tensors. Nothing is computed yet.
///
/// # Errors
/// Those of opening it; what is wrong with it; what does not fit the base.
pub(crate) fn merge(options: &Options, base: &mut Checkpoint, path: &Path, context: &Context) -> Result<()> {
    let shown = path.display();
    if layouts::is_adapter(base) {
        return refuse("the source is an adapter itself", "give the base model as the source");
    }
    let mut opened = layouts::open(path, None, context.jobs.get())?;
    if let Some(damage) = opened.damage() {
        return Err(anyhow::Error::new(damage.clone()).context(shown.to_string()));
    }
    if let Some(adapter) = adapters::of(&opened) {
        turned(&adapter, &opened, context).with_context(|| shown.to_string())?;
    }
    let first = base.pool.len();
    for number in 0..opened.pool.len() {
        let Some(file) = opened.pool.path(FileId(number)).map(Path::to_owned) else { continue };
        let name = opened.root().join(opened.pool.name(FileId(number)));
        base.pool.add(file, name.to_string_lossy().into_owned());
    }
    for tensor in &mut opened.tensors {
        tensor.recipe.relocate(&|file, place| (FileId(file.0.saturating_add(first)), place));
    }
    let Some(mut adapter) = adapters::of(&opened) else {
        let help = "give the folder with adapter_model.safetensors, or torchtune's adapter file";
        return refuse(format!("{shown} is no adapter"), help);
    };
    adapter.settle(base);
    whole(&adapter).with_context(|| shown.to_string())?;
    fits(&adapter, &opened, base)?;
    let fit = adapters::fit(&adapter, base);
    let scale = |module: &adapters::Module<'_>| {
        adapter.scale(module, options.alpha).ok_or_else(|| anyhow::Error::new(no_alpha()))
    };
    adapters::merged(&adapter, &fit, base, options.merge_math.math(), &scale).with_context(|| shown.to_string())
}
