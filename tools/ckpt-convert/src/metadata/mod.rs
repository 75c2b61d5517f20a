//! The small files beside the weights, as pure functions of the facts of a model.

mod adapter;
mod checklist;
mod config;
mod families;
mod gguf;
pub(crate) mod llama4;
pub(crate) mod mistral;
pub(crate) mod mllama;
mod params;
mod refusals;
mod releases;
mod rope;
mod seen;
mod templates;
mod tokenizer;

pub(crate) use adapter::adapter_config;
pub(crate) use checklist::checklist;
pub(crate) use config::{config, generation_config};
pub(crate) use families::{Family, Model, config_text, family};
pub(crate) use gguf::{Ids, model_keys, rope_factors, vocabulary_keys};
pub(crate) use params::{losses, params};
pub(crate) use refusals::meta_refusals;
pub(crate) use releases::{Release, find as find_release};
pub(crate) use rope::{quotient, shortest, strength};
pub(crate) use seen::{Seen, generation_of};
pub(crate) use templates::{chat_template, seeing as seeing_template};
pub(crate) use tokenizer::Tokens;

use serde_json::Value;

/// The text of a small file: indented, as Python writes it, with a newline at the end.
pub(crate) fn text(value: &Value) -> Vec<u8> {
    // A `Value` has string keys only and never fails to serialize.
    let mut text = ckpt::facts::json::python(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The facts of released models, for the tests.
#[cfg(test)]
mod samples {
    use ckpt::archs::llama::{Generation, ModelFacts, RopeScaling};
    use ckpt::facts::Dtype;

    /// Llama-3.2-1B-Instruct.
    pub(super) fn llama32_1b() -> ModelFacts {
        ModelFacts {
            generation: Generation::Llama32,
            instruct: true,
            dim: 2048,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            head_dim: 64,
            ffn: 8192,
            vocab: 128_256,
            norm_eps: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: Some(RopeScaling::llama3(32.0)),
            max_position_embeddings: 131_072,
            tied: true,
            dtype: Dtype::Bf16,
            bos: 128_000,
            eos: vec![128_001, 128_008, 128_009],
            pad: None,
            multiple_of: Some(256),
            ffn_dim_multiplier: Some(1.5),
        }
    }

    /// Llama-3.1-8B-Instruct.
    pub(super) fn llama31_8b() -> ModelFacts {
        ModelFacts {
            generation: Generation::Llama31,
            dim: 4096,
            layers: 32,
            head_dim: 128,
            ffn: 14_336,
            rope_scaling: Some(RopeScaling::llama3(8.0)),
            tied: false,
            multiple_of: Some(1024),
            ffn_dim_multiplier: Some(1.3),
            ..llama32_1b()
        }
    }

    /// Llama-3-8B-Instruct.
    pub(super) fn llama3_8b() -> ModelFacts {
        ModelFacts {
            generation: Generation::Llama3,
            rope_scaling: None,
            max_position_embeddings: 8192,
            eos: vec![128_001, 128_009],
            ..llama31_8b()
        }
    }

    /// Llama-2-7b-chat.
    pub(super) fn llama2_7b() -> ModelFacts {
        ModelFacts {
            generation: Generation::Llama2,
            kv_heads: 32,
            ffn: 11_008,
            vocab: 32_000,
            rope_theta: 10_000.0,
            max_position_embeddings: 4096,
            bos: 1,
            eos: vec![2],
            multiple_of: Some(256),
            ffn_dim_multiplier: None,
            ..llama3_8b()
        }
    }
}
