//! Seven large models in small: their names, dtypes, shards and configs, with few and narrow layers and values of their own.
//! Architectures that no table here knows, two experts' shapes in one list, packed weights, odd numbers of shards, tied
//! heads that are stored and that are not, parts without `.weight`, a tree of models.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that overflows or indexes wrongly fails, which is what it is for"
)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A tensor with its values.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// In safetensors' spelling.
    pub dtype: &'static str,
    /// In torch's order.
    pub shape: Vec<usize>,
    /// Row-major, little-endian.
    pub bytes: Vec<u8>,
}

/// A model: files of tensors, and small files.
#[derive(Debug)]
pub struct Model {
    /// The name of its folder.
    pub name: &'static str,
    /// Path of each weight file, and what it holds.
    pub files: Vec<(String, Vec<Tensor>)>,
    /// Path and text of small files; the index is made when it is written.
    pub small: Vec<(String, String)>,
    /// Parameters that it stands for.
    pub parameters: usize,
    /// Weights of a quantisation: name without its suffix, and the values in F32.
    pub plain: Vec<(String, Vec<f32>)>,
}

/// Makes tensors with values that differ from their neighbours.
#[derive(Default)]
struct Maker {
    state: u32,
    tensors: Vec<Tensor>,
    parameters: usize,
    plain: Vec<(String, Vec<f32>)>,
}

impl Maker {
    /// The generator of Numerical Recipes; the high bits are the good ones.
    fn next(&mut self) -> u8 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.state.to_be_bytes()[0]
    }

    /// One value, of a size that weights have.
    fn value(&mut self, dtype: &str) -> Vec<u8> {
        let (low, high) = (self.next(), 0x3c | (self.next() & 0x80));
        match dtype {
            "BF16" => vec![low, high],
            "F32" => vec![low, self.next(), self.next(), high],
            // Neither of the two NaN.
            "F8_E4M3" => vec![if low & 0x7f == 0x7f { low ^ 1 } else { low }],
            _ => vec![low, self.next(), self.next(), self.next()],
        }
    }

    /// A tensor that stands for no parameters.
    fn aside(&mut self, dtype: &'static str, name: &str, shape: &[usize]) -> Vec<u8> {
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>()).flat_map(|_| self.value(dtype)).collect();
        self.push(dtype, name, shape, bytes.clone());
        bytes
    }

    fn push(&mut self, dtype: &'static str, name: &str, shape: &[usize], bytes: Vec<u8>) {
        self.tensors.push(Tensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes });
    }

    /// A tensor of parameters.
    fn add(&mut self, dtype: &'static str, name: &str, shape: &[usize]) -> Vec<u8> {
        self.parameters = self.parameters.saturating_add(shape.iter().product());
        self.aside(dtype, name, shape)
    }

    /// Several of one dtype below one prefix.
    fn all(&mut self, dtype: &'static str, prefix: &str, rows: &[(&str, &[usize])]) {
        for (name, shape) in rows {
            self.add(dtype, &format!("{prefix}{name}"), shape);
        }
    }

    /// Four bits a weight in groups of 32, as compressed-tensors packs them.
    fn int4(&mut self, name: &str, (rows, columns): (usize, usize)) {
        let groups = columns.div_ceil(32);
        let packed = self.aside("I32", &format!("{name}.weight_packed"), &[rows, columns.div_ceil(8)]);
        let scales = floats(&self.aside("BF16", &format!("{name}.weight_scale"), &[rows, groups]), 2);
        let shape = [rows, columns].map(|size| i32::try_from(size).expect("a small number").to_le_bytes()).concat();
        self.push("I32", &format!("{name}.weight_shape"), &[2], shape);
        self.parameters = self.parameters.saturating_add(rows.saturating_mul(columns));
        // Eight to a word, the lowest bits first; the sign is an offset of 8.
        let nibbles = packed.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        let values = nibbles.enumerate().map(|(place, nibble)| (f32::from(nibble) - 8.0) * scales[place / 32]);
        self.plain.push((name.to_owned(), values.collect()));
    }

    /// Eight bits a weight with a scale for each block of 128 by 128, as `DeepSeek` stores them.
    fn fp8(&mut self, name: &str, (rows, columns): (usize, usize)) {
        let bytes = self.add("F8_E4M3", &format!("{name}.weight"), &[rows, columns]);
        let blocks = columns.div_ceil(128);
        let scales = self.aside("F32", &format!("{name}.weight_scale_inv"), &[rows.div_ceil(128), blocks]);
        let scales = floats(&scales, 4);
        let place = |place: usize| scales[(place / columns / 128) * blocks + (place % columns) / 128];
        let values = bytes.iter().enumerate().map(|(at, byte)| e4m3(*byte) * place(at));
        self.plain.push((name.to_owned(), values.collect()));
    }

    /// Cut into as many shards of as many tensors; `file` names each by its place.
    fn model(self, name: &'static str, shards: usize, file: impl Fn(usize) -> String, config: &Value) -> Model {
        let part = self.tensors.len().div_ceil(shards);
        let files = self.tensors.chunks(part).enumerate().map(|(place, part)| (file(place), part.to_vec())).collect();
        let mut small = vec![
            ("config.json".to_owned(), config.to_string()),
            ("generation_config.json".to_owned(), "{}".to_owned()),
            ("tokenizer_config.json".to_owned(), "{}".to_owned()),
        ];
        if let Some(code) = config.pointer("/auto_map/AutoConfig").and_then(Value::as_str) {
            let file = code.split('.').next().expect("a name");
            // Should anything run it, there would be a file.
            small.push((format!("{file}.py"), "open('was-run', 'w')\n".to_owned()));
        }
        Model { name, files, small, parameters: self.parameters, plain: self.plain }
    }
}

/// Values of little-endian BF16 (two bytes) or F32 (four).
pub fn floats(bytes: &[u8], size: usize) -> Vec<f32> {
    let wide = |value: &[u8]| match value {
        [low, high] => f32::from_le_bytes([0, 0, *low, *high]),
        _ => f32::from_le_bytes(value.try_into().expect("four bytes")),
    };
    bytes.chunks(size).map(wide).collect()
}

/// One sign, four bits of exponent with a bias of 7, three of mantissa (OCP OFP8).
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = if exponent == 0 { mantissa / 512.0 } else { (1.0 + mantissa / 8.0) * 2_f32.powi(exponent - 7) };
    if byte & 0x80 == 0 { size } else { -size }
}

fn of(number: usize, from: usize, of: &str) -> String {
    format!("model-{:05}-of-{of}.safetensors", number.saturating_add(from))
}

/// All seven.
pub fn all() -> Vec<Model> {
    vec![ernie(), kimi(), minimax(), hunyuan(), minicpm(), spark(), got()]
}

/// Experts of two widths in one list, gates in F32, a head that is stored although the config calls it tied.
fn ernie() -> Model {
    let mut maker = Maker::default();
    maker.add("BF16", "model.embed_tokens.weight", &[64, 16]);
    for layer in 0..3 {
        let prefix = format!("model.layers.{layer}.");
        let (q, kv): (&[usize], &[usize]) = (&[16, 16], &[8, 16]);
        let attention = [("q_proj", q), ("k_proj", kv), ("v_proj", kv), ("o_proj", q)];
        for (name, shape) in attention {
            maker.add("BF16", &format!("{prefix}self_attn.{name}.weight"), shape);
        }
        let mut feed = |name: &str, width: usize| {
            let rows: [(&str, &[usize]); 3] = [
                ("gate_proj.weight", &[width, 16]),
                ("up_proj.weight", &[width, 16]),
                ("down_proj.weight", &[16, width]),
            ];
            maker.all("BF16", &format!("{prefix}mlp.{name}"), &rows);
        };
        if layer == 0 {
            feed("", 32);
        } else {
            for expert in 0..4 {
                feed(&format!("experts.{expert}."), if expert < 2 { 24 } else { 8 });
            }
            feed("shared_experts.", 48);
            let gates: [(&str, &[usize]); 3] = [
                ("gate.weight", &[16, 2]),
                ("gate.weight_1", &[16, 2]),
                ("moe_statics.e_score_correction_bias", &[2, 2]),
            ];
            maker.all("F32", &format!("{prefix}mlp."), &gates);
        }
        maker.all("BF16", &prefix, &[("input_layernorm.weight", &[16]), ("post_attention_layernorm.weight", &[16])]);
    }
    maker.all("BF16", "", &[("model.norm.weight", &[16]), ("lm_head.weight", &[64, 16])]);
    maker.all("BF16", "model.resampler_model.", &[("spatial_linear.0.weight", &[32, 32]), ("mlp.bias", &[16])]);
    maker.all("BF16", "vision_model.blocks.0.attn.", &[("qkv.weight", &[24, 8]), ("qkv.bias", &[24])]);
    let config = json!({
        "architectures": ["Ernie4_5_VLMoeForConditionalGeneration"], "model_type": "ernie4_5_moe_vl",
        "auto_map": {"AutoConfig": "configuration_ernie4_5_vl.Config"}, "torch_dtype": "bfloat16", "hidden_size": 16,
        "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 64, "moe_num_experts": [2, 2], "moe_intermediate_size": [24, 8], "tie_word_embeddings": true,
    });
    maker.model("ernie", 3, |place| of(place, 1, "00003"), &config)
}

/// Experts in four bits; the number of shards has six digits where their own has five.
fn kimi() -> Model {
    let mut maker = Maker::default();
    for layer in 0..3 {
        let prefix = format!("model.layers.{layer}.");
        maker.all(
            "BF16",
            &format!("{prefix}self_attn."),
            &[("q_a_proj.weight", &[8, 64]), ("kv_b_proj.weight", &[32, 8])],
        );
        if layer == 0 {
            maker.add("BF16", &format!("{prefix}mlp.gate_proj.weight"), &[48, 64]);
        } else {
            maker.add("BF16", &format!("{prefix}mlp.gate.weight"), &[2, 64]);
            maker.add("F32", &format!("{prefix}mlp.gate.e_score_correction_bias"), &[2]);
            for expert in 0..2 {
                for (name, sizes) in [("gate_proj", (32, 64)), ("up_proj", (32, 64)), ("down_proj", (64, 32))] {
                    maker.int4(&format!("{prefix}mlp.experts.{expert}.{name}"), sizes);
                }
            }
        }
    }
    maker.all("BF16", "", &[("model.embed_tokens.weight", &[80, 64]), ("lm_head.weight", &[80, 64])]);
    let weights = json!({"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": true, "type": "int"});
    let config = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2", "torch_dtype": "bfloat16",
        "auto_map": {"AutoConfig": "configuration_deepseek.Config"}, "hidden_size": 64, "num_hidden_layers": 3,
        "vocab_size": 80, "tie_word_embeddings": false, "quantization_config": {
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
            "format": "pack-quantized", "ignore": ["lm_head", "re:.*self_attn.*"],
            "quant_method": "compressed-tensors", "quantization_status": "compressed",
        },
    });
    let mut model = maker.model("kimi", 4, |place| of(place, 1, "000004"), &config);
    model.small.push(("tiktoken.model".to_owned(), "IQ== 0\n".to_owned()));
    model
}

/// Eight bits in blocks; shards count from 0 and promise more than there are; layers that the config promises are not there.
fn minimax() -> Model {
    let mut maker = Maker::default();
    maker.add("BF16", "model.embed_tokens.weight", &[64, 160]);
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}.");
        for name in ["q_proj", "o_proj"] {
            maker.fp8(&format!("{prefix}self_attn.{name}"), (160, 160));
        }
        maker.add("F32", &format!("{prefix}block_sparse_moe.gate.weight"), &[2, 160]);
        maker.add("F32", &format!("{prefix}block_sparse_moe.e_score_correction_bias"), &[2]);
        for expert in 0..2 {
            for (name, sizes) in [("w1", (40, 160)), ("w2", (160, 40)), ("w3", (40, 160))] {
                maker.fp8(&format!("{prefix}block_sparse_moe.experts.{expert}.{name}"), sizes);
            }
        }
    }
    maker.all("BF16", "", &[("model.norm.weight", &[160]), ("lm_head.weight", &[64, 160])]);
    let config = json!({
        "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", "hidden_size": 160,
        "auto_map": {"AutoConfig": "configuration_minimax_m2.Config"}, "num_hidden_layers": 2, "vocab_size": 64,
        "num_mtp_modules": 3, "use_mtp": true, "tie_word_embeddings": false, "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "float8_e4m3fn", "quant_method": "fp8", "weight_block_size": [128, 128],
            "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"],
        },
    });
    let mut model = maker.model("minimax", 5, |place| of(place, 0, "00010"), &config);
    model.small.push(("vocab.json".to_owned(), "{}".to_owned()));
    model
}

/// A tree of models without an index: two transformers, an autoencoder, an upsampler; a scheduler that has no weights.
fn hunyuan() -> Model {
    let mut maker = Maker::default();
    let mut files = Vec::new();
    let mut small = vec![
        ("config.json".to_owned(), "{}".to_owned()),
        ("scheduler/scheduler_config.json".to_owned(), "{}".to_owned()),
        ("README.md".to_owned(), "a tree\n".to_owned()),
    ];
    let parts: [(&str, &str, &str, &[usize]); 4] = [
        ("transformer/480p_t2v", "Transformer", "img_in.proj.weight", &[8, 65, 1, 1, 1]),
        ("transformer/720p_sr_distilled", "Transformer", "img_in.proj.weight", &[8, 98, 1, 1, 1]),
        ("vae", "AutoencoderKLConv3D", "encoder.conv_in.conv.weight", &[8, 3, 3, 3, 3]),
        ("upsampler/720p_sr_distilled", "SRTo720pUpsampler", "in_conv.conv.weight", &[8, 4, 3, 3, 3]),
    ];
    for (folder, class, name, shape) in parts {
        maker.all("F32", "", &[(name, shape), ("double_blocks.0.img_mod.linear.bias", &[48])]);
        files.push((format!("{folder}/diffusion_pytorch_model.safetensors"), std::mem::take(&mut maker.tensors)));
        small.push((format!("{folder}/config.json"), json!({"_class_name": class}).to_string()));
    }
    Model { name: "hunyuan", files, small, parameters: maker.parameters, plain: Vec::new() }
}

/// A language model below a prefix, a picture model, and parameters that are not called `weight`.
fn minicpm() -> Model {
    let mut maker = Maker::default();
    maker.add("BF16", "llm.model.embed_tokens.weight", &[60, 16]);
    for layer in 0..2 {
        let rows: [(&str, &[usize]); 4] = [
            ("self_attn.q_proj.weight", &[16, 16]),
            ("self_attn.q_norm.weight", &[4]),
            ("mlp.gate_proj.weight", &[24, 16]),
            ("input_layernorm.weight", &[16]),
        ];
        maker.all("BF16", &format!("llm.model.layers.{layer}."), &rows);
    }
    maker.all("BF16", "llm.", &[("model.norm.weight", &[16]), ("lm_head.weight", &[60, 16])]);
    maker.all(
        "BF16",
        "vpm.embeddings.",
        &[("patch_embedding.weight", &[8, 3, 2, 2]), ("position_embedding.weight", &[16, 8])],
    );
    let resampler: [(&str, &[usize]); 4] =
        [("query", &[8, 16]), ("proj", &[16, 16]), ("attn.in_proj_weight", &[48, 16]), ("attn.in_proj_bias", &[48])];
    maker.all("BF16", "resampler.", &resampler);
    let config = json!({
        "architectures": ["MiniCPMV"], "model_type": "minicpmv", "torch_dtype": "bfloat16", "hidden_size": 16,
        "auto_map": {"AutoConfig": "configuration_minicpm.Config"}, "num_hidden_layers": 2, "vocab_size": 60,
        "tie_word_embeddings": false,
    });
    maker.model("minicpm", 4, |place| of(place, 1, "00004"), &config)
}

/// Names of Llama, a model type that nobody knows.
fn spark() -> Model {
    let mut maker = Maker::default();
    maker.add("F32", "model.embed_tokens.weight", &[48, 16]);
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}.");
        maker.all("F32", &prefix, &[("self_attn.q_proj.weight", &[16, 16]), ("mlp.down_proj.weight", &[16, 24])]);
    }
    maker.all("F32", "", &[("model.norm.weight", &[16]), ("lm_head.weight", &[48, 16])]);
    let config = json!({
        "architectures": ["SparkForCausalLM"], "model_type": "spark", "torch_dtype": "float32", "hidden_size": 16,
        "auto_map": {"AutoConfig": "configuration_spark.Config"}, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 48, "tie_word_embeddings": false,
    });
    let mut model = maker.model("spark", 2, |place| of(place, 1, "00002"), &config);
    model.small.push(("vocab.txt".to_owned(), "a\n".to_owned()));
    model
}

/// One file; the head is tied, as the part of the config says that speaks of the language model, and is not stored.
fn got() -> Model {
    let mut maker = Maker::default();
    maker.all("BF16", "vision_tower.", &[("pos_embed", &[1, 4, 4, 8]), ("layers.0.attn.rel_pos_h", &[3, 4])]);
    maker.all("BF16", "multi_modal_projector.", &[("conv_upsampler1.weight", &[16, 8, 3, 3])]);
    maker.add("BF16", "language_model.model.embed_tokens.weight", &[48, 16]);
    maker.all(
        "BF16",
        "language_model.model.layers.0.",
        &[("self_attn.q_proj.weight", &[16, 16]), ("self_attn.q_proj.bias", &[16])],
    );
    maker.add("BF16", "language_model.model.norm.weight", &[16]);
    let config = json!({
        "architectures": ["GotOcr2ForConditionalGeneration"], "model_type": "got_ocr2", "torch_dtype": "bfloat16",
        "text_config": {"model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 48,
            "tie_word_embeddings": true},
        "vision_config": {"hidden_size": 8},
    });
    maker.model("got", 1, |_| "model.safetensors".to_owned(), &config)
}

impl Model {
    /// Writes it below a folder, with the index of its shards.
    pub fn write(&self, folder: &Path) {
        let root = folder.join(self.name);
        let put = |name: &str, bytes: &[u8]| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        };
        for (name, tensors) in &self.files {
            put(name, &safetensors(tensors));
        }
        for (name, text) in &self.small {
            put(name, text.as_bytes());
        }
        if self.is_sharded() {
            let tensors =
                || self.files.iter().flat_map(|(file, tensors)| tensors.iter().map(move |tensor| (tensor, file)));
            let total: usize = tensors().map(|(tensor, _)| tensor.bytes.len()).sum();
            let map: Map<String, Value> = tensors().map(|(tensor, file)| (tensor.name.clone(), json!(file))).collect();
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            put("model.safetensors.index.json", index.to_string().as_bytes());
        }
    }

    /// Whether its files are shards of one model.
    pub fn is_sharded(&self) -> bool {
        self.files.len() > 1 && self.files.iter().all(|(name, _)| !name.contains('/'))
    }
}

/// A safetensors file.
fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut data = Vec::<u8>::new();
    for tensor in tensors {
        let begin = data.len();
        data.extend(&tensor.bytes);
        let info = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, data.len()]});
        header.insert(tensor.name.clone(), info);
    }
    let header = Value::Object(header).to_string();
    let mut file = u64::try_from(header.len()).expect("a length").to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Name and bytes of every tensor in the safetensors files on top of a folder.
pub fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tensors = BTreeMap::new();
    for path in crate::files(folder) {
        if path.extension().is_none_or(|ending| ending != "safetensors") || path.parent() != Some(folder) {
            continue;
        }
        let file = std::fs::read(&path).expect("a file");
        let (length, rest) = file.split_first_chunk().expect("a length");
        let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).expect("a length"));
        let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
        for (name, info) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            let place =
                |end: usize| usize::try_from(info["data_offsets"][end].as_u64().expect("a place")).expect("a place");
            tensors.insert(name.clone(), data.get(place(0)..place(1)).expect("a range").to_vec());
        }
    }
    tensors
}
