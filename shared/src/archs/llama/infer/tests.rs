//! What is worked out of the small files of each release, and from what it is said to come.

use serde_json::json;

use super::*;
use crate::archs::llama::RopeScaling;

/// Shapes of the first shard of a Llama, as its tensors have them.
#[derive(Clone, Copy)]
struct Model {
    dim: u64,
    heads: u64,
    stored_kv: u64,
    ffn: u64,
    vocab: u64,
    shards: u64,
    by_rows: bool,
}

const SMALL: Model = Model { dim: 2048, heads: 32, stored_kv: 8, ffn: 8192, vocab: 128_256, shards: 1, by_rows: true };

impl Model {
    fn shape(self, name: &str) -> Option<Vec<u64>> {
        let head_dim = self.dim / self.heads;
        match name {
            "tok_embeddings.weight" if self.by_rows => Some(vec![self.vocab / self.shards, self.dim]),
            "tok_embeddings.weight" => Some(vec![self.vocab, self.dim / self.shards]),
            "layers.0.feed_forward.w1.weight" => Some(vec![self.ffn / self.shards, self.dim]),
            "layers.0.attention.wk.weight" => Some(vec![self.stored_kv * head_dim / self.shards, self.dim]),
            _ => None,
        }
    }
}

/// What a case differs in from a lone base model without a name.
struct Case<'a> {
    model: Model,
    path: &'a str,
    tied: Option<bool>,
    kv_repeat: u64,
    vocabulary: Option<Vocabulary>,
    sibling: Option<Value>,
    headers_trained: Option<bool>,
    assume: &'a [(&'a str, &'a str)],
}

const PLAIN: Case<'_> = Case {
    model: SMALL,
    path: "run-7",
    tied: Some(false),
    kv_repeat: 1,
    vocabulary: None,
    sibling: None,
    headers_trained: None,
    assume: &[],
};

impl Case<'_> {
    fn with<T>(&self, run: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let assume = self.assume.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        run(&Evidence {
            shape: &|name| self.model.shape(name),
            shards: self.model.shards,
            kv_repeat: self.kv_repeat,
            vocabulary: self.vocabulary,
            tied: self.tied,
            dtype: Dtype::Bf16,
            path: self.path,
            sibling: self.sibling.as_ref(),
            headers_trained: self.headers_trained,
            assume: &assume,
        })
    }

    fn params(&self, params: &Value) -> Inference {
        self.with(|evidence| from_params(params, evidence)).unwrap()
    }

    fn refused(&self, params: &Value) -> Finding {
        self.with(|evidence| from_params(params, evidence)).unwrap_err()
    }

    fn config(&self, config: &Value) -> Inference {
        self.with(|evidence| from_config(config, evidence)).unwrap()
    }
}

impl Inference {
    fn from(&self, key: &str) -> &str {
        self.inferred.iter().find(|inferred| inferred.key == key).map_or("", |inferred| &inferred.from)
    }
}

fn llama32() -> Value {
    json!({"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128_256, "ffn_dim_multiplier": 1.5,
           "multiple_of": 256, "norm_eps": 1e-5, "rope_theta": 500_000.0, "use_scaled_rope": true})
}

fn llama2() -> Value {
    json!({"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-5, "vocab_size": -1})
}

const LLAMA2: Model =
    Model { dim: 4096, heads: 32, stored_kv: 32, ffn: 11008, vocab: 32_000, shards: 1, by_rows: false };

#[test]
fn llama_3_2_is_told_by_its_shared_embedding() {
    let case = Case { tied: Some(true), path: "Llama3.2-1B-Instruct", ..PLAIN };
    let Inference { facts, findings, .. } = &case.params(&llama32());
    assert_eq!((facts.generation, facts.instruct, facts.tied), (Generation::Llama32, true, true));
    assert_eq!(facts.rope_scaling, Some(RopeScaling::llama3(32.0)));
    assert_eq!((facts.max_position_embeddings, facts.bos), (131_072, 128_000));
    assert_eq!(facts.eos, [128_001, 128_008, 128_009]);
    assert_eq!((facts.ffn, facts.multiple_of, facts.ffn_dim_multiplier), (8192, Some(256), Some(1.5)));
    assert_eq!(findings, &[]);
    // The same in `model`, as some trainers write it.
    assert_eq!(case.params(&json!({"model": llama32()})), case.params(&llama32()));
}

#[test]
fn two_tensors_mean_llama_3_1_and_factor_8() {
    let Inference { facts, .. } = Case { path: "x/original", ..PLAIN }.params(&llama32());
    assert_eq!((facts.generation, facts.rope_scaling), (Generation::Llama31, Some(RopeScaling::llama3(8.0))));
    let mut plain = llama32();
    plain["use_scaled_rope"] = false.into();
    let Inference { facts, .. } = PLAIN.params(&plain);
    assert_eq!((facts.generation, facts.rope_scaling), (Generation::Llama3, None));
    assert_eq!(facts.max_position_embeddings, 8192);
}

#[test]
fn llama_1_and_2_are_told_apart_as_far_as_possible() {
    let generation = |path: &str, params: &Value| Case { model: LLAMA2, path, ..PLAIN }.params(params).facts.generation;
    assert_eq!(generation("run", &llama2()), Generation::Llama2);
    assert_eq!(generation("llama/13B", &llama2()), Generation::Llama1);
    let mut small_eps = llama2();
    small_eps["norm_eps"] = 1e-6.into();
    assert_eq!(generation("run", &small_eps), Generation::Llama1);
    assert_eq!(generation("llama-2-7b-chat", &small_eps), Generation::Llama2);
    let mut code = llama2();
    code["rope_theta"] = 1_000_000.into();
    assert_eq!(generation("run", &code), Generation::CodeLlama);
    let Inference { facts, .. } = Case { model: LLAMA2, ..PLAIN }.params(&llama2());
    assert_eq!((facts.vocab, facts.rope_theta, facts.kv_heads), (32_000, 10_000.0, 32));
    assert_eq!((facts.bos, facts.eos, facts.max_position_embeddings), (1, vec![2], 4096));
}

#[test]
fn the_embedding_is_joined_whichever_way_it_is_cut() {
    for by_rows in [false, true] {
        let model = Model { shards: 2, by_rows, ..LLAMA2 };
        let inference = Case { model, ..PLAIN }.params(&llama2());
        assert_eq!((inference.facts.vocab, inference.facts.ffn), (32_000, 11_008));
        assert!(inference.from("vocab_size").contains("tok_embeddings.weight"));
    }
    let wrong = Case { model: Model { shards: 3, dim: 4098, ..LLAMA2 }, ..PLAIN }.refused(&llama2());
    assert_eq!(wrong.id, Id::ShardMismatch);
}

#[test]
fn copies_of_key_heads_count_once() {
    // 405B at model-parallel size 16: every head in two shards.
    let params = json!({"dim": 16_384, "n_layers": 126, "n_heads": 128, "n_kv_heads": 16, "vocab_size": 128_256,
                        "multiple_of": 4096, "ffn_dim_multiplier": 1.2, "rope_theta": 500_000.0, "use_scaled_rope": true});
    let model =
        Model { dim: 16_384, heads: 128, stored_kv: 16, ffn: 53_248, vocab: 128_256, shards: 16, by_rows: true };
    assert_eq!(Case { model, ..PLAIN }.params(&params).facts.kv_heads, 16);
    let inference = Case { model, kv_repeat: 2, ..PLAIN }.params(&params);
    assert_eq!(inference.facts.kv_heads, 8);
    assert!(inference.from("num_key_value_heads").contains("2 at a time"));
    // params.json counts them once, the shards hold them twice.
    let mut once = params.clone();
    once["n_kv_heads"] = 8.into();
    assert_eq!(Case { model, ..PLAIN }.params(&once).facts.kv_heads, 8);
    once["n_kv_heads"] = 6.into();
    assert_eq!(Case { model, ..PLAIN }.refused(&once).id, Id::ShardMismatch);
}

#[test]
fn instruct_or_base_is_told_by_what_there_is() {
    let tuned = |case: Case<'_>| {
        let inference = case.params(&llama32());
        (inference.facts.instruct, inference.findings.iter().any(|finding| finding.id == Id::InstructUnknown))
    };
    assert_eq!(tuned(PLAIN), (false, true));
    assert_eq!(tuned(Case { path: "Llama-3.2-1B/original", ..PLAIN }), (false, false));
    assert_eq!(tuned(Case { headers_trained: Some(true), ..PLAIN }), (true, false));
    assert_eq!(tuned(Case { assume: &[("instruct", "true")], ..PLAIN }), (true, false));
    let sibling = |eos: Value| Case { sibling: Some(json!({"eos_token_id": eos})), ..PLAIN };
    assert_eq!(tuned(sibling(json!([128_001, 128_009]))), (true, false));
    assert_eq!(tuned(sibling(json!(128_001))), (false, false));
}

#[test]
fn small_tokenizers_have_their_own_ids() {
    let vocabulary = Some(Vocabulary { tiktoken: true, ids: 768, bos: Some(512), eos: Some(513) });
    let model = Model { vocab: 768, ..SMALL };
    let mut params = llama32();
    params["vocab_size"] = (-1).into();
    let Inference { facts, .. } = Case { model, vocabulary, headers_trained: Some(true), ..PLAIN }.params(&params);
    assert_eq!((facts.vocab, facts.bos, facts.eos), (768, 512, vec![513, 520, 521]));
    let vocabulary = Some(Vocabulary { tiktoken: false, ids: 768, bos: Some(3), eos: None });
    let Inference { facts, .. } = Case { model: LLAMA2, vocabulary, ..PLAIN }.params(&llama2());
    assert_eq!((facts.bos, facts.eos), (3, vec![2]));
}

#[test]
fn assumptions_have_their_way_and_are_reported() {
    let assume =
        [("rope_scaling", "none"), ("eos_token_id", "5, 6"), ("generation", "llama-3.3"), ("pad_token_id", "7")];
    let inference = Case { assume: &assume, ..PLAIN }.params(&llama32());
    let facts = &inference.facts;
    assert_eq!((&facts.rope_scaling, &facts.eos), (&None, &vec![5, 6]));
    assert_eq!((facts.generation, facts.pad), (Generation::Llama33, Some(7)));
    for (key, _) in assume {
        assert_eq!(inference.from(key), "--assume");
    }
    let refused = Case { assume: &[("generation", "llama-9")], ..PLAIN }.refused(&llama32());
    assert!(refused.message.contains("llama-3.3"), "{refused}");
}

#[test]
fn what_is_wrong_is_said() {
    let changed = |key: &str, value: Value| {
        let mut params = llama32();
        params[key] = value;
        params
    };
    assert!(PLAIN.refused(&changed("dim", "2048".into())).to_string().contains("dim"));
    assert!(PLAIN.refused(&changed("n_heads", 31.into())).message.contains("does not divide"));
    assert_eq!(PLAIN.refused(&changed("quantization_args", json!({}))).id, Id::Unsupported);
    let doubtful = PLAIN.params(&changed("multiple_of", 1000.into()));
    assert_eq!(doubtful.findings.first().map(|finding| finding.id), Some(Id::ConfigShape));
    assert_eq!((doubtful.facts.ffn, doubtful.facts.multiple_of), (8192, None));
}

#[test]
fn both_forms_of_config_json_say_the_same() {
    let old = json!({"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 8192, "vocab_size": 128_256, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "max_position_embeddings": 131_072, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "bos_token_id": 128_000, "eos_token_id": [128_001, 128_008, 128_009]});
    let mut new = old.clone();
    let mut rope = old["rope_scaling"].clone();
    rope["rope_theta"] = 500_000.0.into();
    new["rope_parameters"] = rope;
    new["rope_theta"] = Value::Null;
    new["rope_scaling"] = Value::Null;
    let inference = PLAIN.config(&old);
    assert_eq!(PLAIN.config(&new), inference);
    assert_eq!(inference.facts.rope_scaling, Some(RopeScaling::llama3(32.0)));
    assert_eq!((inference.facts.generation, inference.facts.instruct), (Generation::Llama32, true));
    assert_eq!(inference.findings, []);
    assert_eq!(config_dtype(&old), Some(Dtype::Bf16));
    // What Meta's file says of the same model are the same facts, but for the factors of the width.
    let meta = Case { tied: Some(true), path: "Llama-3.2-1B-Instruct", ..PLAIN }.params(&llama32());
    let meta = ModelFacts { multiple_of: None, ffn_dim_multiplier: None, ..meta.facts };
    assert_eq!(inference.facts, meta);
}
