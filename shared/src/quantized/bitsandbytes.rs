//! bitsandbytes: four bits that pick a number from a map, with a scale a block (nf4, fp4), and integers of eight bits
//! with the largest value of their row.
//!
//! `dequantize_4bit` and `int8_vectorwise_dequant` of its `functional.py`. The scales of four bits may themselves be
//! bytes that pick a number, with a scale a block of blocks and one offset.

use serde_json::Value;

use crate::facts::math::{Arithmetic, Order, Packing};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, Finding, Op, Recipe, Tensor};

use super::build::{everywhere, floats, literal, numbers, pick, picked, plain, reshaped, spread, with};
use super::{Model, Weight, misfit};

/// Elements of a block, where the state beside them is not read: as many as make so many blocks of them.
fn even(elements: u64, blocks: u64) -> u64 {
    elements.div_ceil(blocks.max(1)).max(1)
}

/// A weight of four bits from `absmax`, `quant_map` and the JSON in `quant_state`.
pub(super) fn four(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let name = |part: &str| format!("{}.{part}", tensor.name);
    let states = ["quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4"].map(name);
    let Some(packed) = states.iter().find_map(|state| model.part(state)) else { return Ok(None) };
    if tensor.recipe.dtype.item_bytes().is_none_or(|bytes| bytes != 1) {
        return Err(misfit("values of four bits in elements of several bytes").needed("U8", tensor.recipe.dtype));
    }
    let state = state(model, packed)?;
    let number = |key: &str| state.as_ref().and_then(|state| state.get(key)?.as_u64()).filter(|number| *number > 0);
    let sizes = state.as_ref().and_then(|state| state.get("shape")?.as_array());
    let sizes: Option<Vec<u64>> = sizes.and_then(|sizes| sizes.iter().map(Value::as_u64).collect());
    let bytes = tensor.recipe.elements();
    let shape = sizes.unwrap_or_else(|| vec![bytes.saturating_mul(2)]);
    let count = elements(&shape).unwrap_or(u64::MAX);
    if count.div_ceil(2) != bytes {
        let found = format!("{bytes} bytes for {shape:?}");
        return Err(misfit("packed values that are not those of the stored shape").needed(count.div_ceil(2), found));
    }
    let scales = model.needed(&name("absmax"))?;
    let nested = model.part(&name("nested_absmax"));
    let absmax = match nested {
        None => floats(&scales.recipe),
        Some(nested) => {
            let map = model.needed(&name("nested_quant_map"))?;
            let offset = state.as_ref().and_then(|state| state.get("nested_offset")?.as_f64()).unwrap_or(0.0);
            let block = number("nested_blocksize");
            let block = block.unwrap_or_else(|| even(scales.recipe.elements(), nested.recipe.elements()));
            let picked = pick(scales.recipe.clone(), floats(&map.recipe));
            let factors = spread(floats(&nested.recipe), &scales.recipe.shape, vec![block]);
            let offset = everywhere(&literal(&[single(offset)]), &scales.recipe.shape);
            with(with(picked, Arithmetic::Times, factors), Arithmetic::Plus, offset)
        }
    };
    let map = model.needed(&name("quant_map"))?;
    let padded = bytes.saturating_mul(2);
    let packing = Packing { order: Order::HighFirst, ..plain(4, 0) };
    let stored = reshaped(tensor.recipe.clone(), vec![bytes]);
    let values = picked(&stored, packing, &[padded], floats(&map.recipe));
    let block = number("blocksize").unwrap_or_else(|| even(padded, scales.recipe.elements()));
    let factors = spread(absmax, &[padded], vec![block]);
    let made = with(values, Arithmetic::Times, factors);
    let parts = ["absmax", "quant_map", "nested_absmax", "nested_quant_map"].map(name).into_iter().chain(states);
    let whole = if padded == count { made } else { slice(made, count) };
    Ok(Some(Weight { name: tensor.name.clone(), recipe: reshaped(whole, shape), parts: parts.collect() }))
}

/// The first elements of a row.
fn slice(of: Recipe, count: u64) -> Recipe {
    Recipe { dtype: of.dtype, shape: vec![count], op: Op::Slice { of: std::sync::Arc::new(of), start: vec![0] } }
}

/// What the bytes of a `quant_state` say, in JSON.
fn state(model: &Model<'_>, packed: &Tensor) -> Result<Option<Value>, Finding> {
    let Some(bytes) = model.bytes(&packed.recipe)? else { return Ok(None) };
    let value = crate::formats::json::parse(&bytes)
        .map_err(|finding| misfit(format!("a quant_state that is not JSON: {}", finding.message)))?;
    // What is not a shape would be taken for a flat weight.
    if value.get("shape").is_none_or(|shape| !shape.is_array()) {
        return Err(misfit("a quant_state without the shape of the weight").needed("shape", value));
    }
    Ok(Some(value))
}

/// A number of JSON as torch makes it a float.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "torch.tensor(float) rounds to F32 likewise"
)]
fn single(value: f64) -> f32 {
    value as f32
}

/// What a row's largest value is multiplied with, for it stands for 127 (`int8_vectorwise_dequant`).
const PART_OF_127: f32 = 0.007_874_016;

/// A weight of eight bits from itself and `SCB`.
pub(super) fn eight(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix("weight") else { return Ok(None) };
    let name = |part: &str| format!("{stem}{part}");
    let Some(largest) = model.part(&name("SCB")) else { return Ok(None) };
    let stored = &tensor.recipe;
    if stored.dtype != Dtype::I8 {
        // A weight that was loaded in eight bits and saved whole keeps no row maxima.
        return Err(misfit("row maxima beside a weight that is not of eight bits").needed("I8", stored.dtype));
    }
    let &[rows, columns] = stored.shape.as_slice() else {
        return Err(
            misfit("a weight that is not rows by columns").needed("[rows, columns]", format!("{:?}", stored.shape))
        );
    };
    if largest.recipe.elements() != rows {
        let found = format!("{:?}", largest.recipe.shape);
        return Err(misfit("row maxima that are not one a row").needed(format!("[{rows}]"), found));
    }
    let factors = reshaped(floats(&largest.recipe), vec![rows, 1]);
    let factors = spread(factors, &stored.shape, vec![1, columns.max(1)]);
    let product = with(numbers(stored, Dtype::I8), Arithmetic::Times, factors);
    let part = everywhere(&literal(&[PART_OF_127]), &stored.shape);
    let recipe = with(product, Arithmetic::Times, part);
    let parts = vec![largest.name.clone(), name("weight_format"), name("CB"), format!("{}_format", tensor.name)];
    Ok(Some(Weight { name: tensor.name.clone(), recipe, parts }))
}
