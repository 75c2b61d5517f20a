//! Quantised weights: which stored tensors make one logical weight, by their names and the config, and the expression
//! that makes its values as the library does that defines the scheme.
//!
//! One file a scheme. Where a library multiplies in the dtype of its scales, the product is made in F32, where it is
//! exact, and rounded once, to the dtype asked for: the same bits in the library's dtype, and the nearest value in any
//! other. Where it rounds on the way (MLX), so do these.

mod bitsandbytes;
mod build;
mod compressed;
mod grouped;
mod mlx;
mod scaled;
mod small;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::facts::{Finding, Id, Recipe, Tensor};

/// Reads a small value whole; none where data are not to be read.
pub type Look<'a> = &'a dyn Fn(&Recipe) -> Result<Option<Vec<u8>>, Finding>;

/// The bytes that [`Look`] may be asked for: a state in JSON, a shape, an order of columns.
const SMALL: u64 = 1 << 20;

/// The stored tensors of a checkpoint and what its config says of them.
struct Model<'a> {
    tensors: HashMap<&'a str, &'a Tensor>,
    settings: Option<&'a Value>,
    look: Look<'a>,
}

/// A logical weight.
struct Weight {
    name: String,
    recipe: Recipe,
    /// Names of the tensors it is made of, or that say of it what need not be said any more.
    parts: Vec<String>,
}

/// Finds the weight that a stored tensor holds the values of, if it is of this scheme.
type Scheme = fn(&Model<'_>, &Tensor) -> Result<Option<Weight>, Finding>;

/// The schemes, in the order in which they are tried: the one whose names tell most comes first.
const SCHEMES: &[Scheme] = &[
    compressed::packed,
    grouped::weight,
    small::blocks,
    bitsandbytes::four,
    bitsandbytes::eight,
    mlx::weight,
    small::modelopt,
    scaled::weight,
];

/// The methods that `quant_method` of a config can name and that are undone here.
pub const METHODS: &[&str] = &[
    "auto-round",
    "awq",
    "bitsandbytes",
    "compressed-tensors",
    "fbgemm_fp8",
    "fp8",
    "gptq",
    "mlx",
    "modelopt",
    "mxfp4",
];

/// Endings that say a tensor belongs to a quantised weight, and whose.
const TELLTALES: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".weight_packed", "compressed-tensors"),
    (".weight_global_scale", "compressed-tensors"),
    (".weight_zero_point", "compressed-tensors"),
    (".weight_g_idx", "compressed-tensors"),
    (".weight_scale_2", "ModelOpt"),
    (".weight_scale_inv", "block-wise FP8"),
    (".quant_state.bitsandbytes__nf4", "bitsandbytes"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".W_q", "HQQ"),
    (".weight._data", "Quanto"),
    (".codebooks", "AQLM"),
    (".trellis", "QTIP or EXL3"),
    (".q_weight", "EXL2"),
    (".weight_packed_planes", "GPTQModel"),
];

/// The tensors with every quantised weight as the values it stands for, under its logical name; scales and what else
/// belongs to the scheme are gone. Others stay as they are, and all stay in order.
///
/// A weight has the dtype in which its library makes it: F32, but for MLX that of its scales.
///
/// # Errors
/// [`Id::Unsupported`] for a scheme that is not known here, [`Id::PackedParts`] for parts that are missing or do not
/// fit, both with the tensor; those of `look`.
pub fn dequantized(tensors: &[Tensor], config: Option<&Value>, look: Look<'_>) -> Result<Vec<Tensor>, Finding> {
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut made: BTreeMap<&str, Tensor> = BTreeMap::new();
    let model = Model::new(tensors, config, look);
    for tensor in tensors {
        if let Some(weight) = model.weight(tensor).map_err(|finding| finding.tensor(tensor.name.clone()))? {
            used.extend(weight.parts);
            made.insert(&tensor.name, Tensor { name: weight.name, recipe: weight.recipe, crc32: None });
        }
    }
    for tensor in tensors {
        let known = used.contains(&tensor.name) || made.contains_key(tensor.name.as_str());
        let telltale = TELLTALES.iter().find(|(ending, _)| tensor.name.ends_with(ending));
        if let (false, Some((ending, whose))) = (known, telltale) {
            let message = format!(
                "a weight quantised in the way of {whose} (its name ends in {ending}) cannot be undone here: dequantise it with the library that wrote it, and convert what that saves"
            );
            return Err(Finding::new(Id::Unsupported, message).tensor(tensor.name.clone()));
        }
    }
    if let (true, Some(method)) = (made.is_empty(), model.method()) {
        let known = METHODS.contains(&method);
        let why =
            if known { "no tensor has the names that this method gives" } else { "this method is not known here" };
        let message = format!("the config says that weights are quantised by {method:?}, but {why}");
        return Err(Finding::new(Id::Unsupported, message).needed(METHODS.join(", "), method));
    }
    let kept = tensors.iter().filter(|tensor| made.contains_key(tensor.name.as_str()) || !used.contains(&tensor.name));
    let kept: Vec<&Tensor> = kept.collect();
    Ok(kept.into_iter().map(|tensor| made.remove(tensor.name.as_str()).unwrap_or_else(|| tensor.clone())).collect())
}

/// What keeps quantised weights from being unpacked, by their headers alone; each finding names its tensor.
pub fn unfit(tensors: &[Tensor], config: Option<&Value>) -> Vec<Finding> {
    let model = Model::new(tensors, config, &|_| Ok(None));
    let judge = |tensor: &Tensor| {
        let finding = model.weight(tensor).err()?;
        let fits = matches!(finding.id, Id::PackedParts | Id::ShardMismatch);
        fits.then(|| Finding { id: Id::PackedParts, ..finding }.tensor(tensor.name.clone()))
    };
    tensors.iter().filter_map(judge).collect()
}

impl<'a> Model<'a> {
    fn new(tensors: &'a [Tensor], config: Option<&'a Value>, look: Look<'a>) -> Model<'a> {
        let tensors = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Model { tensors, settings: config.and_then(settings), look }
    }

    /// The weight that a stored tensor holds the values of, if it does; its geometry is proved.
    fn weight(&self, tensor: &Tensor) -> Result<Option<Weight>, Finding> {
        for scheme in SCHEMES {
            if let Some(weight) = scheme(self, tensor)? {
                // Bytes are not asked after: their places have been checked.
                crate::facts::check::check(&weight.recipe, &|_| u64::MAX)?;
                return Ok(Some(weight));
            }
        }
        Ok(None)
    }

    /// What `quant_method` says; MLX has no such key.
    fn method(&self) -> Option<&'a str> {
        let settings = self.settings?;
        let bare = settings.get("bits").map(|_| "mlx");
        settings.get("quant_method").and_then(Value::as_str).or(bare)
    }

    fn setting(&self, key: &str) -> Option<&'a Value> {
        self.settings?.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.setting(key)?.as_str()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.setting(key)?.as_u64()
    }

    fn part(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name).copied()
    }

    /// A part that a weight cannot do without.
    fn needed(&self, name: &str) -> Result<&'a Tensor, Finding> {
        self.part(name).ok_or_else(|| {
            let (_, part) = name.rsplit_once('.').unwrap_or(("", name));
            misfit(format!("a packed weight without its {part}")).needed(name, "nothing")
        })
    }

    /// A small value, if data are read and it is small.
    fn bytes(&self, of: &Recipe) -> Result<Option<Vec<u8>>, Finding> {
        if of.len_bytes() > SMALL {
            return Ok(None);
        }
        (self.look)(of)
    }
}

/// What a config says of quantisation, also where a model of several parts says it with the one that speaks.
fn settings(config: &Value) -> Option<&Value> {
    let own = ["quantization_config", "compression_config", "quantization"];
    let found = own.iter().find_map(|key| config.get(key).filter(|settings| settings.is_object()));
    found.or_else(|| ["text_config", "llm_config"].iter().find_map(|part| settings(config.get(part)?)))
}

/// A finding about parts that do not fit; the caller says which tensor.
fn misfit(message: impl Into<String>) -> Finding {
    Finding::new(Id::PackedParts, message)
}

/// A finding about a form of a known scheme that is not read here.
fn unknown(message: impl Into<String>) -> Finding {
    Finding::new(Id::Unsupported, message)
}

#[cfg(test)]
mod tests;
