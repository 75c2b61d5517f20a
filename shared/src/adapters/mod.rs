//! Adapters as tables: which modules they change and by which matrices, whatever the names; how they fit a base model
//! and are merged into it.

mod merge;
pub mod names;
pub mod patterns;
mod twin;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::canonical::rotary;
use crate::facts::recipe::RotaryOrder;
use crate::facts::{Finding, Id, Recipe, Tensor, limits};
use crate::layouts::{self, Checkpoint};

pub use merge::{Fit, How, Site, fit, merged};
pub use names::{Part, Scheme};
pub use patterns::Patterns;
pub use twin::unturned;

/// What changes one module.
#[derive(Debug, Clone, Default)]
pub struct Module<'a> {
    /// The module in Hugging Face's scheme: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Rank by inputs.
    pub a: Option<&'a Tensor>,
    /// Outputs by rank.
    pub b: Option<&'a Tensor>,
    /// One number a row.
    pub magnitude: Option<&'a Tensor>,
    /// An embedding, whose pair makes its weight's transpose.
    pub embedding: bool,
}

/// An adapter.
#[derive(Debug)]
pub struct Adapter<'a> {
    /// The scheme of its names.
    pub scheme: Scheme,
    /// What `adapter_config.json` says.
    pub said: Option<&'a Value>,
    /// What it changes, by layer and then by name.
    pub modules: Vec<Module<'a>>,
    /// Tensors of the base that it replaces whole, by their names in Hugging Face's scheme (`modules_to_save`).
    pub whole: Vec<(String, &'a Tensor)>,
    /// Tensors that are neither.
    pub unknown: Vec<&'a Tensor>,
    /// Ranks that the config says of some modules.
    pub ranks: Patterns<'a>,
    /// Alphas that it says of some.
    pub alphas: Patterns<'a>,
    /// Whether the rows of queries and keys lie in Meta's order.
    pub interleaved: bool,
    /// The family's rows are never in Meta's order.
    unturned: bool,
}

/// Settings of PEFT's config by which an adapter is more than pairs of matrices (`is_lora_variant` and others of
/// `LoraConfig` in PEFT 0.21), and what it is by them. DoRA is one too, and understood.
const MORE: &[(&str, &str)] = &[
    ("alora_invocation_tokens", "it works after some tokens only (aLoRA)"),
    ("arrow_config", "it chooses among adapters (Arrow)"),
    ("kasa_config", "it cuts the base's own weights (KaSA)"),
    ("layer_replication", "it stacks copies of the base's layers (layer_replication)"),
    ("use_bdlora", "its matrices are diagonal blocks (BD-LoRA)"),
    ("use_qalora", "it pools its inputs (QA-LoRA)"),
];

/// Beginnings of `init_lora_weights` with which PEFT takes the first product out of the base's weights.
const MOVED: &[&str] = &["pissa", "corda", "olora", "loftq", "lora_ga"];

/// Families whose queries and keys torchtune leaves in Hugging Face's order, by `model_type`.
const UNTURNED: &[&str] = &["qwen2", "qwen3"];

/// The adapter that a checkpoint is; `None` for a model.
pub fn of(checkpoint: &Checkpoint) -> Option<Adapter<'_>> {
    if !layouts::is_adapter(checkpoint) {
        return None;
    }
    let tensors = &checkpoint.tensors;
    let scheme = names::scheme(tensors.iter().map(|tensor| tensor.name.as_str()));
    let mut modules: BTreeMap<(u64, String), Module<'_>> = BTreeMap::new();
    let (mut whole, mut unknown) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let place = names::place(scheme, &tensor.name);
        let Some((name, part)) = place.filter(|(name, _)| name.matches('.').count() < limits::MODULE_PARTS) else {
            match tensor.name.strip_prefix(names::PREFIX) {
                // A module that has a pair too is wrapped.
                Some(own) if !own.contains("lora_") => whole.push((own.replace(".base_layer.", "."), tensor)),
                _ => unknown.push(tensor),
            }
            continue;
        };
        let module = modules.entry((layer(&name), name.clone())).or_default();
        module.name = name;
        module.embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
        let slot = match part {
            Part::A | Part::EmbeddingA => &mut module.a,
            Part::B | Part::EmbeddingB => &mut module.b,
            Part::Magnitude => &mut module.magnitude,
        };
        if slot.replace(tensor).is_some() {
            unknown.push(tensor);
        }
    }
    let unturned = is_unturned(checkpoint);
    let said = checkpoint.adapter.as_ref().map(|json| &json.value);
    let table = |key: &str| Patterns::of(said.and_then(|said| said.get(key)));
    Some(Adapter {
        scheme,
        said,
        ranks: table("rank_pattern"),
        alphas: table("alpha_pattern"),
        modules: modules.into_values().collect(),
        whole,
        unknown,
        interleaved: scheme != Scheme::Peft && !unturned,
        unturned,
    })
}

fn is_unturned(checkpoint: &Checkpoint) -> bool {
    let family = checkpoint.family.as_ref().map_or(&[][..], |family| family.arch.model_types);
    let told = checkpoint.params().and_then(|config| config.get("model_type")?.as_str());
    told.iter().chain(family).any(|name| UNTURNED.contains(name))
}

/// The first number in a module's name; modules outside the layers come first.
fn layer(name: &str) -> u64 {
    name.split('.').find_map(|part| part.parse::<u64>().ok()).map_or(0, |number| number.saturating_add(1))
}

impl Module<'_> {
    /// The rank, as the first matrix has it.
    pub fn rank(&self) -> Option<u64> {
        self.a.and_then(|a| a.recipe.shape.first().copied())
    }
}

impl<'a> Adapter<'a> {
    /// What kind it is: `lora`, `dora`, or PEFT's word for another.
    pub fn kind(&self) -> String {
        let told = self.text("peft_type").map(str::to_lowercase);
        match told {
            Some(kind) if kind != "lora" => kind,
            _ if self.is_dora() => "dora".to_owned(),
            _ => "lora".to_owned(),
        }
    }

    /// Whether it is made of pairs of matrices, which is all that is understood here.
    pub fn is_low_rank(&self) -> bool {
        self.text("peft_type").is_none_or(|kind| kind.eq_ignore_ascii_case("lora"))
    }

    /// Whether rows have magnitudes.
    pub fn is_dora(&self) -> bool {
        self.flag("use_dora") || self.modules.iter().any(|module| module.magnitude.is_some())
    }

    /// Whether the product is scaled by the root of the rank.
    pub fn is_rslora(&self) -> bool {
        self.flag("use_rslora")
    }

    /// Whether torchtune leaves the rows of its family in Hugging Face's order, as far as the base's config tells.
    pub fn is_unturned(&self) -> bool {
        self.unturned
    }

    /// Takes from the base what the adapter's own files do not tell of it.
    pub fn settle(&mut self, base: &Checkpoint) {
        self.unturned = is_unturned(base);
        self.interleaved = self.scheme != Scheme::Peft && !self.unturned;
    }

    /// The rank that most modules have.
    pub fn rank(&self) -> Option<u64> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for rank in self.modules.iter().filter_map(Module::rank) {
            let count = counts.entry(rank).or_default();
            *count = count.saturating_add(1);
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(rank, _)| rank)
    }

    /// The alpha that the config says for all modules it does not name.
    pub fn alpha(&self) -> Option<f64> {
        self.said?.get("lora_alpha")?.as_f64()
    }

    /// The base model that the config names.
    pub fn base(&self) -> Option<&'a str> {
        self.text("base_model_name_or_path").filter(|name| !name.is_empty())
    }

    /// The last parts of the names of the modules that it changes, sorted.
    pub fn targets(&self) -> BTreeSet<&str> {
        self.modules.iter().map(|module| module.name.rsplit('.').next().unwrap_or(&module.name)).collect()
    }

    /// What a module's product is scaled by; `alpha` is taken for that of the config where that names no other for the
    /// module. `None` if nothing tells.
    ///
    /// # Errors
    /// A finding for a rank or an alpha that no number comes of, and where the config speaks in expressions of its modules.
    pub fn scale(&self, module: &Module<'_>, alpha: Option<f64>) -> Result<Option<f64>, Finding> {
        if let Some(key) = self.alphas.unread() {
            let message = format!("alpha_pattern has the expression {key:?}, and only names of modules are understood");
            return Err(Finding::new(Id::Unsupported, message).in_file(layouts::ADAPTER_CONFIG));
        }
        let own = match self.alphas.get(&module.name) {
            None => None,
            Some(said) => Some(said.as_f64().ok_or_else(|| {
                let message = format!("alpha_pattern says {said} of {}, which is no number", module.name);
                Finding::new(Id::AdapterAlpha, message).in_file(layouts::ADAPTER_CONFIG)
            })?),
        };
        let Some(alpha) = own.or(alpha).or_else(|| self.alpha()) else { return Ok(None) };
        // A rank that passed its limit is far below 2^32.
        let rank = module.rank().and_then(|rank| u32::try_from(rank).ok()).map_or(f64::INFINITY, f64::from);
        let scale = if self.is_rslora() { alpha / rank.sqrt() } else { alpha / rank };
        if scale.abs() > f64::from(f32::MAX) || !scale.is_finite() {
            let message = format!("an alpha of {alpha:?} and a rank of {rank} make no number to scale by");
            return Err(Finding::new(Id::AdapterAlpha, message));
        }
        Ok(Some(scale))
    }

    /// By what the config makes more of the adapter than its pairs of matrices: PEFT cannot merge it, or merges it with
    /// a base that it changes when it loads the adapter.
    pub fn beyond(&self) -> Option<&'static str> {
        let is_on = |key: &str| {
            let value = self.said.and_then(|said| said.get(key)).unwrap_or(&Value::Null);
            !matches!(value, Value::Null | Value::Bool(false))
        };
        let more = MORE.iter().find(|(key, _)| is_on(key));
        let start = self.text("init_lora_weights").unwrap_or_default().to_lowercase();
        let moved = MOVED.iter().any(|name| start.starts_with(name));
        more.map(|(_, what)| *what).or(moved.then_some(
            "its start moved the base's own weights (init_lora_weights); save it with PEFT's path_initial_model_for_weight_conversion, which makes a plain LoRA of it",
        ))
    }

    /// A setting of the config that is a text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.said?.get(key)?.as_str()
    }

    /// A setting of the config that is true.
    pub fn flag(&self, key: &str) -> bool {
        self.said.and_then(|said| said.get(key)?.as_bool()).unwrap_or(false)
    }

    /// Whether the rows of some module have to be reordered between PEFT's order and torchtune's.
    pub fn has_rotary(&self) -> bool {
        self.modules.iter().any(|module| names::is_rotary(&module.name))
    }

    /// Its tensors under the names of another scheme, rows of queries and keys in that scheme's order; `head_dim` is the
    /// size of a head in elements. Also the names of those that the scheme has no place for.
    pub fn renamed(&self, to: Scheme, interleaved: bool, head_dim: Option<u64>) -> (Vec<Tensor>, Vec<String>) {
        let (mut tensors, mut lost) = (Vec::new(), Vec::new());
        let order = order(self.interleaved, interleaved);
        for module in &self.modules {
            let (a, b) = if module.embedding { (Part::EmbeddingA, Part::EmbeddingB) } else { (Part::A, Part::B) };
            let rows = |recipe: &Recipe| match (order, head_dim) {
                (Some(order), Some(head_dim)) if names::is_rotary(&module.name) => {
                    rotary(recipe.clone(), head_dim, order)
                }
                _ => recipe.clone(),
            };
            let parts = [(module.a, a, false), (module.b, b, true), (module.magnitude, Part::Magnitude, true)];
            for (tensor, part, turns) in parts {
                let Some(tensor) = tensor else { continue };
                match names::named(to, &module.name, part) {
                    Some(name) => {
                        let recipe = if turns { rows(&tensor.recipe) } else { tensor.recipe.clone() };
                        tensors.push(Tensor { name, recipe, crc32: None });
                    }
                    None => lost.push(tensor.name.clone()),
                }
            }
        }
        for (_, tensor) in &self.whole {
            if to == Scheme::Peft {
                tensors.push(Tensor { crc32: None, ..(*tensor).clone() });
            } else {
                lost.push(tensor.name.clone());
            }
        }
        (tensors, lost)
    }
}

/// The order that rows get which lie in one and are wanted in another; `None` if they are alike.
fn order(interleaved: bool, wanted: bool) -> Option<RotaryOrder> {
    match (interleaved, wanted) {
        (true, false) => Some(RotaryOrder::Halves),
        (false, true) => Some(RotaryOrder::Interleaved),
        _ => None,
    }
}
