//! Quantised weights: which stored tensors make one logical weight, by their names and the config's scheme.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::facts::recipe::Scheme;
use crate::facts::{Dtype, Finding, Id, Op, Recipe, Tensor};

/// Endings that say a tensor belongs to a scheme that is not undone here, and the scheme.
const UNKNOWN: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".weight_global_scale", "NVFP4"),
    (".weight_scale_2", "NVFP4"),
    (".quant_state.bitsandbytes__nf4", "bitsandbytes nf4"),
    (".SCB", "bitsandbytes int8"),
    (".weight_zero_point", "asymmetric integers"),
    (".weight_g_idx", "reordered groups"),
];

/// Endings of tensors that only say how to quantise activations, or repeat what a shape says.
const BESIDE: &[&str] = &[".weight_shape", ".input_scale"];

/// The tensors with every quantised weight as the values it stands for, in F32, under its logical name; scales and what
/// else belongs to the scheme are gone. Others stay as they are, and all stay in order.
///
/// # Errors
/// [`Id::Unsupported`] for a scheme that is not known here; [`Id::ShardMismatch`] for values and scales that do not fit.
pub fn dequantized(tensors: &[Tensor], config: Option<&Value>) -> Result<Vec<Tensor>, Finding> {
    let names: BTreeMap<&str, &Tensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut made: BTreeMap<&str, Tensor> = BTreeMap::new();
    for tensor in tensors {
        if let Some((ending, scheme)) = UNKNOWN.iter().find(|(ending, _)| tensor.name.ends_with(ending)) {
            let message = format!("a weight quantised as {scheme} (it has {ending}) cannot be undone here");
            return Err(Finding::new(Id::Unsupported, message).tensor(tensor.name.clone()));
        }
        let Some(weight) = weight(tensor, &names, config) else { continue };
        let (name, scale, recipe) = weight.map_err(|finding| finding.tensor(tensor.name.clone()))?;
        used.insert(scale.clone());
        let stem = scale.rsplit_once('.').map_or("", |(stem, _)| stem).to_owned();
        used.extend(BESIDE.iter().map(|ending| format!("{stem}{ending}")));
        made.insert(&tensor.name, Tensor { name, recipe, crc32: None });
    }
    let kept = tensors.iter().filter(|tensor| !used.contains(&tensor.name));
    Ok(kept.map(|tensor| made.remove(tensor.name.as_str()).unwrap_or_else(|| tensor.clone())).collect())
}

/// A logical weight: its name, the name of its scales, its recipe.
type Weight = (String, String, Recipe);

/// The weight that a stored tensor holds the values of, if it is a quantised one.
fn weight(tensor: &Tensor, names: &BTreeMap<&str, &Tensor>, config: Option<&Value>) -> Option<Result<Weight, Finding>> {
    let name = tensor.name.as_str();
    if let Some(stem) = name.strip_suffix(".weight_packed") {
        let scale = names.get(format!("{stem}.weight_scale").as_str())?;
        return Some(
            packed(tensor, scale, config).map(|recipe| (format!("{stem}.weight"), scale.name.clone(), recipe)),
        );
    }
    if let Some(stem) = name.strip_suffix("_blocks") {
        let scale = names.get(format!("{stem}_scales").as_str())?;
        return Some(mxfp4(tensor, scale).map(|recipe| (stem.to_owned(), scale.name.clone(), recipe)));
    }
    let stem = name.strip_suffix(".weight").filter(|_| tensor.recipe.dtype.bits() == 8)?;
    let scale = ["weight_scale_inv", "weight_scale"]
        .into_iter()
        .find_map(|ending| names.get(format!("{stem}.{ending}").as_str()))?;
    Some(scaled(tensor, scale, config).map(|recipe| (name.to_owned(), scale.name.clone(), recipe)))
}

fn unfit(message: impl Into<String>) -> Finding {
    Finding::new(Id::ShardMismatch, message)
}

fn unpack(scheme: Scheme, shape: [u64; 2], stored: Recipe, scale: Recipe) -> Recipe {
    let op = Op::Unpack { scheme, stored: Arc::new(stored), scale: Arc::new(scale) };
    Recipe { dtype: Dtype::F32, shape: shape.to_vec(), op }
}

fn reshaped(of: &Recipe, shape: Vec<u64>) -> Recipe {
    if of.shape == shape {
        return of.clone();
    }
    Recipe { dtype: of.dtype, shape, op: Op::Reshape(Arc::new(of.clone())) }
}

/// compressed-tensors' pack-quantized integers.
fn packed(tensor: &Tensor, scale: &Tensor, config: Option<&Value>) -> Result<Recipe, Finding> {
    let groups = config.and_then(|config| config.pointer("/quantization_config/config_groups")?.as_object());
    let weights = groups.and_then(|groups| groups.values().find_map(|group| group.get("weights")));
    let bits = weights.and_then(|weights| weights.get("num_bits")?.as_u64()).and_then(|bits| u32::try_from(bits).ok());
    let bits = bits.ok_or_else(|| unfit("the config does not say how many bits a packed value has"))?;
    let (&[rows, words], &[_, scales]) = (tensor.recipe.shape.as_slice(), scale.recipe.shape.as_slice()) else {
        return Err(unfit("packed values and scales are not in rows and columns"));
    };
    let all = words.saturating_mul(32).checked_div(bits.into()).unwrap_or(0);
    // Without a group size the scale is that of the whole row.
    let group = weights.and_then(|weights| weights.get("group_size")?.as_u64()).filter(|_| scales > 1).unwrap_or(all);
    let columns = if scales > 1 { scales.saturating_mul(group).min(all) } else { all };
    let scheme = Scheme::Packed { bits, group };
    Ok(unpack(scheme, [rows, columns], tensor.recipe.clone(), scale.recipe.clone()))
}

/// Values of one byte with a scale a block, a row, or for all.
fn scaled(tensor: &Tensor, scale: &Tensor, config: Option<&Value>) -> Result<Recipe, Finding> {
    let &[rows, columns] = tensor.recipe.shape.as_slice() else {
        return Err(unfit("a scaled weight that is not rows by columns"));
    };
    let [down, across] = match *scale.recipe.shape.as_slice() {
        [] | [1] => [1, 1],
        [down] => [down, 1],
        [down, across] => [down, across],
        _ => return Err(unfit("scales in more than two dimensions")),
    };
    let said = |axis: usize| config?.pointer("/quantization_config/weight_block_size")?.get(axis)?.as_u64();
    // 128 is what DeepSeek's blocks have, and what is taken where the config does not say.
    let block = |size: u64, count: u64, said: Option<u64>| {
        let sizes = [said, Some(128), size.checked_div(count)];
        let one = if count == 1 { Some(size.max(1)) } else { None };
        let fits = |block: &u64| *block > 0 && size.div_ceil(*block) == count;
        one.or_else(|| sizes.into_iter().flatten().find(fits)).ok_or_else(|| unfit("scales do not divide the weight"))
    };
    let scheme = Scheme::Scaled { rows: block(rows, down, said(0))?, columns: block(columns, across, said(1))? };
    let scale = reshaped(&scale.recipe, vec![down, across]);
    Ok(unpack(scheme, [rows, columns], tensor.recipe.clone(), scale))
}

/// gpt-oss: blocks `[.., rows, groups, 16]` and scales `[.., rows, groups]`; the weight is the transpose of the last two
/// dimensions (`convert_moe_packed_tensors` of transformers).
fn mxfp4(tensor: &Tensor, scale: &Tensor) -> Result<Recipe, Finding> {
    let (Some((&16, before)), whole) = (tensor.recipe.shape.split_last(), &scale.recipe.shape) else {
        return Err(unfit("blocks of another size than 16 bytes"));
    };
    let Some((&groups, outer)) = before.split_last().filter(|_| before == whole.as_slice()) else {
        return Err(unfit("blocks and scales do not fit together"));
    };
    let rows: u64 = outer.iter().product();
    let columns = groups.saturating_mul(32);
    let stored = reshaped(&tensor.recipe, vec![rows, groups.saturating_mul(16)]);
    let flat = unpack(Scheme::Mxfp4, [rows, columns], stored, reshaped(&scale.recipe, vec![rows, groups]));
    let shaped = reshaped(&flat, [outer, &[columns]].concat());
    let rank = shaped.shape.len();
    if rank < 3 {
        return Ok(shaped);
    }
    let mut shape = shaped.shape.clone();
    shape.swap(rank.saturating_sub(1), rank.saturating_sub(2));
    let op = Op::Transpose(Arc::new(shaped), rank.saturating_sub(2), rank.saturating_sub(1));
    Ok(Recipe { dtype: Dtype::F32, shape, op })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bytes::Pool;
    use crate::facts::{Progress, check::check};
    use crate::plan::read::Reader;

    fn tensor(name: &str, dtype: Dtype, shape: &[u64], bytes: &[u8]) -> Tensor {
        let recipe = Recipe { dtype, shape: shape.to_vec(), op: Op::Literal(Arc::from(bytes)) };
        Tensor { name: name.to_owned(), recipe, crc32: None }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The values of a recipe, made in blocks of `limit` bytes.
    fn values(recipe: &Recipe, limit: u64) -> Vec<f32> {
        check(recipe, &|_| 0).unwrap();
        let pool = Pool::new();
        let mut bytes = Vec::new();
        let keep = |_: &crate::plan::blocks::Block, block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        };
        Reader::new(&pool).stream(recipe, limit, &Progress::default(), keep).unwrap();
        bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    }

    #[test]
    fn packed_integers_stand_for_themselves_less_half_their_range_times_the_scale() {
        // Two rows of sixteen values 0..16, in groups of eight.
        let words = [0x7654_3210u32, 0xfedc_ba98].map(u32::to_le_bytes).concat().repeat(2);
        let config = json!({"quantization_config": {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 8}}}}});
        let stored = [
            tensor("a.weight_packed", Dtype::I32, &[2, 2], &words),
            tensor("a.weight_scale", Dtype::F32, &[2, 2], &floats(&[1.0, 0.5, 2.0, 10.0])),
            tensor("a.weight_shape", Dtype::I32, &[2], &[2, 0, 0, 0, 16, 0, 0, 0]),
            tensor("b.bias", Dtype::F32, &[1], &floats(&[3.0])),
        ];
        let plain = dequantized(&stored, Some(&config)).unwrap();
        let names: Vec<&str> = plain.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a.weight", "b.bias"]);
        let wanted: Vec<f32> = (0..32u8)
            .map(|place| {
                let (row, column) = (place / 16, place % 16);
                (f32::from(column) - 8.0) * [1.0, 0.5, 2.0, 10.0][usize::from(row * 2 + column / 8)]
            })
            .collect();
        for limit in [4, 12, 20, 64, 1000] {
            assert_eq!(values(&plain[0].recipe, limit), wanted, "in blocks of {limit} bytes");
        }
    }

    #[test]
    fn scales_are_those_of_a_block_a_row_or_of_all() {
        // 1.0 in E4M3 is 0x38.
        let weight = |rows: u64, columns: u64| vec![0x38; (rows * columns) as usize];
        let made = |ending: &str, shape: &[u64], scale: &[u64], factors: &[f32]| {
            let (rows, columns) = (shape[0], shape[1]);
            let stored = [
                tensor("a.weight", Dtype::F8E4M3, shape, &weight(rows, columns)),
                tensor(&format!("a.{ending}"), Dtype::F32, scale, &floats(factors)),
            ];
            values(&dequantized(&stored, None).unwrap()[0].recipe, 52)
        };
        assert_eq!(made("weight_scale", &[2, 3], &[1], &[4.0]), [4.0; 6]);
        assert_eq!(made("weight_scale", &[2, 3], &[2, 1], &[4.0, 5.0]), [4.0, 4.0, 4.0, 5.0, 5.0, 5.0]);
        let blocks = made("weight_scale_inv", &[130, 192], &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let at = |row: usize, column: usize| blocks[row * 192 + column];
        assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(128, 127), at(129, 191)], [1.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn schemes_that_are_not_known_are_refused_by_name() {
        let stored = [tensor("a.qweight", Dtype::I32, &[1, 1], &[0; 4])];
        let finding = dequantized(&stored, None).unwrap_err();
        assert_eq!((finding.id, finding.tensor.as_deref()), (Id::Unsupported, Some("a.qweight")));
    }
}
