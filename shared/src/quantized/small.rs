//! Floats of four and six bits: their values, gpt-oss's MXFP4 and ModelOpt's NVFP4.

use crate::facts::math::Arithmetic;
use crate::facts::recipe::elements;
use crate::facts::{Dtype, Finding, Tensor};

use super::build::{everywhere, flat, floats, literal, picked, plain, reshaped, spread, transposed, with};
use super::compressed::ACTIVATIONS;
use super::{Model, Weight, misfit, unknown};

/// The values of a 4-bit float: two bits of exponent, one of mantissa (OCP MX 1.0, table 5).
pub(super) const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The values of a 6-bit float: two bits of exponent, three of mantissa (OCP MX 1.0, table 4).
pub(super) fn e2m3() -> crate::facts::Recipe {
    let value = |code: u8| {
        let (exponent, mantissa) = (i32::from(code >> 3 & 3), f32::from(code & 7));
        let size =
            if exponent == 0 { mantissa / 8.0 } else { (8.0 + mantissa) * 2f32.powi(exponent.saturating_sub(4)) };
        if code & 32 == 0 { size } else { -size }
    };
    literal(&(0..64).map(value).collect::<Vec<f32>>())
}

/// gpt-oss: blocks `[.., rows, groups, 16]` of bytes and scales `[.., rows, groups]`; the weight is the transpose of the
/// last two dimensions (`convert_moe_packed_tensors` of transformers).
pub(super) fn blocks(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix("_blocks").filter(|_| tensor.recipe.dtype == Dtype::U8) else {
        return Ok(None);
    };
    let scales = format!("{stem}_scales");
    let Some(scale) = model.part(&scales) else { return Ok(None) };
    let (Some((&16, before)), whole) = (tensor.recipe.shape.split_last(), &scale.recipe.shape) else {
        let found = format!("{:?}", tensor.recipe.shape);
        return Err(misfit("blocks of another size than 16 bytes").needed("[.., 16]", found));
    };
    let Some((&groups, outer)) = before.split_last().filter(|_| before == whole.as_slice()) else {
        let needed = format!("{before:?}");
        return Err(misfit("blocks and scales do not fit together").needed(needed, format!("{whole:?}")));
    };
    let rows = elements(outer).unwrap_or(u64::MAX);
    let columns = groups.saturating_mul(32);
    let shape = vec![rows, columns];
    let stored = reshaped(tensor.recipe.clone(), vec![rows, groups.saturating_mul(16)]);
    let factors = spread(reshaped(floats(&scale.recipe), vec![rows, groups]), &shape, vec![1, 32]);
    let values = with(picked(&stored, plain(4, 1), &shape, literal(&E2M1)), Arithmetic::Times, factors);
    let shaped = reshaped(values, [outer, &[columns]].concat());
    let recipe = if shaped.shape.len() < 3 { shaped } else { transposed(shaped) };
    Ok(Some(Weight { name: stem.to_owned(), recipe, parts: vec![scales] }))
}

/// ModelOpt's NVFP4: two values a byte, a scale in E4M3 for sixteen of them, and one for all scales
/// (`NVFP4QTensor.dequantize`: the product of the two scales first).
pub(super) fn modelopt(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix("weight").filter(|_| tensor.recipe.dtype == Dtype::U8) else {
        return Ok(None);
    };
    let name = |part: &str| format!("{stem}{part}");
    let Some(global) = model.part(&name("weight_scale_2")) else { return Ok(None) };
    let scale = model.needed(&name("weight_scale"))?;
    if model.part(&name("pre_quant_scale")).is_some() {
        return Err(unknown("a weight that is quantised for inputs scaled beforehand (pre_quant_scale)"));
    }
    let (Some((&bytes, outer)), scales) = (tensor.recipe.shape.split_last(), flat(&scale.recipe)) else {
        return Err(misfit("packed values without a dimension"));
    };
    let (rows, columns) = (elements(outer).unwrap_or(u64::MAX), bytes.saturating_mul(2));
    if scales.shape != [rows, columns.div_ceil(16)] || scale.recipe.dtype != Dtype::F8E4M3 {
        let needed = format!("F8_E4M3 {:?}", [rows, columns.div_ceil(16)]);
        let found = format!("{} {:?}", scale.recipe.dtype, scale.recipe.shape);
        return Err(misfit("scales that are not one for sixteen values").needed(needed, found));
    }
    if elements(&global.recipe.shape) != Some(1) {
        let found = format!("{:?}", global.recipe.shape);
        return Err(misfit("a global scale of more than one number").needed("[1]", found));
    }
    let shape = vec![rows, columns];
    let global = everywhere(&floats(&global.recipe), &scales.shape);
    let factors = spread(with(floats(&scales), Arithmetic::Times, global), &shape, vec![1, 16]);
    let values = picked(&flat(&tensor.recipe), plain(4, 1), &shape, literal(&E2M1));
    let recipe = reshaped(with(values, Arithmetic::Times, factors), [outer, &[columns]].concat());
    let mut parts: Vec<String> = ["weight_scale", "weight_scale_2"].into_iter().map(name).collect();
    parts.extend(ACTIVATIONS.iter().map(|ending| name(ending)));
    Ok(Some(Weight { name: tensor.name.clone(), recipe, parts }))
}
