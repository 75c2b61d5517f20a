//! Quantised weights that are stored packed, and what they stand for: one row a scheme.
//!
//! A packed tensor counts as the weights it stands for, by its own shape and the number of bits that the config
//! states; what only helps to unpack it (scales, zero points, orders) does not count.

use std::collections::BTreeMap;

use ckpt::facts::{Dtype, Tensor};
use serde_json::Value;

/// How many weights a packed element stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pack {
    /// As many as fit, by the bits that the config states.
    Bits,
    /// Two of four bits each, whatever the config says.
    Two,
}

/// A scheme of quantisation.
#[derive(Debug)]
struct Scheme {
    /// `quant_method` in `config.json`; empty where another key tells.
    method: &'static str,
    /// The last part of the name of a packed tensor, its dtype, and what it stands for.
    packed: &'static [(&'static str, Dtype, Pack)],
    /// The last part of the names of what helps to unpack.
    helpers: &'static [&'static str],
    /// The last part of a name that gives the scheme away where there is no config.
    telltale: &'static str,
}

const COMPRESSED_HELPERS: &[&str] = &[
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "weight_global_scale",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "output_scale",
    "k_scale",
    "v_scale",
];

/// The schemes that are met in published models, as their own libraries name the tensors. `_blocks` and `_scales`
/// of MXFP4 are endings of a name's last part; the others are last parts themselves.
#[rustfmt::skip]
const SCHEMES: &[Scheme] = &[
    Scheme { method: "compressed-tensors", telltale: "weight_packed", helpers: COMPRESSED_HELPERS,
             packed: &[("weight_packed", Dtype::I32, Pack::Bits), ("weight_packed", Dtype::U8, Pack::Bits)] },
    Scheme { method: "fp8", telltale: "weight_scale_inv", packed: &[],
             helpers: &["weight_scale_inv", "weight_scale", "input_scale", "activation_scale", "k_scale", "v_scale"] },
    Scheme { method: "fbgemm_fp8", telltale: "", packed: &[], helpers: &["weight_scale", "input_scale_ub"] },
    Scheme { method: "modelopt", telltale: "weight_scale_2", packed: &[("weight", Dtype::U8, Pack::Two)],
             helpers: &["weight_scale", "weight_scale_2", "input_scale", "k_scale", "v_scale"] },
    Scheme { method: "mxfp4", telltale: "_blocks", packed: &[("_blocks", Dtype::U8, Pack::Two)],
             helpers: &["_scales"] },
    Scheme { method: "gptq", telltale: "qweight", packed: &[("qweight", Dtype::I32, Pack::Bits)],
             helpers: &["qzeros", "scales", "g_idx"] },
    Scheme { method: "auto-round", telltale: "", packed: &[("qweight", Dtype::I32, Pack::Bits)],
             helpers: &["qzeros", "scales", "g_idx"] },
    Scheme { method: "awq", telltale: "", packed: &[("qweight", Dtype::I32, Pack::Bits)],
             helpers: &["qzeros", "scales"] },
    Scheme { method: "bitsandbytes", telltale: "quant_map", packed: &[("weight", Dtype::U8, Pack::Two)],
             helpers: &["absmax", "quant_map", "nested_absmax", "nested_quant_map", "bitsandbytes__nf4",
                        "bitsandbytes__fp4", "SCB", "weight_format"] },
    Scheme { method: "mlx", telltale: "", packed: &[("weight", Dtype::U32, Pack::Bits)],
             helpers: &["scales", "biases"] },
];

/// Bits where no config states them: nearly all packed models have four.
const USUAL_BITS: u64 = 4;

/// What a tensor counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// For that many weights.
    For(u64),
    /// For none: it helps to unpack others.
    Helps,
}

/// The quantisation of a checkpoint.
#[derive(Debug)]
pub(super) struct Packed {
    scheme: Option<&'static Scheme>,
    bits: u64,
    /// Bits of single modules, by their names, where MLX's settings differ from one to another.
    modules: BTreeMap<String, u64>,
}

impl Packed {
    /// Found in the config, or else by names that give a scheme away.
    pub(super) fn of(config: Option<&Value>, tensors: &[Tensor]) -> Packed {
        let stated = config.and_then(settings);
        let method = stated.and_then(|(method, _)| SCHEMES.iter().find(|scheme| scheme.method == method));
        let scheme = if stated.is_some() { method } else { by_names(tensors) };
        let sensible = |bits: &u64| (1..=32).contains(bits);
        let usual = stated.and_then(|(_, settings)| bits(settings)).filter(sensible);
        let own = stated.and_then(|(_, settings)| settings.as_object()).into_iter().flatten();
        let own = own.filter_map(|(name, own)| Some((name.clone(), own.get("bits")?.as_u64().filter(sensible)?)));
        Packed { scheme, bits: usual.unwrap_or(USUAL_BITS), modules: own.collect() }
    }

    /// What a tensor counts for.
    pub(super) fn stands(&self, tensor: &Tensor) -> Stands {
        let stored = tensor.recipe.elements();
        let Some(scheme) = self.scheme else { return Stands::For(stored) };
        let part = last_part(&tensor.name);
        if scheme.helpers.iter().any(|helper| is(part, helper)) {
            return Stands::Helps;
        }
        let dtype = tensor.recipe.dtype;
        let packed = scheme.packed.iter().find(|row| row.1 == dtype && is(part, row.0));
        Stands::For(match packed.map(|row| row.2) {
            // Bits that do not divide the word run across words, so the product comes first.
            Some(Pack::Bits) => {
                let whole = u128::from(stored).saturating_mul(u128::from(dtype.bits()));
                let module = tensor.name.rsplit_once('.').map_or("", |(module, _)| module);
                let bits = self.modules.get(module).copied().unwrap_or(self.bits);
                u64::try_from(whole.checked_div(u128::from(bits)).unwrap_or(0)).unwrap_or(u64::MAX)
            }
            Some(Pack::Two) => stored.saturating_mul(2),
            None => stored,
        })
    }
}

/// The method and its settings, as `config.json` has them.
fn settings(config: &Value) -> Option<(&str, &Value)> {
    if let Some(settings) = config.get("quantization_config").filter(|settings| settings.is_object()) {
        // MLX writes its settings there as well, and names no method.
        let unnamed = if settings.get("bits").is_some() { "mlx" } else { "" };
        return Some((settings.get("quant_method").and_then(Value::as_str).unwrap_or(unnamed), settings));
    }
    // A model of several parts states it with the part that speaks.
    if let Some(found) = ["text_config", "llm_config"].iter().find_map(|part| settings(config.get(part)?)) {
        return Some(found);
    }
    config.get("quantization").filter(|settings| settings.get("bits").is_some()).map(|settings| ("mlx", settings))
}

/// Bits of a weight.
fn bits(settings: &Value) -> Option<u64> {
    let group = || {
        let groups = settings.get("config_groups")?.as_object()?;
        groups.values().find_map(|group| group.get("weights")?.get("num_bits")?.as_u64())
    };
    ["bits", "w_bit"].iter().find_map(|key| settings.get(key)?.as_u64()).or_else(group)
}

fn by_names(tensors: &[Tensor]) -> Option<&'static Scheme> {
    // Nearly all names end in one of these two, which give nothing away.
    tensors
        .iter()
        .map(|tensor| last_part(&tensor.name))
        .filter(|part| !matches!(*part, "weight" | "bias"))
        .find_map(|part| SCHEMES.iter().find(|scheme| !scheme.telltale.is_empty() && is(part, scheme.telltale)))
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, part)| part)
}

/// Whether a name's last part is what a row says.
fn is(part: &str, row: &str) -> bool {
    if row.starts_with('_') { part.ends_with(row) } else { part == row }
}

#[cfg(test)]
mod tests {
    use ckpt::facts::{FileId, Recipe};
    use serde_json::json;

    use super::*;

    fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> Tensor {
        Tensor { name: name.to_owned(), recipe: Recipe::bytes(dtype, shape.to_vec(), FileId(0), 0), crc32: None }
    }

    fn counts(config: &Value, tensors: &[Tensor]) -> Vec<Option<u64>> {
        let packed = Packed::of(Some(config), tensors);
        let stands = |tensor| match packed.stands(tensor) {
            Stands::For(count) => Some(count),
            Stands::Helps => None,
        };
        tensors.iter().map(stands).collect()
    }

    #[test]
    fn each_scheme_counts_what_it_stands_for() {
        // A weight of 64 rows and 128 columns in every scheme's own form, and what stands beside it.
        let quantized = |settings: Value| json!({ "quantization_config": settings });
        let weights = |bits: u64| json!({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": bits}}}});
        let cases = [
            (
                quantized(weights(4)),
                vec![
                    ("p.weight_packed", Dtype::I32, vec![64, 16]),
                    ("p.weight_scale", Dtype::Bf16, vec![64, 4]),
                    ("p.weight_shape", Dtype::I64, vec![2]),
                ],
            ),
            (
                quantized(weights(8)),
                vec![("p.weight_packed", Dtype::I32, vec![64, 32]), ("p.weight_zero_point", Dtype::I32, vec![1, 4])],
            ),
            (
                quantized(weights(4)),
                vec![("p.weight_packed", Dtype::U8, vec![64, 64]), ("p.weight_global_scale", Dtype::F32, vec![1])],
            ),
            (
                quantized(json!({"quant_method": "fp8"})),
                vec![("p.weight", Dtype::F8E4M3, vec![64, 128]), ("p.weight_scale_inv", Dtype::F32, vec![1, 1])],
            ),
            (
                quantized(json!({"quant_method": "modelopt"})),
                vec![("p.weight", Dtype::U8, vec![64, 64]), ("p.weight_scale_2", Dtype::F32, vec![])],
            ),
            (
                quantized(json!({"quant_method": "mxfp4"})),
                vec![
                    ("e.down_proj_blocks", Dtype::U8, vec![2, 64, 2, 16]),
                    ("e.down_proj_scales", Dtype::U8, vec![2, 64, 2]),
                ],
            ),
            (
                quantized(json!({"quant_method": "gptq", "bits": 4})),
                vec![("p.qweight", Dtype::I32, vec![16, 64]), ("p.g_idx", Dtype::I32, vec![128])],
            ),
            (
                quantized(json!({"quant_method": "awq", "bits": 8})),
                vec![("p.qweight", Dtype::I32, vec![128, 16]), ("p.qzeros", Dtype::I32, vec![1, 16])],
            ),
            (
                quantized(json!({"quant_method": "bitsandbytes", "load_in_4bit": true})),
                vec![
                    ("p.weight", Dtype::U8, vec![4096, 1]),
                    ("p.weight.quant_state.bitsandbytes__nf4", Dtype::U8, vec![80]),
                ],
            ),
            (
                json!({"quantization": {"bits": 4, "group_size": 32}}),
                vec![("p.weight", Dtype::U32, vec![64, 16]), ("p.biases", Dtype::F16, vec![64, 4])],
            ),
        ];
        for (config, rows) in cases {
            let tensors: Vec<Tensor> = rows.iter().map(|(name, dtype, shape)| tensor(name, *dtype, shape)).collect();
            let stated = counts(&config, &tensors);
            assert_eq!(stated.first(), Some(&Some(64 * 128)), "{config}");
            assert!(stated.iter().skip(1).all(Option::is_none), "{config}");
        }
    }

    #[test]
    fn names_give_a_scheme_away_and_plain_models_have_none() {
        let tensors = [tensor("a.weight_packed", Dtype::I32, &[8, 2]), tensor("a.weight_scale", Dtype::Bf16, &[8, 1])];
        assert_eq!(counts(&json!({}), &tensors), [Some(128), None]);
        let plain = [tensor("norm.scales", Dtype::F32, &[8]), tensor("a.weight", Dtype::U8, &[8, 2])];
        assert_eq!(counts(&json!({"model_type": "llama"}), &plain), [Some(8), Some(16)]);
    }
}
