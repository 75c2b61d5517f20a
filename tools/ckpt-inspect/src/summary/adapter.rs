//! What an adapter changes, from its names, its shapes and its config.

use ckpt::adapters;
use ckpt::bytes::to_u64;
use ckpt::document::Adapter;
use ckpt::layouts::Checkpoint;

/// The field of an adapter; `None` for a model.
pub(super) fn of(checkpoint: &Checkpoint) -> Option<Adapter> {
    let adapter = adapters::of(checkpoint)?;
    Some(Adapter {
        kind: adapter.kind(),
        names: adapter.scheme.name().to_owned(),
        rank: adapter.rank(),
        alpha: adapter.alpha(),
        rslora: adapter.is_rslora(),
        modules: to_u64(adapter.modules.len()),
        targets: adapter.targets().into_iter().map(str::to_owned).collect(),
        base: adapter.base().map(str::to_owned),
        config: checkpoint.adapter.as_ref().map(|config| config.name.clone()),
    })
}
