//! compressed-tensors' packed weights: integers of 1 to 8 bits in words (pack-quantized), and small floats in bytes
//! (nvfp4-pack-quantized, mxfp4-pack-quantized, mxfp6-pack-quantized).
//!
//! `_dequantize` of `quantization/lifecycle/forward_helpers.py`: the difference of value and zero point, times the scale
//! of the group, which is divided by the global scale first.

use serde_json::Value;

use crate::facts::math::{Arithmetic, Packing};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, Finding, Recipe, Tensor};

use super::build::{
    everywhere, fields, flat, floats, numbers, picked, plain, reshaped, spread, take, transposed, with,
};
use super::small::{E2M1, e2m3};
use super::{Model, Weight, misfit, unknown};

/// A weight from its `weight_packed`, `weight_scale` and what stands beside them.
pub(super) fn packed(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix(".weight_packed") else { return Ok(None) };
    let name = |part: &str| format!("{stem}.{part}");
    let scale = model.needed(&name("weight_scale"))?;
    let part = |ending: &str| model.part(&name(ending)).map(|tensor| &tensor.recipe);
    let recipe = match tensor.recipe.dtype {
        Dtype::I32 => {
            let beside = [part("weight_zero_point"), part("weight_g_idx"), part("weight_shape")];
            integers(model, &tensor.recipe, &scale.recipe, beside)?
        }
        Dtype::U8 => small_floats(model, &tensor.recipe, &scale.recipe, part("weight_global_scale"))?,
        other => return Err(unknown(format!("weights packed in {other}"))),
    };
    let endings = ["weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale"];
    let mut parts: Vec<String> = endings.into_iter().map(name).collect();
    parts.extend(ACTIVATIONS.iter().map(|ending| name(ending)));
    Ok(Some(Weight { name: name("weight"), recipe, parts }))
}

/// Tensors that only say how to quantise what goes in or comes out.
pub(super) const ACTIVATIONS: &[&str] =
    &["input_scale", "input_zero_point", "input_global_scale", "input_scale_ub", "activation_scale", "output_scale"];

/// What the groups of the config say of weights; the first that says anything is asked, as models have one.
pub(super) fn said<'a>(model: &Model<'a>, key: &str) -> Vec<&'a Value> {
    let groups = model.setting("config_groups").and_then(Value::as_object);
    let weights = groups.into_iter().flat_map(|groups| groups.values().filter_map(|group| group.get("weights")));
    weights.filter_map(|weights| weights.get(key)).filter(|value| !value.is_null()).collect()
}

/// The bits that the config states, in its order.
fn stated_bits(model: &Model<'_>) -> Vec<u64> {
    said(model, "num_bits").into_iter().filter_map(Value::as_u64).filter(|bits| (1..=8).contains(bits)).collect()
}

/// Integers, half their range taken from each.
fn integers(
    model: &Model<'_>,
    stored: &Recipe,
    scale: &Recipe,
    [zero, order, shape]: [Option<&Recipe>; 3],
) -> Result<Recipe, Finding> {
    let rank = stored.shape.len();
    let (Some((&words, outer)), true) = (stored.shape.split_last(), rank >= 2 && scale.shape.len() <= rank) else {
        return Err(misfit("packed values and scales are not in rows and columns"));
    };
    let rows = elements(outer).unwrap_or(u64::MAX);
    let wide = shape.map(|shape| columns(model, shape, rank)).transpose()?.flatten();
    let stated = stated_bits(model);
    let fits = |bits: &&u64| {
        let held = |columns: u64| columns.checked_mul(**bits).map(|bits| bits.div_ceil(32)) == Some(words);
        wide.is_none_or(held)
    };
    let Some(&bits) = stated.iter().find(fits) else {
        let needed = wide.map_or("the bits of a value".to_owned(), |columns| format!("{columns} columns"));
        let found = format!("{words} words, and {stated:?} bits in the config");
        return Err(misfit("the config's bits are not those of the packed weight").needed(needed, found));
    };
    // One scale for all, one a row, or one a group.
    let groups = if scale.shape.len() == rank { scale.shape.last().copied().unwrap_or(1) } else { 1 };
    let all = words.saturating_mul(32).checked_div(bits).unwrap_or(0);
    let sizes = said(model, "group_size").into_iter().filter_map(Value::as_u64).filter(|size| *size > 0);
    let columns = wide.or_else(|| {
        let exact = |size: u64| groups.saturating_mul(size);
        sizes.clone().map(exact).find(|&columns| columns <= all && columns.saturating_mul(bits).div_ceil(32) == words)
    });
    let columns = columns.unwrap_or(all);
    let group = sizes.chain(columns.checked_div(groups)).find(|size| *size > 0 && columns.div_ceil(*size) == groups);
    let group = if groups == 1 { Some(columns.max(1)) } else { group };
    let Some(group) = group else {
        return Err(misfit("scales do not divide the columns").needed(format!("a divisor of {columns}"), groups));
    };
    let narrow = u32::try_from(bits).unwrap_or(u32::MAX);
    let half = 1u32.checked_shl(narrow.saturating_sub(1)).unwrap_or(0);
    let signed = |axis: usize| Packing { less: half, ..plain(narrow, axis) };
    let shape = [rows, columns];
    let values = fields(&flat(stored), signed(1), shape);

    let scales = match elements(&scale.shape).unwrap_or(u64::MAX).checked_div(groups.max(1)) {
        Some(1) if groups == 1 => everywhere(&floats(scale), &[rows, 1]),
        Some(count) if count == rows => reshaped(floats(scale), vec![rows, groups]),
        _ => {
            let needed = format!("{:?}", [outer, &[groups]].concat());
            return Err(misfit("scales that are not one a row or group").needed(needed, format!("{:?}", scale.shape)));
        }
    };
    let zeros = zero.map(|zero| zero_points(zero, rank, signed(0), [rows, groups])).transpose()?;
    let ordered = order.map(|order| columns_in_order(model, order)).transpose()?.flatten();
    let each = |of: Recipe| match ordered {
        Some(order) => transposed(take(transposed(of), order)),
        None => spread(of, &shape, vec![1, group]),
    };
    let values = match zeros {
        Some(zeros) => with(values, Arithmetic::Minus, each(zeros)),
        None => values,
    };
    let made = with(values, Arithmetic::Times, each(scales));
    Ok(reshaped(made, [outer, &[columns]].concat()))
}

/// Zero points: packed along the rows, or stored as bytes.
fn zero_points(zero: &Recipe, rank: usize, packing: Packing, shape: [u64; 2]) -> Result<Recipe, Finding> {
    match zero.dtype {
        Dtype::I8 => Ok(match elements(&zero.shape) {
            Some(1) => everywhere(&numbers(zero, Dtype::I8), &shape),
            _ => reshaped(numbers(zero, Dtype::I8), shape.to_vec()),
        }),
        Dtype::I32 if rank == 2 => Ok(fields(zero, packing, shape)),
        other => Err(unknown(format!("zero points of {other} beside a weight of {rank} dimensions"))),
    }
}

/// The number of columns that `weight_shape` states, if it is read.
fn columns(model: &Model<'_>, shape: &Recipe, rank: usize) -> Result<Option<u64>, Finding> {
    let Some(bytes) = model.bytes(shape)? else { return Ok(None) };
    let sizes = crate::plan::numbers(shape.dtype, &bytes).unwrap_or_default();
    let last = sizes.last().copied().filter(|_| sizes.len() == rank).and_then(whole);
    last.map(Some).ok_or_else(|| misfit("weight_shape does not hold the sizes of the weight").needed(rank, sizes.len()))
}

/// A number that counts something.
pub(super) fn whole(value: f64) -> Option<u64> {
    // Sizes in a file are below 2^53, so that an f64 has them exactly.
    let text = format!("{value:.0}");
    text.parse().ok().filter(|_| value.fract() == 0.0 && value < 9e15)
}

/// The order of columns, if it is one: the library writes -1 throughout where there is none.
fn columns_in_order<'r>(model: &Model<'_>, order: &'r Recipe) -> Result<Option<&'r Recipe>, Finding> {
    let numbers = model.bytes(order)?.and_then(|bytes| crate::plan::numbers(order.dtype, &bytes));
    let none = numbers.is_some_and(|numbers| numbers.first().is_some_and(|&first| first < 0.0));
    Ok((!none).then_some(order))
}

/// Small floats, their scales perhaps under a global one.
fn small_floats(
    model: &Model<'_>,
    stored: &Recipe,
    scale: &Recipe,
    global: Option<&Recipe>,
) -> Result<Recipe, Finding> {
    let Some((&bytes, outer)) = stored.shape.split_last() else {
        return Err(misfit("packed values without a dimension"));
    };
    let (bits, table) = match stated_bits(model).first() {
        Some(6) => (6, e2m3()),
        Some(4) | None => (4, super::build::literal(&E2M1)),
        Some(other) => return Err(unknown(format!("floats of {other} bits packed in bytes"))),
    };
    let columns = bytes.saturating_mul(8).checked_div(bits.into()).unwrap_or(0);
    let rows = elements(outer).unwrap_or(u64::MAX);
    let scales = flat(scale);
    let Some(&groups) = scales.shape.last().filter(|_| scale.shape.len() == stored.shape.len()) else {
        return Err(misfit("packed values and scales are not in rows and columns"));
    };
    let group = columns.checked_div(groups).filter(|group| *group > 0 && group.saturating_mul(groups) == columns);
    let Some(group) = group else {
        return Err(misfit("scales do not divide the columns").needed(format!("a divisor of {columns}"), groups));
    };
    let mut factors = floats(&scales);
    if let Some(global) = global {
        if elements(&global.shape) != Some(1) {
            return Err(misfit("a global scale of more than one number").needed("[1]", format!("{:?}", global.shape)));
        }
        let global = everywhere(&floats(global), &factors.shape);
        factors = with(factors, Arithmetic::Over, global);
    }
    let shape = vec![rows, columns];
    let factors = spread(factors, &shape, vec![1, group]);
    let values = picked(&flat(stored), plain(bits, 1), &shape, table);
    Ok(reshaped(with(values, Arithmetic::Times, factors), [outer, &[columns]].concat()))
}
