//! packed-shape: the shape that compressed-tensors stores beside packed weights, against their size.

use anyhow::Result;
use ckpt::facts::{Finding, Id, Progress, Recipe};
use ckpt::plan::read::Reader;
use serde_json::Value;

use crate::case::Case;

/// Dimensions that such a shape has at the most.
const MOST: u64 = 8;

/// Looks at every `weight_shape`.
///
/// # Errors
/// Those of reading.
pub(super) fn check(case: &Case<'_>, reader: &Reader<'_>) -> Result<Vec<Finding>> {
    let bits = bits(case);
    let mut findings = Vec::new();
    for tensor in &case.checkpoint.tensors {
        let Some(stem) = tensor.name.strip_suffix("weight_shape") else { continue };
        let Some(packed) = case.tensor(&format!("{stem}weight_packed")) else { continue };
        if tensor.recipe.elements() > MOST || tensor.recipe.absent().is_some() {
            continue;
        }
        let Some(shape) = numbers(reader, &tensor.recipe, &Progress::default())? else { continue };
        let word = packed.recipe.dtype.bits();
        // Rows stay; as many columns as fit stand in a word.
        let fits = |bits: u64| {
            let columns = |size: f64| size * float(bits) / float(word);
            let wanted = [shape.first().copied(), shape.get(1).map(|&size| columns(size).ceil())];
            shape.len() == 2
                && packed.recipe.shape.len() == 2
                && wanted.iter().zip(&packed.recipe.shape).all(|(wanted, &size)| *wanted == Some(float(size)))
        };
        if !bits.iter().any(|&bits| fits(bits)) {
            let message = "the stored shape of the weights does not fit their packed size";
            let finding = case.about(Id::PackedShape, packed, message);
            let bits: Vec<String> = bits.iter().map(u64::to_string).collect();
            let needed = format!("{shape:?} of {} bits in words of {word}", bits.join(" or "));
            findings.push(finding.needed(needed, format!("{:?}", packed.recipe.shape)));
        }
    }
    Ok(findings)
}

/// The numbers of bits that the config's groups state; all that the library packs, where it states none.
fn bits(case: &Case<'_>) -> Vec<u64> {
    let groups = ["quantization_config", "compression_config"]
        .iter()
        .find_map(|key| case.setting(key)?.get("config_groups")?.as_object());
    let stated: Vec<u64> = groups
        .into_iter()
        .flat_map(|groups| groups.values())
        .filter_map(|group| group.get("weights")?.get("num_bits").and_then(Value::as_u64))
        .collect();
    if stated.is_empty() { vec![2, 3, 4, 8] } else { stated }
}

/// A size, which is exact below 2^53.
fn float(size: u64) -> f64 {
    let (high, low) = (size >> 32, size & 0xffff_ffff);
    f64::from(u32::try_from(high).unwrap_or(u32::MAX)) * 2f64.powi(32) + f64::from(u32::try_from(low).unwrap_or(0))
}

/// The numbers of a small value; none for a dtype without numbers.
pub(super) fn numbers(reader: &Reader<'_>, recipe: &Recipe, progress: &Progress) -> Result<Option<Vec<f64>>> {
    let mut bytes = Vec::new();
    reader.stream(recipe, ckpt::plan::blocks::BLOCK, progress, |_, block| {
        bytes.extend_from_slice(block);
        Ok(())
    })?;
    Ok(ckpt::plan::numbers(recipe.dtype, &bytes))
}
