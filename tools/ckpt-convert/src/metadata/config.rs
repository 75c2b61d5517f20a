//! `config.json` and `generation_config.json`, in the form of transformers 4, which 5 reads to the same values.

use ckpt::archs::llama::{ModelFacts, RopeScaling};
use serde_json::{Map, Value, json};

use super::releases::Release;
use super::text;

/// One id as a number, several as a list.
fn ids(ids: &[u64]) -> Value {
    match ids {
        [id] => json!(id),
        ids => json!(ids),
    }
}

/// By the alphabet or, as in Llama 3.1, low before high.
fn scaling(scaling: &RopeScaling, sorted: bool) -> Value {
    let (low, high) = (json!(scaling.low_freq_factor), json!(scaling.high_freq_factor));
    let (low, high) = (("low_freq_factor", Some(low)), ("high_freq_factor", Some(high)));
    let [first, second] = if sorted { [high, low] } else { [low, high] };
    object([
        ("factor", Some(json!(scaling.factor))),
        first,
        second,
        ("original_max_position_embeddings", Some(json!(scaling.original_max_position_embeddings))),
        ("rope_type", Some(json!("llama3"))),
    ])
}

/// `config.json` of a model, by the alphabet as on the hub. Without a release, `transformers_version` is left out:
/// no version of transformers wrote it.
pub(crate) fn config(facts: &ModelFacts, release: Option<&Release>) -> Vec<u8> {
    let has = |flag: fn(&Release) -> bool| release.is_none_or(flag);
    let eos = match (release, facts.eos.last()) {
        (Some(release), Some(last)) if release.last_eos_only => json!(last),
        _ => ids(&facts.eos),
    };
    let rope = facts.rope_scaling.as_ref().map(|rope| scaling(rope, has(|release| release.sorted_scaling)));
    let rows = [
        ("architectures", Some(json!(["LlamaForCausalLM"]))),
        ("attention_bias", Some(json!(false))),
        ("attention_dropout", Some(json!(0.0))),
        ("bos_token_id", Some(json!(facts.bos))),
        ("eos_token_id", Some(eos)),
        ("head_dim", has(|release| release.head_dim).then(|| json!(facts.head_dim))),
        ("hidden_act", Some(json!("silu"))),
        ("hidden_size", Some(json!(facts.dim))),
        ("initializer_range", Some(json!(0.02))),
        ("intermediate_size", Some(json!(facts.ffn))),
        ("max_position_embeddings", Some(json!(facts.max_position_embeddings))),
        ("mlp_bias", has(|release| release.mlp_bias).then(|| json!(false))),
        ("model_type", Some(json!("llama"))),
        ("num_attention_heads", Some(json!(facts.heads))),
        ("num_hidden_layers", Some(json!(facts.layers))),
        ("num_key_value_heads", Some(json!(facts.kv_heads))),
        ("pad_token_id", facts.pad.map(|pad| json!(pad))),
        ("pretraining_tp", Some(json!(1))),
        ("rms_norm_eps", Some(json!(facts.norm_eps))),
        ("rope_scaling", Some(rope.unwrap_or_default())),
        ("rope_theta", Some(json!(facts.rope_theta))),
        ("tie_word_embeddings", Some(json!(facts.tied))),
        ("torch_dtype", Some(json!(facts.dtype.torch()))),
        ("transformers_version", release.map(|release| json!(release.transformers_version))),
        ("use_cache", Some(json!(true))),
        ("vocab_size", Some(json!(facts.vocab))),
    ];
    text(&object(rows))
}

fn object<const N: usize>(rows: [(&str, Option<Value>); N]) -> Value {
    let present = rows.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

/// `generation_config.json` of a model: the sampling that all of Meta's releases name.
pub(crate) fn generation_config(facts: &ModelFacts, release: Option<&Release>) -> Vec<u8> {
    let (temperature, top_p) = (0.6, 0.9);
    let version = release.map(|release| json!(release.transformers_version));
    if let Some(release) = release.filter(|release| release.generation_by_hand) {
        let eos: Vec<String> = facts.eos.iter().map(u64::to_string).collect();
        let lines = [
            "{".to_owned(),
            format!("  \"bos_token_id\": {},", facts.bos),
            format!("  \"eos_token_id\": [{}],", eos.join(", ")),
            "  \"do_sample\": true,".to_owned(),
            format!("  \"temperature\": {temperature},"),
            "  \"max_length\": 4096,".to_owned(),
            format!("  \"top_p\": {top_p},"),
            format!("  \"transformers_version\": \"{}\"", release.transformers_version),
            "}\n".to_owned(),
        ];
        return lines.join("\n").into_bytes();
    }
    text(&object([
        ("bos_token_id", Some(json!(facts.bos))),
        ("do_sample", Some(json!(true))),
        ("eos_token_id", Some(ids(&facts.eos))),
        ("pad_token_id", facts.pad.map(|pad| json!(pad))),
        ("temperature", Some(json!(temperature))),
        ("top_p", Some(json!(top_p))),
        ("transformers_version", version),
    ]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ckpt::archs::llama::infer::{Evidence, config_dtype, from_config};
    use ckpt::facts::Dtype;
    use sha2::{Digest, Sha256};

    use super::super::releases::find;
    use super::super::samples::{llama2_7b, llama3_8b, llama31_8b, llama32_1b};
    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn files_of_releases_are_those_of_the_hub() {
        // Digests as the hub shows them for the files of meta-llama's repositories.
        let release = find("Llama-3.2-1B-Instruct").ok();
        assert_eq!(
            sha256(&config(&llama32_1b(), release)),
            "2febf68cea25bf4611be02b7536f2488a5ba523bb1134986e3610152abe74fdb"
        );
        assert_eq!(
            sha256(&generation_config(&llama32_1b(), release)),
            "88effbb63300dbbc7390143fbbdd9d9fa50587b37e8bfd16c8c90d4970a74a36"
        );
        let release = find("Llama-3.1-8B-Instruct").ok();
        assert_eq!(
            sha256(&config(&llama31_8b(), release)),
            "29e4c210b0d6ac178b16b2a255a568bdb23b581e50ca1ef6a6d071dd85704e6e"
        );
        assert_eq!(
            sha256(&generation_config(&llama31_8b(), release)),
            "189fb0c0d7fd8a527db217c0a60a0e013f0394cd8800f9697a666a9e75e5f7fd"
        );
        let release = find("Llama-3-8B-Instruct").ok();
        // The content of git blobs 31553d63b8f18df5d6d440860751533ada3759e4 and 8675015d20a4b12ee2ee0197a0937beba318122a.
        assert_eq!(
            sha256(&config(&llama3_8b(), release)),
            "61f3de03a16ca8046b05dc777bce72717022bc8522152eee61a69072272ef54b"
        );
        assert_eq!(
            sha256(&generation_config(&llama3_8b(), release)),
            "d1af74d8ba49428ab2faa65f7948165cc6bf52b740e57e840f8af772587c894c"
        );
    }

    #[test]
    fn the_facts_are_read_back_from_what_is_written() {
        for facts in [llama32_1b(), llama31_8b(), llama3_8b(), llama2_7b()] {
            let facts = ModelFacts { multiple_of: None, ffn_dim_multiplier: None, pad: Some(4), ..facts };
            let written: Value = serde_json::from_slice(&config(&facts, None)).unwrap();
            assert_eq!(config_dtype(&written), Some(Dtype::Bf16));
            let evidence = Evidence {
                shape: &|_| None,
                shards: 1,
                kv_repeat: 1,
                vocabulary: None,
                tied: None,
                dtype: facts.dtype,
                path: if facts.generation.has_tiktoken() { "" } else { "llama-2-7b-chat" },
                sibling: None,
                headers_trained: None,
                assume: &BTreeMap::new(),
            };
            assert_eq!(from_config(&written, &evidence).unwrap().facts, facts);
        }
    }

    #[test]
    fn base_models_end_with_one_id_and_name_no_version() {
        let facts = ModelFacts { instruct: false, eos: vec![128_001], ..llama32_1b() };
        let written: Value = serde_json::from_slice(&config(&facts, None)).unwrap();
        assert_eq!(written["eos_token_id"], 128_001);
        assert_eq!(written.get("transformers_version"), None);
        assert_eq!(written["rope_scaling"]["rope_type"], "llama3");
        let written: Value = serde_json::from_slice(&generation_config(&facts, None)).unwrap();
        assert_eq!(written["eos_token_id"], 128_001);
    }
}
