//! The keys that llama.cpp needs of a Llama model, as pure functions of its facts.

use ckpt::archs::llama::ModelFacts;
use ckpt::formats::gguf::Put;
use ckpt::tokenizers::Ggml;

/// The keys of the model, without those of its vocabulary. `file_type` is llama.cpp's number of the main type.
pub(crate) fn model_keys(facts: &ModelFacts, name: &str, file_type: u32) -> Vec<(String, Put)> {
    let mut keys = vec![
        ("general.architecture", Put::Text("llama".to_owned())),
        ("general.type", Put::Text("model".to_owned())),
        ("general.name", Put::Text(name.to_owned())),
        ("general.file_type", Put::U32(file_type)),
        ("general.quantization_version", Put::U32(2)),
        ("llama.block_count", number(facts.layers)),
        ("llama.context_length", number(facts.max_position_embeddings)),
        ("llama.embedding_length", number(facts.dim)),
        ("llama.feed_forward_length", number(facts.ffn)),
        ("llama.attention.head_count", number(facts.heads)),
        ("llama.attention.head_count_kv", number(facts.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Put::F32(single(facts.norm_eps))),
        ("llama.rope.freq_base", Put::F32(single(facts.rope_theta))),
        ("llama.rope.dimension_count", number(facts.head_dim)),
        ("llama.vocab_size", number(facts.vocab)),
    ];
    if facts.heads.checked_mul(facts.head_dim) != Some(facts.dim) {
        keys.push(("llama.attention.key_length", number(facts.head_dim)));
        keys.push(("llama.attention.value_length", number(facts.head_dim)));
    }
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A number as GGUF's keys have it.
pub(super) fn number(value: u64) -> Put {
    Put::U32(u32::try_from(value).unwrap_or(u32::MAX))
}

/// The tokens of a model that have a part to play, by their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Begins a text.
    pub(crate) bos: Option<u64>,
    /// Ends one.
    pub(crate) eos: Option<u64>,
    /// Fills batches.
    pub(crate) pad: Option<u64>,
}

impl Ids {
    /// Those of a Llama model.
    pub(crate) fn of(facts: &ModelFacts) -> Ids {
        Ids { bos: Some(facts.bos), eos: facts.eos.last().copied(), pad: facts.pad }
    }
}

/// The keys of the vocabulary, filled up to as many tokens as the embedding has rows.
pub(crate) fn vocabulary_keys(ggml: &Ggml, rows: u64, ids: Ids, template: Option<&str>) -> Vec<(String, Put)> {
    let mut tokens = ggml.tokens.clone();
    let mut types: Vec<i32> = (0..tokens.len())
        .map(|id| ggml.types.get(id).and_then(|kind| i32::try_from(*kind).ok()).unwrap_or(1))
        .collect();
    let mut scores = ggml.scores.clone();
    let rows = ckpt::bytes::to_usize(rows);
    while tokens.len() < rows {
        // llama.cpp's converters call them so, and mark them as never used (5).
        tokens.push(format!("[PAD{}]", tokens.len()));
        types.push(5);
        scores.push(-1000.0);
    }
    let pieces = ggml.model == "llama";
    let id = |id: Option<u64>| id.and_then(|id| u32::try_from(id).ok()).map(Put::U32);
    let rows = [
        ("model", Some(Put::Text(ggml.model.clone()))),
        ("pre", Some(Put::Text(ggml.pre.clone()))),
        ("tokens", Some(Put::Texts(tokens))),
        ("scores", pieces.then_some(Put::F32s(scores))),
        ("token_type", Some(Put::I32s(types))),
        ("merges", (!pieces).then(|| Put::Texts(ggml.merges.clone()))),
        ("bos_token_id", id(ids.bos)),
        ("eos_token_id", id(ids.eos)),
        ("unknown_token_id", ggml.unk.map(Put::U32)),
        ("padding_token_id", id(ids.pad)),
        ("add_bos_token", ggml.add_bos.map(Put::Bool)),
        ("add_space_prefix", ggml.add_space_prefix.map(Put::Bool)),
    ];
    let present = rows.into_iter().filter_map(|(key, value)| Some((format!("tokenizer.ggml.{key}"), value?)));
    let template = template.map(|template| ("tokenizer.chat_template".to_owned(), Put::Text(template.to_owned())));
    present.chain(template).collect()
}

/// The factors by which Llama 3.1's scaling divides each rotary frequency (`rope_freqs` of llama.cpp): none for short
/// waves, the whole factor for long ones, a blend between.
pub(crate) fn rope_factors(facts: &ModelFacts) -> Option<Vec<f32>> {
    let scaling = facts.rope_scaling.as_ref()?;
    let head = u32::try_from(facts.head_dim).ok()?;
    let half = head.checked_div(2)?;
    Some((0..half).map(|number| single(scaling.divisor(facts.rope_theta, head, number))).collect())
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "GGUF keeps these in single precision")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::super::samples::llama32_1b;
    use super::*;

    #[test]
    fn scaled_frequencies_have_factors_between_one_and_the_factor() {
        let factors = rope_factors(&llama32_1b()).unwrap();
        assert_eq!((factors.len(), factors.first(), factors.last()), (32, Some(&1.0), Some(&32.0)));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(rope_factors(&ModelFacts { rope_scaling: None, ..llama32_1b() }), None);
    }

    #[test]
    fn a_vocabulary_smaller_than_the_embedding_is_filled_up() {
        let ggml = Ggml { model: "gpt2".into(), tokens: vec!["a".into()], ..Ggml::default() };
        let keys = vocabulary_keys(&ggml, 3, Ids::of(&llama32_1b()), None);
        let value = |key: &str| keys.iter().find(|row| row.0 == format!("tokenizer.ggml.{key}")).map(|row| &row.1);
        assert_eq!(value("token_type"), Some(&Put::I32s(vec![1, 5, 5])));
        assert_eq!(value("tokens"), Some(&Put::Texts(vec!["a".into(), "[PAD1]".into(), "[PAD2]".into()])));
        assert_eq!((value("eos_token_id"), value("scores")), (Some(&Put::U32(128_009)), None));
    }
}
