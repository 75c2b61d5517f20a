//! dtype-mixed, config-dtype: one dtype for weights of one kind, and the one that the config says.

use std::collections::BTreeMap;

use ckpt::bytes::to_u64;
use ckpt::facts::{Dtype, Finding, Id, Tensor};
use ckpt::layouts::Layout;
use serde_json::Value;

use super::explain;
use crate::case::Case;

explain! {
    /// Groups tensors whose names differ in numbers only (the same weight in every layer) and looks for groups that are
    /// stored in more than one of F64, F32, F16 and BF16. Packed weights and eight-bit floats are left alone.
    ///
    /// Some layers were saved twice as large, or rounded once more than others; two saves were mixed.
    ///
    /// `ckpt-convert --dtype` makes them one.
    DtypeMixed;
    /// Compares `dtype` or `torch_dtype` of config.json with the dtype that most bytes of the weights have.
    ///
    /// The checkpoint is twice as large as it should be, or half as exact as the config claims; loaders convert silently.
    ///
    /// Correct the config, or convert with `ckpt-convert --dtype`.
    ConfigDtype;
}

/// The dtypes that weights are trained and shipped in; others are packed, or chosen weight by weight on purpose.
const PLAIN: &[Dtype] = &[Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let plain = case.checkpoint.tensors.iter().filter(|tensor| PLAIN.contains(&tensor.recipe.dtype));
    let mut kinds: BTreeMap<String, BTreeMap<Dtype, Vec<&Tensor>>> = BTreeMap::new();
    let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
    for tensor in plain {
        let of_dtype = bytes.entry(tensor.recipe.dtype).or_default();
        *of_dtype = of_dtype.saturating_add(tensor.recipe.len_bytes());
        kinds.entry(kind(&tensor.name)).or_default().entry(tensor.recipe.dtype).or_default().push(tensor);
    }
    findings.extend(kinds.values().filter(|by_dtype| by_dtype.len() > 1).filter_map(|by_dtype| mixed(case, by_dtype)));
    findings.extend(config_dtype(case, &bytes));
}

/// A name with its numbers taken out: the same for a weight in all layers.
fn kind(name: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('.').map(|part| if is_number(part) { "{}" } else { part }).collect();
    parts.join(".")
}

/// A group in several dtypes: the rarer one is found, the commoner was needed.
fn mixed(case: &Case<'_>, by_dtype: &BTreeMap<Dtype, Vec<&Tensor>>) -> Option<Finding> {
    let (common, _) = by_dtype.iter().max_by_key(|(_, tensors)| tensors.len())?;
    let odd: Vec<&Tensor> =
        by_dtype.iter().filter(|(dtype, _)| *dtype != common).flat_map(|(_, odd)| odd.iter().copied()).collect();
    let first = odd.first()?;
    let total: usize = by_dtype.values().map(Vec::len).sum();
    let message = format!(
        "{} of {} tensors {} have another dtype than the rest",
        to_u64(odd.len()),
        to_u64(total),
        kind(&first.name)
    );
    Some(case.about(Id::DtypeMixed, first, message).needed(common.name(), first.recipe.dtype.name()))
}

/// The dtype of most bytes is not the config's.
fn config_dtype(case: &Case<'_>, bytes: &BTreeMap<Dtype, u64>) -> Option<Finding> {
    // Of one shard, most bytes may be an embedding that is kept exact on purpose; packed weights have no say.
    if case.checkpoint.layout != Layout::Hf || case.is_packed || !case.complete {
        return None;
    }
    let said = case.setting("dtype").or_else(|| case.setting("torch_dtype")).and_then(Value::as_str)?;
    let wanted = PLAIN.iter().copied().find(|dtype| dtype.torch() == said.trim_start_matches("torch."))?;
    let (found, _) = bytes.iter().max_by_key(|(_, bytes)| **bytes)?;
    if *found == wanted {
        return None;
    }
    let message = format!("the config says {said}, and most of the weights are {}", found.name());
    Some(Finding::new(Id::ConfigDtype, message).in_file(case.config_name()).needed(wanted.name(), found.name()))
}
