//! `--merge-adapter`: the base's tensors with an adapter merged into them, before they are made another kind.

use std::path::Path;

use anyhow::{Context as _, Result};
use ckpt::adapters;
use ckpt::cli::Context;
use ckpt::facts::{FileId, Finding};
use ckpt::layouts::{self, Checkpoint};

use crate::kinds::adapter::{fits, no_alpha, plain, turned, whole};
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
    // What is said of the adapter names its file and not one of the base's.
    let (root, own) = (opened.root(), opened.shards.first().map_or("", |shard| shard.name.as_str()).to_owned());
    let place = |error: anyhow::Error| match error.downcast::<Finding>() {
        Ok(mut finding) => {
            let file = root.join(finding.file.as_deref().unwrap_or(&own));
            finding.file = Some(file.to_string_lossy().into_owned());
            finding.into()
        }
        Err(error) => error.context(shown.to_string()),
    };
    if let Some(damage) = opened.damage() {
        return Err(place(damage.clone().into()));
    }
    if let Some(adapter) = adapters::of(&opened) {
        turned(&adapter, &opened, context).map_err(place)?;
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
    whole(&adapter).and_then(|()| plain(&adapter, "merged")).map_err(place)?;
    fits(&adapter, &opened, base)?;
    let fit = adapters::fit(&adapter, base);
    let scale = |module: &adapters::Module<'_>| {
        let scale = adapter.scale(module, options.alpha).map_err(|finding| place(finding.into()))?;
        scale.ok_or_else(|| no_alpha().into())
    };
    // Whoever names a type has the sums rounded once, to that.
    let wide = options.dtype.is_some() || options.gguf_type.is_some();
    let how = adapters::How { math: options.merge_math.math(), wide };
    adapters::merged(&adapter, &fit, base, how, &scale).with_context(|| shown.to_string())
}
