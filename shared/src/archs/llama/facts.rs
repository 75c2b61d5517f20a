//! What the small files beside the weights say about a Llama model, as plain numbers.

use crate::facts::Dtype;

/// Which Llama it is, as far as the small files differ. The Guards count as what they were trained from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// Llama (2023), SentencePiece, 2,048 positions.
    Llama1,
    /// Llama 2, SentencePiece, 4,096 positions.
    Llama2,
    /// Code Llama, SentencePiece, rotary base 1,000,000.
    CodeLlama,
    /// Llama 3, tiktoken, 8,192 positions; Llama Guard 2.
    Llama3,
    /// Llama 3.1: scaled rotary, 131,072 positions; Llama Guard 3 8B.
    Llama31,
    /// Llama 3.2 text models: like 3.1, mostly with tied embeddings and factor 32; Llama Guard 3 1B.
    Llama32,
    /// Llama 3.3: like 3.1; told from it by name only.
    Llama33,
}

/// One row: the enum, the word for it in documents and `--assume generation=`.
const GENERATIONS: [(Generation, &str); 7] = [
    (Generation::Llama1, "llama-1"),
    (Generation::Llama2, "llama-2"),
    (Generation::CodeLlama, "code-llama"),
    (Generation::Llama3, "llama-3"),
    (Generation::Llama31, "llama-3.1"),
    (Generation::Llama32, "llama-3.2"),
    (Generation::Llama33, "llama-3.3"),
];

impl Generation {
    /// The word used in documents.
    pub fn name(self) -> &'static str {
        GENERATIONS.iter().find(|(generation, _)| *generation == self).map_or("llama", |(_, name)| name)
    }

    /// The generation of that word.
    pub fn from_name(name: &str) -> Option<Generation> {
        GENERATIONS.iter().find(|(_, row)| *row == name).map(|(generation, _)| *generation)
    }

    /// Whether its tokenizer is a file of tiktoken ranks (Llama 3 and later) and not a SentencePiece model.
    pub fn has_tiktoken(self) -> bool {
        self >= Generation::Llama3
    }
}

/// The `llama3` kind of rotary scaling, the only one Meta's models have.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeScaling {
    /// By how much the context was stretched: 8, or 32 for the small models of 3.2.
    pub factor: f64,
    /// 1 in all releases.
    pub low_freq_factor: f64,
    /// 4 in all releases.
    pub high_freq_factor: f64,
    /// Positions before stretching: 8,192 in all releases.
    pub original_max_position_embeddings: u64,
}

impl RopeScaling {
    /// The scaling of the releases with that factor (`apply_scaling` of Meta's `llama3/model.py`).
    pub fn llama3(factor: f64) -> RopeScaling {
        RopeScaling { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 }
    }

    /// What it divides rotary frequency `number` of a head of `head_dim` elements by: nothing (1) for waves that are short
    /// against the original context, the whole factor for long ones, a blend between.
    pub fn divisor(&self, theta: f64, head_dim: u32, number: u32) -> f64 {
        let context = u32::try_from(self.original_max_position_embeddings).map_or(f64::INFINITY, f64::from);
        let wave = std::f64::consts::TAU * theta.powf(2.0 * f64::from(number) / f64::from(head_dim));
        if wave < context / self.high_freq_factor {
            return 1.0;
        }
        if wave > context / self.low_freq_factor {
            return self.factor;
        }
        let smooth = (context / wave - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        1.0 / ((1.0 - smooth) / self.factor + smooth)
    }
}

/// Everything the small files need to know. Counts are of the whole model, all shards joined and replicated
/// heads counted once.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// Which Llama.
    pub generation: Generation,
    /// Tuned for dialogue (`Instruct`, `chat`), as opposed to a base model.
    pub instruct: bool,
    /// Width of the residual stream: `dim`, `hidden_size`.
    pub dim: u64,
    /// Transformer blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; equals `heads` without grouped-query attention.
    pub kv_heads: u64,
    /// Elements of one head; `dim / heads` in every release.
    pub head_dim: u64,
    /// Width of the feed-forward layer: rows of `w1`, `intermediate_size`.
    pub ffn: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Epsilon of the RMS norms.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// Longest context, in tokens.
    pub max_position_embeddings: u64,
    /// The output head is the embedding.
    pub tied: bool,
    /// Dtype of the floating tensors (`torch_dtype`).
    pub dtype: Dtype,
    /// Token that begins a text.
    pub bos: u64,
    /// Tokens that end one; the first is the one `config.json` of a base model names.
    pub eos: Vec<u64>,
    /// Token that fills batches, if the model names one.
    pub pad: Option<u64>,
    /// `multiple_of` of `params.json`, where the source has one.
    pub multiple_of: Option<u64>,
    /// `ffn_dim_multiplier` of `params.json`, where the source has one.
    pub ffn_dim_multiplier: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for (generation, name) in GENERATIONS {
            assert_eq!(generation.name(), name);
            assert_eq!(Generation::from_name(name), Some(generation));
        }
        assert!(Generation::Llama3.has_tiktoken() && !Generation::CodeLlama.has_tiktoken());
    }
}
