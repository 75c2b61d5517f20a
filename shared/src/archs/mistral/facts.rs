//! What the small files of a Mistral or a Mixtral say, and what is worked out where they leave it unsaid.

use serde_json::Value;

use crate::archs::llama::infer::{Evidence, Inference, Notes, needed, positive, rope, stops, whole};
use crate::facts::{Dtype, Finding, Id};

/// The experts of a Mixtral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer: `num_experts`, `num_local_experts`.
    pub count: u64,
    /// Of them, those that a token takes: `num_experts_per_tok`.
    pub per_token: u64,
}

/// Everything the small files need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Width of the residual stream: `dim`, `hidden_size`.
    pub dim: u64,
    /// Transformer blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Elements of one head, which need not be `dim / heads`.
    pub head_dim: u64,
    /// Width of the feed-forward layer, or of one expert's: `hidden_dim`, `intermediate_size`.
    pub ffn: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Epsilon of the RMS norms.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many positions back a token sees, if not all.
    pub sliding_window: Option<u64>,
    /// Longest context, in tokens; `params.json` has no key for it.
    pub max_position_embeddings: u64,
    /// The output head is the embedding.
    pub tied: bool,
    /// Dtype of the floating tensors (`torch_dtype`).
    pub dtype: Dtype,
    /// Token that begins a text.
    pub bos: u64,
    /// Tokens that end one.
    pub eos: Vec<u64>,
    /// Token that fills batches, if the config names one.
    pub pad: Option<u64>,
    /// The experts, if it is a Mixtral.
    pub experts: Option<Experts>,
}

const FILE: &str = "params.json";

/// Keys of `params.json` that only models other than these two have, and what they are.
const FOREIGN: [(&str, &str); 7] = [
    ("vision_encoder", "a model that sees (Pixtral)"),
    ("q_lora_rank", "a model with latent attention"),
    ("kv_lora_rank", "a model with latent attention"),
    ("yarn", "a model whose rotary positions are scaled (Ministral 3)"),
    ("llama_4_scaling", "a model whose queries are scaled by position (Ministral 3)"),
    ("quantization", "a quantized model"),
    ("lora", "an adapter"),
];

/// The key of a `params.json` that says it is neither a Mistral nor a Mixtral, and what it is.
pub fn foreign(params: &Value) -> Option<(&'static str, &'static str)> {
    FOREIGN.into_iter().find(|(key, _)| params.get(key).is_some_and(|value| !value.is_null()))
}

/// Whether a `params.json` is of Mistral's kind and not of Meta's: the width of the feed-forward layer is a number and
/// no formula, or there is a mixture of experts under `moe`.
pub fn is_own(params: &Value) -> bool {
    params.get("hidden_dim").is_some_and(Value::is_u64) || params.get("moe").is_some_and(Value::is_object)
}

/// The facts of a model in Mistral's own form, from `params.json` and the weights.
///
/// # Errors
/// [`Id::JsonInvalid`] where a number is missing or is none, or an assumption is not of its kind;
/// [`Id::Unsupported`] for other families and for windows that differ from layer to layer.
pub fn from_params(params: &Value, evidence: &Evidence<'_>) -> Result<Inference<Facts>, Finding> {
    if let Some((key, what)) = foreign(params) {
        return Err(Finding::new(Id::Unsupported, format!("{key} says that this is {what}")).in_file(FILE));
    }
    let need = |key: &str| needed(params, FILE, key);
    let (dim, layers, heads, ffn) = (need("dim")?, need("n_layers")?, need("n_heads")?, need("hidden_dim")?);
    let mut notes = Notes::new(evidence);
    let vocab = match (evidence.shape)("tok_embeddings.weight").as_deref() {
        Some([rows, ..]) => notes.choose("vocab_size", *rows, "the rows of tok_embeddings.weight")?,
        _ => notes.given("vocab_size", need("vocab_size")?)?,
    };
    let tied = match evidence.tied {
        Some(tied) => {
            notes.choose("tie_word_embeddings", tied, "comparing output.weight with tok_embeddings.weight")?
        }
        None => notes.given("tie_word_embeddings", params.get("tied_embeddings") == Some(&Value::Bool(true)))?,
    };
    let window = notes.given("sliding_window", window(params)?)?;
    let rope_theta = match (positive(params, "rope_theta"), window) {
        (Some(theta), _) => notes.given("rope_theta", theta)?,
        // Only the first release has a window, and says no base; `mistral_inference` takes 1,000,000 for all others.
        (None, Some(_)) => notes.choose("rope_theta", 10_000.0, "the window, which is that of Mistral 7B v0.1")?,
        (None, None) => notes.choose("rope_theta", 1_000_000.0, "the default of mistral_inference")?,
    };
    let said = whole(params, "max_position_embeddings").or_else(|| whole(params, "max_seq_len"));
    let max_position_embeddings = match (said, evidence.vocabulary) {
        (Some(said), _) => notes.given("max_position_embeddings", said)?,
        (None, Some(vocabulary)) if vocabulary.tiktoken => {
            notes.choose("max_position_embeddings", 131_072, "the tekken tokenizer")?
        }
        (None, _) => notes.choose("max_position_embeddings", 32_768, "the default of the family")?,
    };
    let (bos, eos) = ids(&mut notes, evidence)?;
    let pad = notes.given("pad_token_id", None)?;
    let facts = Facts {
        dim,
        layers,
        heads,
        kv_heads: notes.given("num_key_value_heads", whole(params, "n_kv_heads").unwrap_or(heads))?,
        head_dim: whole(params, "head_dim").or_else(|| dim.checked_div(heads)).unwrap_or(0),
        ffn,
        vocab,
        norm_eps: positive(params, "norm_eps").unwrap_or(1e-5),
        rope_theta,
        sliding_window: window,
        max_position_embeddings,
        tied,
        dtype: evidence.dtype,
        bos,
        eos,
        pad,
        experts: params.get("moe").filter(|moe| moe.is_object()).map(experts).transpose()?,
    };
    Ok(Inference { facts, inferred: notes.inferred, findings: notes.findings })
}

/// The experts of `moe`.
fn experts(moe: &Value) -> Result<Experts, Finding> {
    Ok(Experts { count: needed(moe, FILE, "num_experts")?, per_token: needed(moe, FILE, "num_experts_per_tok")? })
}

/// The window, which some files write as text or under a name with a line before it.
fn window(params: &Value) -> Result<Option<u64>, Finding> {
    let said = ["sliding_window", "_sliding_window"].iter().find_map(|key| params.get(key).filter(|it| !it.is_null()));
    let Some(said) = said else { return Ok(None) };
    if let Some(window) = said.as_u64().or_else(|| said.as_str()?.parse().ok()).filter(|&window| window > 0) {
        return Ok(Some(window));
    }
    let message =
        "sliding_window is not one number: windows that differ from layer to layer have no place in the config";
    Err(Finding::new(Id::Unsupported, message).in_file(FILE).needed("one number", said))
}

/// The ids that begin and end a text: the tokenizer's, or those that all of Mistral's have.
fn ids(notes: &mut Notes<'_>, evidence: &Evidence<'_>) -> Result<(u64, Vec<u64>), Finding> {
    let [bos, eos] = [
        evidence.vocabulary.and_then(|vocabulary| vocabulary.bos),
        evidence.vocabulary.and_then(|vocabulary| vocabulary.eos),
    ];
    let from = |id: Option<u64>| if id.is_some() { "the tokenizer" } else { "the family" };
    Ok((
        notes.choose("bos_token_id", bos.unwrap_or(1), from(bos))?,
        notes.choose("eos_token_id", vec![eos.unwrap_or(2)], from(eos))?,
    ))
}

/// The facts of a model in Hugging Face's form.
///
/// # Errors
/// [`Id::JsonInvalid`] where a number is missing or is none, or an assumption is not of its kind.
pub fn from_config(config: &Value, evidence: &Evidence<'_>) -> Result<Inference<Facts>, Finding> {
    let need = |key: &str| needed(config, "config.json", key);
    let (dim, layers, heads) = (need("hidden_size")?, need("num_hidden_layers")?, need("num_attention_heads")?);
    let (ffn, vocab) = (need("intermediate_size")?, need("vocab_size")?);
    let mixture = config.get("model_type").and_then(Value::as_str) == Some("mixtral");
    let mut notes = Notes::new(evidence);
    let rope_theta = match rope(config).theta {
        Some(theta) => notes.given("rope_theta", theta)?,
        None if mixture => notes.choose("rope_theta", 1_000_000.0, "the default of transformers for Mixtral")?,
        None => notes.choose("rope_theta", 10_000.0, "the default of transformers for Mistral")?,
    };
    let window = match config.get("sliding_window") {
        Some(window) => window.as_u64(),
        // The default of `MistralConfig`; `MixtralConfig` has none.
        None => (!mixture).then_some(4096),
    };
    let (bos, eos) = match (whole(config, "bos_token_id"), stops(config)) {
        (Some(bos), Some(eos)) => (notes.given("bos_token_id", bos)?, notes.given("eos_token_id", eos)?),
        _ => ids(&mut notes, evidence)?,
    };
    let facts = Facts {
        dim,
        layers,
        heads,
        kv_heads: notes.given("num_key_value_heads", whole(config, "num_key_value_heads").unwrap_or(8))?,
        head_dim: whole(config, "head_dim").or_else(|| dim.checked_div(heads)).unwrap_or(0),
        ffn,
        vocab: notes.given("vocab_size", vocab)?,
        // Defaults of `MistralConfig` and `MixtralConfig`: 1e-6 and 1e-5.
        norm_eps: positive(config, "rms_norm_eps").unwrap_or(if mixture { 1e-5 } else { 1e-6 }),
        rope_theta,
        sliding_window: notes.given("sliding_window", window)?,
        max_position_embeddings: whole(config, "max_position_embeddings").unwrap_or(131_072),
        tied: config.get("tie_word_embeddings") == Some(&Value::Bool(true)),
        dtype: evidence.dtype,
        bos,
        eos,
        pad: whole(config, "pad_token_id"),
        experts: mixture.then(|| Experts {
            count: whole(config, "num_local_experts").unwrap_or(8),
            per_token: whole(config, "num_experts_per_tok").unwrap_or(2),
        }),
    };
    Ok(Inference { facts, inferred: notes.inferred, findings: notes.findings })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::archs::llama::infer::Vocabulary;

    fn nothing(_: &str) -> Option<Vec<u64>> {
        None
    }

    fn evidence(assume: &BTreeMap<String, String>, vocabulary: Option<Vocabulary>) -> Evidence<'_> {
        Evidence {
            shape: &nothing,
            shards: 1,
            kv_repeat: 1,
            vocabulary,
            tied: Some(false),
            dtype: Dtype::Bf16,
            path: "model",
            sibling: None,
            headers_trained: None,
            assume,
        }
    }

    /// `params.json` of Mistral-Nemo 12B: a head that is not the quotient.
    fn nemo() -> Value {
        json!({"dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
            "norm_eps": 1e-5, "vocab_size": 131_072, "rope_theta": 1e6})
    }

    #[test]
    fn what_the_file_does_not_say_is_worked_out() {
        let assume = BTreeMap::new();
        let tekken = Vocabulary { tiktoken: true, ids: 131_072, bos: Some(1), eos: Some(2) };
        let facts = from_params(&nemo(), &evidence(&assume, Some(tekken))).unwrap().facts;
        assert_eq!((facts.head_dim, facts.ffn, facts.max_position_embeddings), (128, 14336, 131_072));
        let mut first = nemo();
        first.as_object_mut().unwrap().remove("rope_theta");
        let of = |params: &Value| from_params(params, &evidence(&assume, None)).unwrap().facts;
        assert_eq!((of(&first).rope_theta, of(&first).max_position_embeddings), (1e6, 32_768));
        first["sliding_window"] = json!("4096");
        assert_eq!((of(&first).rope_theta, of(&first).sliding_window), (1e4, Some(4096)));
        first["moe"] = json!({"num_experts": 8, "num_experts_per_tok": 2});
        assert_eq!(of(&first).experts, Some(Experts { count: 8, per_token: 2 }));
    }

    #[test]
    fn assumptions_win() {
        let assume = BTreeMap::from([("rope_theta", "5"), ("sliding_window", "none"), ("eos_token_id", "7")]);
        let assume = assume.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let facts = from_params(&nemo(), &evidence(&assume, None)).unwrap().facts;
        assert_eq!((facts.rope_theta, facts.sliding_window, facts.eos), (5.0, None, vec![7]));
    }

    #[test]
    fn other_models_are_named() {
        let assume = BTreeMap::new();
        for (key, value, word) in [
            ("vision_encoder", json!({}), "Pixtral"),
            ("kv_lora_rank", json!(512), "latent"),
            ("sliding_window", json!([null, 32_768]), "layer to layer"),
        ] {
            let mut params = nemo();
            params[key] = value;
            let finding = from_params(&params, &evidence(&assume, None)).unwrap_err();
            assert!(finding.id == Id::Unsupported && finding.message.contains(word), "{finding:?}");
        }
        assert!(is_own(&nemo()) && !is_own(&json!({"dim": 4096, "multiple_of": 256})));
    }

    #[test]
    fn defaults_of_the_config_are_those_of_transformers() {
        let assume = BTreeMap::new();
        let config = |kind: &str| {
            json!({"model_type": kind, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 16,
                "intermediate_size": 96, "vocab_size": 32_000})
        };
        let of = |kind| from_config(&config(kind), &evidence(&assume, None)).unwrap().facts;
        let (dense, mixture) = (of("mistral"), of("mixtral"));
        assert_eq!((dense.sliding_window, dense.rope_theta, dense.kv_heads), (Some(4096), 1e4, 8));
        assert_eq!((mixture.sliding_window, mixture.rope_theta), (None, 1e6));
        assert_eq!(mixture.experts, Some(Experts { count: 8, per_token: 2 }));
        assert_eq!((dense.experts, dense.bos, dense.eos), (None, 1, vec![2]));
    }
}
