//! GPTQ and AWQ: unsigned integers in words of 32 bits with a scale and a zero point a group of inputs, stored as
//! inputs by outputs.
//!
//! `convert_gptq_file` of GPTQModel (`utils/model_dequant.py`) and `dequantize_gemm` of AutoAWQ
//! (`utils/packing_utils.py`): the difference of integer and zero point, times the scale.

use crate::facts::math::{Arithmetic, Order, Packing};
use crate::facts::{Finding, Tensor};

use super::build::{fields, floats, plain, spread, take, transposed, with};
use super::{Model, Weight, misfit, unknown};

/// A weight from its `qweight`, `qzeros`, `scales` and `g_idx`.
pub(super) fn weight(model: &Model<'_>, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
    let Some(stem) = tensor.name.strip_suffix(".qweight") else { return Ok(None) };
    let name = |part: &str| format!("{stem}.{part}");
    let (zeros, scales) = (model.needed(&name("qzeros"))?, model.needed(&name("scales"))?);
    let order = model.part(&name("g_idx"));
    let stored = &tensor.recipe;
    let shapes = (stored.shape.as_slice(), zeros.recipe.shape.as_slice(), scales.recipe.shape.as_slice());
    let (&[height, width], &[zero_groups, zero_width], &[groups, outputs]) = shapes else {
        return Err(misfit("packed values, zero points and scales are not all in rows and columns"));
    };
    // Zero points are packed along the outputs in both, so that they tell the bits, whatever the config says of the
    // model in general.
    let bits = zero_width.saturating_mul(32).checked_div(outputs).unwrap_or(0);
    if zero_groups != groups || bits.saturating_mul(outputs) != zero_width.saturating_mul(32) {
        let needed = format!("as many rows as {groups}, and whole bits for each of {outputs} columns");
        return Err(misfit("zero points that do not fit the scales").needed(needed, format!("{:?}", shapes.1)));
    }
    let narrow = u32::try_from(bits).unwrap_or(u32::MAX);
    let awq = is_awq(model, width, outputs)?;
    let (packing, zero_packing) = if awq {
        if bits != 4 {
            return Err(unknown(format!("AWQ weights of {bits} bits: only the order of four is defined")));
        }
        let packing = Packing { order: Order::Awq, ..plain(narrow, 1) };
        (packing, packing)
    } else {
        if !matches!(bits, 2 | 3 | 4 | 8) {
            return Err(unknown(format!("GPTQ weights of {bits} bits, which are packed in another way")));
        }
        (plain(narrow, 0), Packing { more: u32::from(less_by_one(model)?), ..plain(narrow, 1) })
    };
    let inputs = if awq { height } else { height.saturating_mul(32).checked_div(bits).unwrap_or(0) };
    let shape = [inputs, outputs];
    let zero_points = fields(&zeros.recipe, zero_packing, [groups, outputs]);
    let scale = floats(&scales.recipe);
    let (zero_points, scale) = match order {
        Some(order) if order.recipe.shape != [inputs] => {
            let found = format!("{:?}", order.recipe.shape);
            return Err(misfit("an order of groups for another number of inputs").needed(format!("[{inputs}]"), found));
        }
        Some(order) => (take(zero_points, &order.recipe), take(scale, &order.recipe)),
        None => {
            let group = group(model, inputs, groups)?;
            let each = |of| spread(of, &shape, vec![group, 1]);
            (each(zero_points), each(scale))
        }
    };
    let values = with(fields(stored, packing, shape), Arithmetic::Minus, zero_points);
    let recipe = transposed(with(values, Arithmetic::Times, scale));
    let parts = ["qzeros", "scales", "g_idx"].map(name).to_vec();
    Ok(Some(Weight { name: name("weight"), recipe, parts }))
}

/// Whether a weight is AWQ's: by what the config says, else by the dimension along which it is packed.
fn is_awq(model: &Model<'_>, width: u64, outputs: u64) -> Result<bool, Finding> {
    let packed_outputs = width != outputs;
    let said = match (model.method(), model.text("packing_format")) {
        (Some("auto-round"), Some(packing)) if packing.ends_with("auto_gptq") => Some(false),
        (Some("auto-round"), Some(packing)) if packing.ends_with("auto_awq") => Some(true),
        (Some("auto-round"), packing) => {
            let message = "AutoRound weights in a packing that is not known here: export them as auto_gptq or auto_awq";
            return Err(
                unknown(message).needed("auto_round:auto_gptq or auto_round:auto_awq", packing.unwrap_or("none"))
            );
        }
        (Some("awq"), _) => Some(true),
        (Some("gptq"), _) => Some(false),
        _ => None,
    };
    if said.is_some_and(|awq| awq != packed_outputs) {
        return Err(misfit("a weight that is packed along another dimension than the config's method packs"));
    }
    if packed_outputs {
        // The other orders of AutoAWQ (gemv, marlin) are made for one kernel each.
        let version = model.text("version").or_else(|| model.text("format")).unwrap_or("gemm");
        if !version.eq_ignore_ascii_case("gemm") {
            let message = "AWQ weights in the order of one kernel: save the model in the gemm version";
            return Err(unknown(message).needed("gemm", version));
        }
    }
    Ok(packed_outputs)
}

/// Whether zero points are stored less by one: in GPTQ's first format, which is also that of a config that names none.
fn less_by_one(model: &Model<'_>) -> Result<bool, Finding> {
    let format = model.text("checkpoint_format").or_else(|| model.text("format")).unwrap_or("gptq");
    match format {
        "gptq" => Ok(true),
        "gptq_v2" => Ok(false),
        other => {
            let message = "GPTQ weights in the order of one kernel: save the model in the format gptq or gptq_v2";
            Err(unknown(message).needed("gptq or gptq_v2", other))
        }
    }
}

/// Inputs of a group: what the config says where it fits, else as many as come out even.
fn group(model: &Model<'_>, inputs: u64, groups: u64) -> Result<u64, Finding> {
    let sizes = [model.number("group_size"), inputs.checked_div(groups)];
    let fits = |size: &u64| *size > 0 && inputs.div_ceil(*size) == groups;
    sizes
        .into_iter()
        .flatten()
        .find(fits)
        .ok_or_else(|| misfit("scales do not divide the inputs").needed(format!("a divisor of {inputs}"), groups))
}
