//! The sizes of a model as its config says them, under the keys of either naming scheme.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Arch, Counts, Naming, Need, On, Row, Size, llama};

/// The part of a config that speaks of the language model, where a model also sees.
const TEXT: &str = "text_config";

/// What a config says under a key, of the language model first.
pub fn setting<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    let said = |config: &'a Value| config.get(key).filter(|value| !value.is_null());
    config.get(TEXT).and_then(said).or_else(|| said(config))
}

/// Layers that a config lists by their numbers. Every tensor asks for its layer, and a file may list as many layers as it
/// has bytes: so each list is read once.
#[derive(Debug, Default)]
struct Listed {
    /// Those with experts, by Llama 4's `moe_layers`.
    sparse: Option<BTreeSet<u64>>,
    /// Those without experts, by Qwen's `mlp_only_layers`.
    dense: Option<BTreeSet<u64>>,
    /// Those that attend to images, by Llama 3.2 Vision's `cross_attention_layers`.
    crossing: Option<BTreeSet<u64>>,
}

impl Listed {
    fn of(config: &Value) -> Listed {
        let list = |key: &str| Some(setting(config, key)?.as_array()?.iter().filter_map(Value::as_u64).collect());
        Listed { sparse: list("moe_layers"), dense: list("mlp_only_layers"), crossing: list("cross_attention_layers") }
    }
}

/// Tiles of an image, at most: a model has four, and tables of their shapes grow with their number.
pub const MAX_TILES: u64 = 64;

/// The sizes that shapes are made of. What the config does not say is unknown, and nothing is checked against it.
#[derive(Debug, Clone)]
pub struct Sizes<'a> {
    arch: &'static Arch,
    naming: Naming,
    config: Option<&'a Value>,
    listed: Arc<Listed>,
}

impl<'a> Sizes<'a> {
    /// Those of a `config.json` or `params.json`, or none at all.
    pub fn of(arch: &'static Arch, naming: Naming, config: Option<&'a Value>) -> Sizes<'a> {
        let listed = Arc::new(config.map(Listed::of).unwrap_or_default());
        Sizes { arch, naming, config, listed }
    }

    /// A positive number of the config, under the first of these keys that has one.
    fn number(&self, keys: &[&str]) -> Option<u64> {
        let config = self.config?;
        let said = keys.iter().find_map(|key| setting(config, key)?.as_u64().filter(|&number| number > 0));
        said.or_else(|| keys.iter().find_map(|key| self.default(key)))
    }

    fn default(&self, key: &str) -> Option<u64> {
        self.arch.defaults.iter().find(|row| row.0 == key).map(|row| row.1)
    }

    /// A number by its path from the top.
    fn path(&self, path: &str) -> Option<u64> {
        let said = self.config?.pointer(&format!("/{path}")).and_then(Value::as_u64);
        said.or_else(|| self.default(path))
    }

    /// Whether the config says `true` under a key; `None` without a config.
    fn says(&self, key: &str) -> Option<bool> {
        Some(setting(self.config?, key).and_then(Value::as_bool).unwrap_or(false))
    }

    /// Whether the config says anything under a key; `None` without a config.
    fn speaks_of(&self, key: &str) -> Option<bool> {
        Some(setting(self.config?, key).is_some())
    }

    /// Layers of the language model.
    pub fn layers(&self) -> Option<u64> {
        let all = self.number(&["num_hidden_layers", "n_layers"])?;
        // A table with layers inside of others counts the others.
        let inside = self.arch.rows.iter().any(|row| row.on == On::CrossBefore);
        Some(if inside { all.saturating_sub(self.crossing(all)) } else { all })
    }

    /// How many of all layers attend to images.
    fn crossing(&self, all: u64) -> u64 {
        match &self.listed.crossing {
            Some(crossing) => u64::try_from(crossing.len()).unwrap_or(u64::MAX),
            // 3, 8, 13 …, as `MllamaTextConfig` has them.
            None => all.saturating_add(1).checked_div(5).unwrap_or(0),
        }
    }

    /// Whether a layer that attends to images is a part of this one, which attends to text.
    fn attends_before(&self, layer: u64) -> bool {
        let Some(all) = self.number(&["num_hidden_layers", "n_layers"]) else { return true };
        let crossing = self.crossing(all);
        let every = all.saturating_sub(crossing).checked_div(crossing).unwrap_or(0);
        every > 0 && layer.saturating_add(1).is_multiple_of(every)
    }

    /// Layers of the language model that attend to images, where they are numbered for themselves.
    pub fn cross_layers(&self) -> Option<u64> {
        self.path("vision_num_cross_attention_layers")
    }

    /// Layers of the vision tower.
    pub fn vision_layers(&self) -> Option<u64> {
        self.path("vision_config/num_hidden_layers").or_else(|| self.path("vision_args/n_layers"))
    }

    /// Layers of the vision tower that see all tiles of an image at once.
    pub fn global_layers(&self) -> Option<u64> {
        self.path("vision_config/num_global_layers")
    }

    /// Experts of a layer.
    pub fn experts(&self) -> Option<u64> {
        let own = || ["moe/num_experts", "moe_args/num_experts"].into_iter().find_map(|path| self.path(path));
        self.number(&["num_local_experts", "num_experts"]).or_else(own)
    }

    /// Elements of one attention head.
    pub fn head(&self) -> Option<u64> {
        let quotient = || self.get(Size::Dim)?.checked_div(self.heads()?);
        self.number(&["head_dim"]).or_else(quotient).filter(|&head| head > 0)
    }

    fn heads(&self) -> Option<u64> {
        self.number(&["num_attention_heads", "n_heads"])
    }

    fn kv_heads(&self) -> Option<u64> {
        self.number(&["num_key_value_heads", "n_kv_heads"]).or_else(|| self.heads())
    }

    /// One size; `None` if the config does not say it.
    pub fn get(&self, size: Size) -> Option<u64> {
        match size {
            // Meta's is -1 where the tokenizer says it: not a positive number, so not said.
            Size::Vocab => self.number(&["vocab_size"]),
            Size::Dim => self.number(&["hidden_size", "dim"]),
            Size::Heads => self.heads()?.checked_mul(self.head()?),
            Size::KvHeads => self.kv_heads()?.checked_mul(self.head()?),
            Size::Qkv => self.get(Size::KvHeads)?.checked_mul(2)?.checked_add(self.get(Size::Heads)?),
            Size::Head => self.head(),
            Size::HalfHead => self.head()?.checked_div(2),
            Size::Ffn => {
                self.number(&["intermediate_size_mlp", "intermediate_size", "hidden_dim"]).or_else(|| self.meta_ffn())
            }
            Size::TwiceFfn => self.get(Size::Ffn)?.checked_mul(2),
            Size::Experts => self.experts(),
            Size::ExpertFfn => self.number(&["moe_intermediate_size", "intermediate_size", "hidden_dim"]),
            Size::SharedFfn => self.number(&["shared_expert_intermediate_size", "intermediate_size"]),
            Size::Patches => {
                let side =
                    self.path("vision_config/image_size")?.checked_div(self.path("vision_config/patch_size")?)?;
                side.checked_mul(side)
            }
            Size::Ratios => self.ratios(),
            Size::Unsaid => None,
            Size::Exactly(size) => Some(size),
            Size::Key(path) => self.path(path),
            Size::Plus(sizes) => sizes.iter().try_fold(0u64, |sum, &size| sum.checked_add(self.get(size)?)),
            Size::Times(sizes) => sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(self.get(size)?)),
        }
    }

    /// The shape that a row of the family's table has in this model, as far as it is known.
    pub fn shape(&self, shape: &[Size]) -> Vec<Option<u64>> {
        shape.iter().map(|&size| self.get(size)).collect()
    }

    /// Whether a model with this config has a row's tensor in a layer; also true where nothing tells.
    pub fn has(&self, row: &Row, layer: u64) -> bool {
        let sparse = || self.is_sparse(layer);
        let here = match row.on {
            On::All | On::CrossAlone | On::Vision | On::VisionGlobal => true,
            On::Sparse => sparse(),
            On::Dense => !sparse() || self.config.is_none(),
            On::SelfAttention => !self.attends_to_images(layer) || self.config.is_none(),
            On::CrossAttention => self.attends_to_images(layer),
            On::CrossBefore => self.attends_before(layer),
        };
        let called = match row.need {
            Need::Where(key) => self.says(key),
            Need::With(key) => self.speaks_of(key),
            Need::Always | Need::Head | Need::Derived => None,
        };
        here && called != Some(false)
    }

    /// Whether a model with this config cannot be without a row's tensor in a layer. Of the output head others judge.
    pub fn needs(&self, row: &Row, layer: u64) -> bool {
        let always = match row.need {
            Need::Always => true,
            Need::Where(key) => self.says(key) == Some(true),
            Need::With(key) => self.speaks_of(key) == Some(true),
            Need::Head | Need::Derived => false,
        };
        let told = self.config.is_some() || matches!(row.on, On::All | On::CrossAlone | On::Vision | On::VisionGlobal);
        always && told && self.has(row, layer)
    }

    /// Whether a layer has experts (`decoder_sparse_step` and `mlp_only_layers` of Qwen's configs,
    /// `interleave_moe_layer_step` and `moe_layers` of Llama 4's, `moe_args` of its `params.json`).
    fn is_sparse(&self, layer: u64) -> bool {
        let Some(config) = self.config else { return true };
        if self.naming == Naming::Meta && self.arch.name == "llama4" {
            let step = || config.pointer("/moe_args/interleave_moe_layer_step").map_or(Some(1), Value::as_u64);
            let has = self.speaks_of("moe_args") == Some(true);
            return has && step().is_some_and(|step| layer.saturating_add(1).is_multiple_of(step));
        }
        if let Some(sparse) = &self.listed.sparse {
            return sparse.contains(&layer);
        }
        let step = self.number(&["decoder_sparse_step", "interleave_moe_layer_step"]).unwrap_or(1);
        let dense = self.listed.dense.as_ref().is_some_and(|dense| dense.contains(&layer));
        !dense && layer.saturating_add(1).is_multiple_of(step)
    }

    /// Whether a layer attends to images; where the config lists none, those of `MllamaTextConfig`: 3, 8, 13 …
    fn attends_to_images(&self, layer: u64) -> bool {
        let crossing = self.listed.crossing.as_ref();
        self.config.is_none() || crossing.map_or(layer.checked_rem(5) == Some(3), |crossing| crossing.contains(&layer))
    }

    /// Shapes of so many tiles at most, columns by rows, and one for no image (`get_all_supported_aspect_ratios` of
    /// transformers' `image_processing_mllama.py`).
    fn ratios(&self) -> Option<u64> {
        let listed = self.config?.pointer("/vision_config/supported_aspect_ratios").and_then(Value::as_array);
        if let Some(listed) = listed {
            return u64::try_from(listed.len()).ok()?.checked_add(1);
        }
        let tiles = self.path("vision_config/max_num_tiles").filter(|&tiles| tiles <= MAX_TILES)?;
        (1..=tiles).try_fold(1u64, |sum, rows| sum.checked_add(tiles.checked_div(rows)?))
    }

    /// How many parts the model has, by its config; 0 of what it does not say.
    pub fn counts(&self) -> Counts {
        let said = |count: Option<u64>| count.unwrap_or_default();
        Counts {
            layers: said(self.layers()),
            cross: said(self.cross_layers()),
            vision: said(self.vision_layers()),
            global: said(self.global_layers()),
            experts: said(self.experts()),
        }
    }

    /// `params.json` says the width of the feed-forward layer by a formula.
    fn meta_ffn(&self) -> Option<u64> {
        let params = self.config.filter(|_| matches!(self.naming, Naming::Meta | Naming::Tune))?;
        // Where it is not said, Meta's `ModelArgs` rounds up to 256.
        let multiple_of = params.get("multiple_of").map_or(Some(256), Value::as_u64)?;
        let multiplier = match params.get("ffn_dim_multiplier") {
            None | Some(Value::Null) => None,
            Some(multiplier) => Some(multiplier.as_f64()?),
        };
        llama::ffn::width(params.get("dim")?.as_u64()?, (multiple_of, multiplier))
    }
}
