//! Values of one byte with a scale for a block, a row, a group or all of them: FP8 in the ways of DeepSeek, ModelOpt
//! and FBGEMM, and compressed-tensors' float-quantized, int-quantized and mxfp8-quantized.

use serde_json::Value;

use crate::facts::math::Arithmetic;
use crate::facts::recipe::elements;
use crate::facts::{Dtype, Finding, Recipe, Tensor};

use super::build::{floats, numbers, reshaped, spread, with};
use super::compressed::{ACTIVATIONS, said};
use super::{Model, Weight, misfit, unknown};

/// A weight from itself and its scales.
pub(super) fn weight(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let (name, stored) = (tensor.name.as_str(), &tensor.recipe);
    let stem = name.strip_suffix("weight");
    // The last is DeepSeek's from V4 on; those without `weight` are of stacked experts.
    let scales = [format!("{name}_scale_inv"), format!("{name}_scale"), format!("{}scale", stem.unwrap_or(name))];
    let small = matches!(stored.dtype, Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::I8);
    let named = |scale: &&String| small || scale.ends_with("weight_scale");
    let Some(scale) = scales.iter().filter(named).find_map(|scale| model.part(scale)) else { return Ok(None) };
    if !small {
        // A scale beside plain weights says how inputs were measured, not how weights are read.
        if stored.dtype.bits() > 8 {
            return Ok(None);
        }
        let message = "packed values in a way that nothing but their scale tells of: dequantise them with the library that wrote them";
        return Err(unknown(message).needed("F8_E4M3, F8_E5M2 or I8", stored.dtype));
    }
    let by = blocks(model, &stored.shape, &scale.recipe)?;
    let each = |of: Recipe| spread(of, &stored.shape, by.clone());
    let rank = stored.shape.len();
    let factors = each(shaped(&floats(&scale.recipe), rank));
    let mut values = numbers(stored, stored.dtype);
    if let Some(zero) = model.part(&format!("{name}_zero_point")) {
        if zero.recipe.dtype != Dtype::I8 || zero.recipe.elements() != scale.recipe.elements() {
            let found = format!("{} {:?}", zero.recipe.dtype, zero.recipe.shape);
            return Err(misfit("zero points that are not one for each scale").needed("I8, as many as scales", found));
        }
        let zero = reshaped(numbers(&zero.recipe, Dtype::I8), scale.recipe.shape.clone());
        values = with(values, Arithmetic::Minus, each(shaped(&zero, rank)));
    }
    let recipe = with(values, Arithmetic::Times, factors);
    let mut parts = vec![scale.name.clone(), format!("{name}_zero_point"), format!("{name}_shape")];
    parts.extend(stem.into_iter().flat_map(|stem| ACTIVATIONS.iter().map(move |ending| format!("{stem}{ending}"))));
    Ok(Some(Weight { name: name.to_owned(), recipe, parts }))
}

/// Scales with a dimension for each of the weight's: one number for all stands in all of them, a row of them with the
/// first.
fn shaped(scale: &Recipe, rank: usize) -> Recipe {
    if scale.shape.len() == rank {
        return scale.clone();
    }
    let mut shape = vec![1; rank];
    if let Some(first) = shape.first_mut() {
        *first = elements(&scale.shape).unwrap_or(1);
    }
    reshaped(scale.clone(), shape)
}

/// Elements of a block in each dimension.
fn blocks(model: &Model<'_>, shape: &[u64], scale: &Recipe) -> Result<Vec<u64>, Finding> {
    if scale.shape.len() > 1 && scale.shape.len() != shape.len() {
        let found = format!("{:?}", scale.shape);
        return Err(misfit("scales in another number of dimensions").needed(format!("{} or none", shape.len()), found));
    }
    let counts = shaped(scale, shape.len()).shape;
    let stated = model.setting("weight_block_size").into_iter().chain(said(model, "block_structure"));
    let stated: Vec<Vec<u64>> =
        stated.filter_map(|sizes| Some(sizes.as_array()?.iter().filter_map(Value::as_u64).collect())).collect();
    let groups: Vec<u64> = said(model, "group_size").into_iter().filter_map(Value::as_u64).collect();
    let last = shape.len().saturating_sub(1);
    let block = |(axis, (&size, &count)): (usize, (&u64, &u64))| {
        if count == 1 {
            return Some(size.max(1));
        }
        // The two dimensions of a matrix are the last of a stack of them.
        let blocks =
            stated.iter().filter_map(|sizes| sizes.get(sizes.len().checked_sub(shape.len())?.checked_add(axis)?));
        let groups = groups.iter().filter(|_| axis == last);
        // 128 is what DeepSeek's blocks have, and what is taken where the config does not say.
        let sizes = blocks.chain(groups).copied().chain([128]).chain(size.checked_div(count));
        sizes.into_iter().find(|block| *block > 0 && size.div_ceil(*block) == count)
    };
    let found: Option<Vec<u64>> = shape.iter().zip(&counts).enumerate().map(block).collect();
    found.ok_or_else(|| {
        misfit("scales do not divide the weight").needed(format!("parts of {shape:?}"), format!("{counts:?}"))
    })
}
