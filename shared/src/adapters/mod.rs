//! Adapters as tables: which modules they change and by which matrices, whatever the names; how they fit a base model
//! and are merged into it.

mod merge;
pub mod names;
mod twin;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::canonical::rotary;
use crate::facts::recipe::RotaryOrder;
use crate::facts::{Recipe, Tensor};
use crate::layouts::{self, Checkpoint};

pub use merge::{Fit, Site, fit, merged};
pub use names::{Part, Scheme};
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
    /// Whether the rows of queries and keys lie in Meta's order.
    pub interleaved: bool,
    /// The family's rows are never in Meta's order.
    unturned: bool,
}

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
        let Some((name, part)) = names::place(scheme, &tensor.name) else {
            match tensor.name.strip_prefix(names::PREFIX) {
                Some(own) if !own.contains("lora_") => whole.push((own.to_owned(), tensor)),
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
    Some(Adapter {
        scheme,
        said: checkpoint.adapter.as_ref().map(|json| &json.value),
        modules: modules.into_values().collect(),
        whole,
        unknown,
        interleaved: scheme != Scheme::Peft && !unturned,
        unturned,
    })
}

fn is_unturned(checkpoint: &Checkpoint) -> bool {
    let model_type = checkpoint.params().and_then(|config| config.get("model_type")?.as_str());
    model_type.is_some_and(|name| UNTURNED.contains(&name))
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

    /// What a module's product is scaled by; `alpha` overrides the config's. `None` if nothing tells.
    pub fn scale(&self, module: &Module<'_>, alpha: Option<f64>) -> Option<f64> {
        let own = || pattern(self.said?.get("alpha_pattern")?, &module.name)?.as_f64();
        let alpha = alpha.or_else(own).or_else(|| self.alpha())?;
        // A rank is a size that a file has, and far below 2^32.
        let rank = f64::from(u32::try_from(module.rank()?).ok()?);
        Some(if self.is_rslora() { alpha / rank.sqrt() } else { alpha / rank })
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
        for (name, tensor) in &self.whole {
            if to == Scheme::Peft {
                let name = format!("{}{name}", names::PREFIX);
                tensors.push(Tensor { name, recipe: tensor.recipe.clone(), crc32: None });
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

/// What a table of PEFT's says of a module: of its whole name, or of what its name ends with. Keys that are regular
/// expressions are matched by nothing.
pub fn pattern<'v>(table: &'v Value, module: &str) -> Option<&'v Value> {
    let table = table.as_object()?;
    let fits = |key: &str| {
        let key = key.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
        module == key || module.strip_suffix(key.as_str()).is_some_and(|before| before.ends_with('.'))
    };
    table.iter().find(|(key, _)| fits(key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_are_names_or_ends_of_names() {
        let table = json!({"k_proj": 1, "model.layers.0.mlp.up_proj": 2, "^lm_head": 3});
        let number = |module: &str| pattern(&table, module).and_then(Value::as_u64);
        assert_eq!(number("model.layers.9.self_attn.k_proj"), Some(1));
        assert_eq!(number("model.layers.0.mlp.up_proj"), Some(2));
        assert_eq!(number("model.layers.10.mlp.up_proj"), None);
        assert_eq!(number("lm_head"), Some(3));
        assert_eq!(number("blk_proj"), None);
    }
}
