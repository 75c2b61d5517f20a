//! MLX: numbers packed in words of 32 bits, a scale a group; in the affine mode a bias a group, in the others small floats
//! with scales of one byte.
//!
//! `mlx.core.dequantize` on a CPU: product and sum in the dtype of the scales, each rounded to it.

use serde_json::Value;

use crate::facts::math::Arithmetic;
use crate::facts::{Dtype, Finding, Recipe, Tensor};

use super::build::{cast, fields, flat, literal, numbers, picked, plain, reshaped, spread, with};
use super::small::E2M1;
use super::{Model, Weight, misfit, unknown};

/// A weight from itself, `scales` and `biases`.
pub(super) fn weight(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix("weight").filter(|_| tensor.recipe.dtype == Dtype::U32) else {
        return Ok(None);
    };
    let name = |part: &str| format!("{stem}{part}");
    let Some(scales) = model.part(&name("scales")) else { return Ok(None) };
    let module = stem.trim_end_matches('.');
    let mode = said(model, module, "mode").and_then(Value::as_str).unwrap_or("affine");
    let (stored, scale) = (flat(&tensor.recipe), flat(&scales.recipe));
    let (&[rows, words], &[scale_rows, groups]) = (stored.shape.as_slice(), scale.shape.as_slice()) else {
        return Err(misfit("packed values and scales are not in rows and columns"));
    };
    let number = |key: &str| said(model, module, key).and_then(Value::as_u64).filter(|number| *number > 0);
    let usual = match mode {
        "mxfp4" => (32, 4),
        "mxfp8" => (32, 8),
        "nvfp4" => (16, 4),
        _ => (64, 4),
    };
    let (group, bits) = (number("group_size").unwrap_or(usual.0), number("bits").unwrap_or(usual.1));
    let columns = groups.saturating_mul(group);
    if scale_rows != rows || columns.saturating_mul(bits) != words.saturating_mul(32) {
        let needed =
            format!("[{rows}, {}]", words.saturating_mul(32).checked_div(bits.saturating_mul(group)).unwrap_or(0));
        let message = format!("scales that are not one for {group} values of {bits} bits");
        return Err(misfit(message).needed(needed, format!("{:?}", scales.recipe.shape)));
    }
    let shape = [rows, columns];
    let narrow = u32::try_from(bits).unwrap_or(u32::MAX);
    let each = |of: Recipe| spread(of, &shape, vec![1, group]);
    let made = match (mode, bits) {
        ("affine", 1..=8) => {
            let biases = flat(&model.needed(&name("biases"))?.recipe);
            if (biases.dtype, &biases.shape) != (scale.dtype, &scale.shape) {
                let found = format!("{} {:?}", biases.dtype, biases.shape);
                let needed = format!("{} {:?}", scale.dtype, scale.shape);
                return Err(misfit("biases that are not those of the scales").needed(needed, found));
            }
            // Integers of eight bits are exact in each of these dtypes.
            let values = cast(fields(&stored, plain(narrow, 1), shape), scale.dtype);
            with(with(values, Arithmetic::Times, each(scale)), Arithmetic::Plus, each(biases))
        }
        ("mxfp4", 4) => small(&stored, &scale, Dtype::F8E8M0, shape, each),
        ("nvfp4", 4) => small(&stored, &scale, Dtype::F8E4M3, shape, each),
        ("mxfp8", 8) => {
            // The bytes of the words are the values, in the order they lie in.
            let values = picked(&stored, plain(8, 1), &shape, e4m3());
            with(values, Arithmetic::Times, each(numbers(&scale, Dtype::F8E8M0)))
        }
        _ => return Err(unknown(format!("MLX weights of {bits} bits in the mode {mode}"))),
    };
    let outer = tensor.recipe.shape.split_last().map_or([].as_slice(), |(_, outer)| outer);
    let recipe = reshaped(made, [outer, &[columns]].concat());
    Ok(Some(Weight { name: tensor.name.clone(), recipe, parts: ["scales", "biases"].map(name).to_vec() }))
}

/// Four-bit floats and their scales.
fn small(stored: &Recipe, scale: &Recipe, read: Dtype, shape: [u64; 2], each: impl Fn(Recipe) -> Recipe) -> Recipe {
    let values = picked(stored, plain(4, 1), &shape, literal(&E2M1));
    with(values, Arithmetic::Times, each(numbers(scale, read)))
}

/// The numbers of E4M3, by their bytes.
fn e4m3() -> Recipe {
    let bytes: Vec<u8> = (0..=255).collect();
    let values = crate::plan::numbers(Dtype::F8E4M3, &bytes).unwrap_or_default();
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "numbers of eight bits are exact")]
    literal(&values.into_iter().map(|value| value as f32).collect::<Vec<f32>>())
}

/// What the config says of one module, else of all.
fn said<'a>(model: &Model<'a>, module: &str, key: &str) -> Option<&'a Value> {
    let own = model.setting(module).and_then(|own| own.get(key));
    own.or_else(|| model.setting(key)).filter(|value| !value.is_null())
}
