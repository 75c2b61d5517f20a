//! What differs between two checkpoints, from headers: names, shapes, dtypes, config (`--diff`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ckpt::archs::{Naming, Need};
use ckpt::canonical;
use ckpt::document::{Changed, ConfigChange, Diff, Geometry, Tensor, YesNo};
use ckpt::layouts::Checkpoint;
use serde_json::{Map, Value};

use super::{config, family, tensors, tied, tokenizer};

/// The differences, of the tensors to be shown. Names are Hugging Face's if both families are known and only one of
/// the two checkpoints has Meta's; then derived buffers and a tied head, which one of them need not store, are left
/// out.
pub(crate) fn between(here: &Checkpoint, there: &Checkpoint, other: &Path, shown: &dyn Fn(&str) -> bool) -> Diff {
    let naming = |checkpoint: &Checkpoint| checkpoint.family.as_ref().map(|family| (family.arch.name, family.naming));
    let canonical = match (naming(here), naming(there)) {
        (Some((a, first)), Some((b, second))) => a == b && first != second,
        _ => false,
    };
    let (ours, theirs) = (table(here, canonical, shown), table(there, canonical, shown));
    let only = |of: &BTreeMap<String, Tensor>, not: &BTreeMap<String, Tensor>| {
        let missing = of.iter().filter(|(name, _)| !not.contains_key(*name));
        missing.map(|(name, tensor)| Tensor { name: name.clone(), ..tensor.clone() }).collect::<Vec<_>>()
    };
    let geometry = |tensor: &Tensor| Geometry { dtype: tensor.dtype.clone(), shape: tensor.shape.clone() };
    let changed = |(name, tensor): (&String, &Tensor)| {
        let (here, there) = (geometry(tensor), geometry(theirs.get(name)?));
        (here != there).then(|| Changed { name: name.clone(), here, there })
    };
    Diff {
        other: other.to_string_lossy().into_owned(),
        only_here: only(&ours, &theirs),
        only_there: only(&theirs, &ours),
        changed: ours.iter().filter_map(changed).collect(),
        config: settings(here, there),
    }
}

/// Tensors by the name they are compared under.
fn table(checkpoint: &Checkpoint, canonical: bool, shown: &dyn Fn(&str) -> bool) -> BTreeMap<String, Tensor> {
    let tied = canonical && tied::of(checkpoint).head == YesNo::Yes;
    let mut table = BTreeMap::new();
    for tensor in checkpoint.tensors.iter().filter(|tensor| shown(&tensor.name)) {
        // What is cut otherwise there has no name of Hugging Face's by itself.
        let family = checkpoint.family.as_ref().filter(|family| canonical && family.arch.in_hf().is_none());
        let found = family.and_then(|family| family.arch.find(family.naming, &tensor.name));
        let left_out = match found.map(|found| found.row.need) {
            Some(Need::Derived) => true,
            Some(Need::Head) => tied,
            Some(Need::Always | Need::Where(_) | Need::With(_)) => false,
            None => canonical && canonical::is_derived(&tensor.name),
        };
        if !left_out {
            let name = found.and_then(|found| found.named(Naming::Hf));
            table.insert(name.unwrap_or_else(|| tensor.name.clone()), tensors::told(checkpoint, tensor));
        }
    }
    table
}

/// Settings that differ: key by key if both have the same kind of file, else the figures that both kinds state.
fn settings(here: &Checkpoint, there: &Checkpoint) -> Vec<ConfigChange> {
    let own = |name: &str| name.rsplit('/').next().map(str::to_owned);
    let kind = |checkpoint: &Checkpoint| checkpoint.config.as_ref().and_then(|config| own(&config.name));
    let (ours, theirs) = if kind(here) == kind(there) {
        let keys =
            |checkpoint: &Checkpoint| checkpoint.params().and_then(Value::as_object).cloned().unwrap_or_default();
        (keys(here), keys(there))
    } else {
        (figures(here), figures(there))
    };
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = |key: &String| {
        let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        let (here, there) = (value(&ours), value(&theirs));
        (here != there).then(|| ConfigChange { key: key.clone(), here, there })
    };
    keys.into_iter().filter_map(differs).collect()
}

/// The figures that a config of either kind states or implies, under the keys of `config.json`.
fn figures(checkpoint: &Checkpoint) -> Map<String, Value> {
    let tokenizer = tokenizer::find(checkpoint);
    let facts = family::facts(checkpoint, tokenizer.as_ref(), &tied::of(checkpoint));
    let config = config::of(checkpoint, facts.as_ref()).unwrap_or_default();
    let factor = facts.as_ref().and_then(|facts| facts.rope_scaling.as_ref()).map(|scaling| scaling.factor);
    let rows: [(&str, Value); 11] = [
        ("hidden_size", config.hidden.into()),
        ("intermediate_size", config.intermediate.into()),
        ("num_hidden_layers", config.layers.into()),
        ("num_attention_heads", config.heads.into()),
        ("num_key_value_heads", config.kv_heads.into()),
        ("head_dim", config.head_dim.into()),
        ("vocab_size", config.vocab.into()),
        ("max_position_embeddings", config.context.into()),
        ("rope_theta", config.rope_theta.into()),
        ("rms_norm_eps", config.norm_eps.into()),
        ("rope_scaling.factor", factor.into()),
    ];
    rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
