//! Families other than Llama's: between a `config.json` and the keys that llama.cpp needs, in both directions.

use ckpt::archs::{Arch, KEYS, Kept, Naming, Size, Sizes, setting};
use ckpt::facts::Dtype;
use ckpt::formats::gguf::Put;
use serde_json::{Map, Value, json};

use super::gguf::{number, single};
use super::rope::{self, Rope};
use super::text;

/// A setting that `config.json` can change and llama.cpp's code has built in.
#[derive(Debug, Clone, Copy)]
enum Fixed {
    Text(&'static str),
    Flag(bool),
    Null,
}

impl Fixed {
    fn value(self) -> Value {
        match self {
            Fixed::Text(text) => text.into(),
            Fixed::Flag(flag) => flag.into(),
            Fixed::Null => Value::Null,
        }
    }
}

/// What there is to say of a family beside its tensors.
#[derive(Debug)]
pub(crate) struct Family {
    /// Its name in the table of families.
    arch: &'static str,
    /// transformers' class.
    class: &'static str,
    /// Keys of GGUF beside those that every family has.
    more: &'static [&'static str],
    /// What llama.cpp does whatever the config says; and what transformers takes where it says nothing.
    built_in: &'static [(&'static str, Fixed, Fixed)],
    /// Numbers that transformers takes where the config says nothing.
    defaults: &'static [(&'static str, f64)],
    /// What `config.json` calls the number of experts, if it has some.
    experts: &'static str,
    /// Every layer of this number sees the whole text, the others a window; 0 where all are alike.
    period: u64,
    /// Layers of the one size of model whose scores llama.cpp scales by the width and not by the head; 0 for none.
    scaled_by_width: u64,
}

const NO_MORE: Family = Family {
    arch: "",
    class: "",
    more: &[],
    built_in: &[("hidden_act", Fixed::Text("silu"), Fixed::Text("silu"))],
    defaults: &[("rms_norm_eps", 1e-6), ("rope_theta", 10_000.0)],
    experts: "",
    period: 0,
    scaled_by_width: 0,
};

/// Keys that every family has; those of [`Family::more`] are for some.
const COMMON: &[&str] = &[
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "vocab_size",
];

/// Where transformers' defaults stand: the `configuration_*.py` of each family. What llama.cpp has built in: its
/// `models/*.cpp`.
const FAMILIES: &[Family] = &[
    // llama.cpp takes it for a Llama, and a Llama it is when it comes back.
    Family { arch: "mistral", class: "MistralForCausalLM", ..NO_MORE },
    // The same with experts.
    Family {
        arch: "mixtral",
        class: "MixtralForCausalLM",
        more: &["expert_count", "expert_used_count"],
        defaults: &[("rms_norm_eps", 1e-5), ("rope_theta", 1e6)],
        experts: "num_local_experts",
        ..NO_MORE
    },
    Family {
        arch: "qwen2_moe",
        class: "Qwen2MoeForCausalLM",
        more: &["expert_count", "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"],
        built_in: &[
            ("hidden_act", Fixed::Text("silu"), Fixed::Text("silu")),
            ("norm_topk_prob", Fixed::Flag(false), Fixed::Flag(false)),
            ("qkv_bias", Fixed::Flag(true), Fixed::Flag(true)),
            ("use_sliding_window", Fixed::Flag(false), Fixed::Flag(false)),
        ],
        experts: "num_experts",
        ..NO_MORE
    },
    Family {
        arch: "qwen3_moe",
        class: "Qwen3MoeForCausalLM",
        more: &["expert_count", "expert_used_count", "expert_feed_forward_length"],
        built_in: &[
            ("attention_bias", Fixed::Flag(false), Fixed::Flag(false)),
            ("hidden_act", Fixed::Text("silu"), Fixed::Text("silu")),
            ("norm_topk_prob", Fixed::Flag(true), Fixed::Flag(false)),
            ("use_sliding_window", Fixed::Flag(false), Fixed::Flag(false)),
        ],
        experts: "num_experts",
        ..NO_MORE
    },
    Family {
        arch: "qwen2",
        class: "Qwen2ForCausalLM",
        built_in: &[
            ("hidden_act", Fixed::Text("silu"), Fixed::Text("silu")),
            ("use_sliding_window", Fixed::Flag(false), Fixed::Flag(false)),
        ],
        ..NO_MORE
    },
    Family {
        arch: "qwen3",
        class: "Qwen3ForCausalLM",
        built_in: &[
            ("attention_bias", Fixed::Flag(false), Fixed::Flag(false)),
            ("hidden_act", Fixed::Text("silu"), Fixed::Text("silu")),
            ("use_sliding_window", Fixed::Flag(false), Fixed::Flag(false)),
        ],
        ..NO_MORE
    },
    Family {
        arch: "gemma2",
        class: "Gemma2ForCausalLM",
        more: &["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"],
        built_in: GEMMA,
        defaults: &[
            ("rms_norm_eps", 1e-6),
            ("rope_theta", 10_000.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
        ],
        period: 2,
        scaled_by_width: 46,
        ..NO_MORE
    },
    Family {
        arch: "gemma3_text",
        class: "Gemma3ForCausalLM",
        more: &["attention.sliding_window", "final_logit_softcapping", "rope.freq_base_swa"],
        built_in: GEMMA3,
        defaults: &[("rms_norm_eps", 1e-6), ("rope_theta", 1e6), ("rope_local_base_freq", 10_000.0)],
        period: 6,
        scaled_by_width: 62,
        ..NO_MORE
    },
    Family {
        arch: "phi3",
        class: "Phi3ForCausalLM",
        more: &["attention.sliding_window"],
        built_in: &[
            ("attention_bias", Fixed::Flag(false), Fixed::Flag(false)),
            ("hidden_act", Fixed::Text("silu"), Fixed::Text("silu")),
        ],
        defaults: &[("rms_norm_eps", 1e-5), ("rope_theta", 10_000.0)],
        ..NO_MORE
    },
];

const GEMMA: &[(&str, Fixed, Fixed)] = &[
    ("attention_bias", Fixed::Flag(false), Fixed::Flag(false)),
    ("hidden_activation", Fixed::Text("gelu_pytorch_tanh"), Fixed::Text("gelu_pytorch_tanh")),
];

const GEMMA3: &[(&str, Fixed, Fixed)] = &[
    ("attention_bias", Fixed::Flag(false), Fixed::Flag(false)),
    ("attn_logit_softcapping", Fixed::Null, Fixed::Null),
    ("hidden_activation", Fixed::Text("gelu_pytorch_tanh"), Fixed::Text("gelu_pytorch_tanh")),
    ("use_bidirectional_attention", Fixed::Flag(false), Fixed::Flag(false)),
];

/// The family of a table of tensors; `None` if no keys of it are known here.
pub(crate) fn family(arch: &Arch) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.arch == arch.name)
}

/// A model of such a family, by its `config.json`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) arch: &'static Arch,
    pub(crate) family: &'static Family,
    pub(crate) config: &'a Value,
}

impl Model<'_> {
    fn sizes(&self) -> Sizes<'_> {
        Sizes::of(self.arch, Naming::Hf, Some(self.config))
    }

    /// Elements of a head; `None` if the config does not tell.
    pub(crate) fn head(&self) -> Option<u64> {
        self.sizes().head()
    }

    /// How rotary frequencies are scaled.
    pub(crate) fn rope(&self) -> Rope<'_> {
        rope::rope(self.config)
    }

    /// What the scores of attention are divided by the root of, in llama.cpp.
    fn scalar(&self) -> Option<u64> {
        scalar(
            self.family,
            self.sizes().layers()?,
            self.whole("hidden_size")?,
            self.whole("num_attention_heads")?,
            self.head()?,
        )
    }

    /// Whether a layer sees only a window, in llama.cpp.
    fn is_windowed(&self, layer: u64) -> bool {
        self.family.period > 0 && !layer.saturating_add(1).is_multiple_of(self.family.period)
    }

    /// A number of the config, or transformers' default for it.
    fn float(&self, key: &str) -> Option<f64> {
        let said = match key {
            "rope_theta" => self.rope().theta,
            "rope_local_base_freq" => self.rope().local,
            other => setting(self.config, other).and_then(Value::as_f64),
        };
        said.or_else(|| self.family.defaults.iter().find(|row| row.0 == key).map(|row| row.1))
    }

    fn whole(&self, key: &str) -> Option<u64> {
        let sizes = self.sizes();
        let quotient = |size: Size| sizes.get(size)?.checked_div(sizes.head()?);
        match key {
            "num_attention_heads" => quotient(Size::Heads),
            "num_key_value_heads" => quotient(Size::KvHeads),
            "hidden_size" => sizes.get(Size::Dim),
            "intermediate_size" => sizes.get(Size::Ffn),
            "num_hidden_layers" => sizes.layers(),
            other => setting(self.config, other).and_then(Value::as_u64),
        }
    }

    /// What the config says and llama.cpp does otherwise, each by its key; none if a GGUF file can hold the model.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let mut causes = Vec::new();
        for &(key, does, default) in self.family.built_in {
            let said = setting(self.config, key).cloned().unwrap_or_else(|| default.value());
            if said != does.value() {
                causes.push(format!("{key} {said}: llama.cpp computes as if it were {}", does.value()));
            }
        }
        if let (Some(said), Some(does)) =
            (setting(self.config, "query_pre_attn_scalar").and_then(Value::as_f64), self.scalar())
            && Put::F32(single(said)) != Put::F32(whole_single(does))
        {
            causes.push(format!("query_pre_attn_scalar {said}: llama.cpp takes {does} for a model of this size"));
        }
        let kinds = setting(self.config, "layer_types").and_then(Value::as_array).filter(|_| self.family.period > 0);
        let windowed = |kind: &Value| kind == "sliding_attention";
        if kinds.is_some_and(|kinds| (0..).zip(kinds).any(|(layer, kind)| windowed(kind) != self.is_windowed(layer))) {
            let period = self.family.period;
            causes.push(format!("layer_types: in llama.cpp every layer but each {period}th sees a window only"));
        }
        let dense = [
            ("decoder_sparse_step", setting(self.config, "decoder_sparse_step").filter(|step| **step != json!(1))),
            ("mlp_only_layers", setting(self.config, "mlp_only_layers").filter(|layers| **layers != json!([]))),
        ];
        for (key, said) in dense {
            if let Some(said) = said.filter(|_| !self.family.experts.is_empty()) {
                causes.push(format!("{key} {said}: in llama.cpp every layer has experts"));
            }
        }
        causes.extend(self.rope().refusal());
        causes
    }

    /// What the config says and llama.cpp passes over, where that changes nothing but long texts.
    pub(crate) fn losses(&self) -> Vec<String> {
        let window = setting(self.config, "sliding_window")
            .filter(|_| matches!(self.family.arch, "mistral" | "mixtral" | "phi3"));
        window
            .map(|window| format!("sliding_window {window}: llama.cpp attends to everything before"))
            .into_iter()
            .collect()
    }

    /// The keys of the model, without those of its vocabulary: `rows` is the number of the embedding's, `file_type`
    /// llama.cpp's number of the main type.
    ///
    /// # Errors
    /// The key of `config.json` that is missing.
    pub(crate) fn keys(&self, name: &str, rows: u64, file_type: u32) -> Result<Vec<(String, Put)>, String> {
        let own = |key: &str| format!("{}.{key}", self.arch.gguf);
        let mut keys = vec![
            ("general.architecture".to_owned(), Put::Text(self.arch.gguf.to_owned())),
            ("general.type".to_owned(), Put::Text("model".to_owned())),
            ("general.name".to_owned(), Put::Text(name.to_owned())),
            ("general.file_type".to_owned(), Put::U32(file_type)),
            ("general.quantization_version".to_owned(), Put::U32(2)),
        ];
        for key in KEYS.iter().filter(|key| COMMON.contains(&key.gguf) || self.family.more.contains(&key.gguf)) {
            let value = match key.kept {
                _ if key.gguf == "vocab_size" => Some(number(rows)),
                Kept::Whole => key.hf.iter().find_map(|name| self.whole(name)).map(number),
                Kept::Single => key.hf.iter().find_map(|name| self.float(name)).map(|value| Put::F32(single(value))),
            };
            let missing = || format!("config.json does not say {}", key.hf.first().unwrap_or(&key.gguf));
            match value {
                Some(value) => keys.push((own(key.gguf), value)),
                None if COMMON.contains(&key.gguf) || key.gguf.starts_with("expert_") => return Err(missing()),
                None => {}
            }
        }
        let head = self.head().ok_or("config.json does not say the size of a head")?;
        let quotient = || self.whole("hidden_size")?.checked_div(self.whole("num_attention_heads")?);
        if setting(self.config, "head_dim").is_some() || quotient() != Some(head) {
            keys.extend(["attention.key_length", "attention.value_length"].map(|key| (own(key), number(head))));
        }
        if matches!(self.arch.gguf, "llama" | "phi3") {
            keys.push((own("rope.dimension_count"), number(part(head, self.rope().partial))));
        }
        keys.extend(self.rope().keys().into_iter().map(|(key, value)| (own(key), value)));
        Ok(keys)
    }
}

/// What the scores of attention are divided by the root of: the size of a head, but for one size of model.
fn scalar(family: &Family, layers: u64, width: u64, heads: u64, head: u64) -> Option<u64> {
    match family.period {
        0 => None,
        _ if layers == family.scaled_by_width => width.checked_div(heads),
        _ => Some(head),
    }
}

/// A part of a head, in whole elements.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and no head has 2^53 elements"
)]
fn part(head: u64, factor: f64) -> u64 {
    (head as f64 * factor) as u64
}

/// A number of elements in single precision.
fn whole_single(value: u64) -> f32 {
    u16::try_from(value).map_or(f32::INFINITY, f32::from)
}

impl Family {
    /// `config.json` of a model of the family, of what the keys of a GGUF file say in its words.
    pub(crate) fn config(&self, arch: &Arch, told: &Value, dtype: Dtype) -> Value {
        let mut config = Map::new();
        let mut say = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        say("architectures", json!([self.class]));
        say("model_type", json!(arch.model_types.first()));
        say("torch_dtype", json!(dtype.torch()));
        say("use_cache", json!(true));
        for (key, does, _) in self.built_in {
            say(key, does.value());
        }
        let also = [
            "partial_rotary_factor",
            "original_max_position_embeddings",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "tie_word_embeddings",
            "rope_scaling",
            "head_dim",
        ];
        let own = |key: &&ckpt::archs::Key| COMMON.contains(&key.gguf) || self.more.contains(&key.gguf);
        for key in KEYS.iter().filter(own).filter_map(|key| key.hf.first()).chain(&also) {
            if let Some(value) = told.get(*key) {
                say(if *key == "num_local_experts" { self.experts } else { key }, value.clone());
            }
        }
        let number = |key: &str| told.get(key).and_then(Value::as_u64);
        let sizes = ["num_hidden_layers", "hidden_size", "num_attention_heads", "head_dim"].map(number);
        if let [Some(layers), Some(width), Some(heads), Some(head)] = sizes
            && let Some(scalar) = scalar(self, layers, width, heads, head)
        {
            config.insert("query_pre_attn_scalar".to_owned(), scalar.into());
        }
        config.sort_keys();
        Value::Object(config)
    }
}

/// `config.json` as a file.
pub(crate) fn config_text(config: &Value) -> Vec<u8> {
    text(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model<'a>(name: &str, config: &'a Value) -> Model<'a> {
        let arch = Arch::of_model_type(name).unwrap();
        Model { arch, family: family(arch).unwrap(), config }
    }

    fn gemma() -> Value {
        json!({
            "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256,
            "query_pre_attn_scalar": 32, "sliding_window": 8, "rope_local_base_freq": 5000.0, "rope_theta": 2e6,
        })
    }

    #[test]
    fn keys_say_what_the_config_does_and_what_it_leaves_to_defaults() {
        let config = gemma();
        let keys = model("gemma3_text", &config).keys("name", 480, 0).unwrap();
        let value = |key: &str| keys.iter().find(|row| row.0 == format!("gemma3.{key}")).map(|row| row.1.clone());
        for (key, due) in [
            ("vocab_size", Put::U32(480)),
            ("attention.key_length", Put::U32(32)),
            ("attention.value_length", Put::U32(32)),
            ("attention.sliding_window", Put::U32(8)),
            ("attention.layer_norm_rms_epsilon", Put::F32(1e-6)),
            ("rope.freq_base", Put::F32(2e6)),
            ("rope.freq_base_swa", Put::F32(5000.0)),
        ] {
            assert_eq!(value(key), Some(due), "{key}");
        }
        assert_eq!((value("final_logit_softcapping"), value("rope.dimension_count")), (None, None));
        let less = json!({"hidden_size": 64});
        assert!(model("qwen2", &less).keys("name", 1, 0).unwrap_err().contains("num_hidden_layers"));
    }

    #[test]
    fn what_llama_cpp_does_otherwise_is_refused_by_its_key() {
        let layers = ["full_attention"; 7];
        for (key, value) in [
            ("hidden_activation", json!("silu")),
            ("attention_bias", json!(true)),
            ("attn_logit_softcapping", json!(50.0)),
            ("query_pre_attn_scalar", json!(256)),
            ("layer_types", json!(layers)),
            ("rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0})),
        ] {
            let mut config = gemma();
            assert_eq!(model("gemma3_text", &config).refusals(), [""; 0]);
            config[key] = value;
            let causes = model("gemma3_text", &config).refusals();
            assert!(matches!(causes.as_slice(), [cause] if cause.starts_with(key)), "{key}: {causes:?}");
        }
        let experts = |key: &str, value: Value| {
            let mut config = json!({"norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": []});
            config[key] = value;
            model("qwen3_moe", &config).refusals()
        };
        assert_eq!(experts("norm_topk_prob", json!(true)), [""; 0]);
        for (key, value) in
            [("norm_topk_prob", json!(null)), ("decoder_sparse_step", json!(2)), ("mlp_only_layers", json!([3]))]
        {
            assert!(matches!(experts(key, value).as_slice(), [cause] if cause.starts_with(key)), "{key}");
        }
        let window = json!({"sliding_window": 4096});
        assert_eq!(model("mistral", &window).losses().len(), 1);
    }

    #[test]
    fn a_config_made_of_keys_gives_them_again() {
        let told = gemma();
        let made = family(Arch::of_model_type("gemma3_text").unwrap()).unwrap().config(
            Arch::of_model_type("gemma3_text").unwrap(),
            &told,
            Dtype::Bf16,
        );
        assert_eq!(
            (&made["architectures"][0], &made["query_pre_attn_scalar"]),
            (&json!("Gemma3ForCausalLM"), &json!(32))
        );
        let keys = |config: &Value| model("gemma3_text", config).keys("name", 480, 0).unwrap();
        assert_eq!(keys(&made), keys(&told));
        assert_eq!(model("gemma3_text", &made).refusals(), [""; 0]);
    }
}
