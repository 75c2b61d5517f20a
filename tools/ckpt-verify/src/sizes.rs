//! The sizes of a model as its config says them, under the keys of either naming scheme.

use ckpt::archs::{Naming, Size};
use serde_json::Value;

/// The sizes that shapes are made of. `None` is a size that the config does not say; nothing is checked against it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sizes {
    /// Number of layers.
    pub(crate) layers: Option<u64>,
    vocab: Option<u64>,
    dim: Option<u64>,
    heads: Option<u64>,
    kv_heads: Option<u64>,
    head_dim: Option<u64>,
    ffn: Option<u64>,
}

impl Sizes {
    /// Reads them from `config.json` or `params.json`.
    pub(crate) fn of(naming: Naming, config: &Value) -> Sizes {
        let number = |key: &str| config.get(key).and_then(Value::as_u64).filter(|&number| number > 0);
        let mut sizes = match naming {
            Naming::Hf | Naming::Gguf => Sizes {
                layers: number("num_hidden_layers"),
                vocab: number("vocab_size"),
                dim: number("hidden_size"),
                heads: number("num_attention_heads"),
                kv_heads: number("num_key_value_heads"),
                head_dim: number("head_dim"),
                ffn: number("intermediate_size"),
            },
            Naming::Meta => Sizes {
                layers: number("n_layers"),
                // -1 where the tokenizer says it: not a positive number, so not said.
                vocab: number("vocab_size"),
                dim: number("dim"),
                heads: number("n_heads"),
                kv_heads: number("n_kv_heads"),
                head_dim: number("head_dim"),
                ffn: number("hidden_dim").or_else(|| meta_ffn(config)),
            },
        };
        sizes.kv_heads = sizes.kv_heads.or(sizes.heads);
        let quotient = || sizes.dim?.checked_div(sizes.heads?);
        sizes.head_dim = sizes.head_dim.or_else(quotient);
        sizes
    }

    /// One size; `None` if the config does not say it.
    pub(crate) fn get(&self, size: Size) -> Option<u64> {
        match size {
            Size::Vocab => self.vocab,
            Size::Dim => self.dim,
            Size::Heads => self.heads?.checked_mul(self.head_dim?),
            Size::KvHeads => self.kv_heads?.checked_mul(self.head_dim?),
            Size::Ffn => self.ffn,
            Size::HalfHead => self.head_dim?.checked_div(2),
        }
    }

    /// The shape that a row of a family's table has in this model, as far as it is known.
    pub(crate) fn shape(&self, shape: &[Size]) -> Vec<Option<u64>> {
        shape.iter().map(|&size| self.get(size)).collect()
    }
}

/// `params.json` says the width of the feed-forward layer by a formula.
fn meta_ffn(params: &Value) -> Option<u64> {
    // Where it is not said, Meta's `ModelArgs` rounds up to 256.
    let multiple_of = params.get("multiple_of").map_or(Some(256), Value::as_u64)?;
    let multiplier = match params.get("ffn_dim_multiplier") {
        None | Some(Value::Null) => None,
        Some(multiplier) => Some(multiplier.as_f64()?),
    };
    ckpt::archs::llama::ffn::width(params.get("dim")?.as_u64()?, (multiple_of, multiplier))
}
