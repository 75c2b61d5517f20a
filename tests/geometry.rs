//! Models of many geometries, taken to Meta's form at every number of ranks and back: the same tensors, one canonical digest.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::fmt::Write as _;
use std::path::Path;

use ckpt_tests::case::Answer;
use ckpt_tests::room::Room;
use serde_json::{Map, Value, json};

/// The sizes of a model, and the numbers of ranks it can be divided among.
struct Model {
    layers: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    feed_forward: u64,
    vocab: u64,
    tied: bool,
    ranks: &'static [u64],
}

#[rustfmt::skip]
const MODELS: &[Model] = &[
    Model { layers: 1, heads: 4, kv_heads: 4, head_dim: 2,  feed_forward: 32, vocab: 48,  tied: false, ranks: &[1, 2, 4] },
    Model { layers: 2, heads: 4, kv_heads: 2, head_dim: 4,  feed_forward: 48, vocab: 64,  tied: true,  ranks: &[1, 2, 4] },
    // More ranks than heads of keys and values: each is held by several.
    Model { layers: 1, heads: 8, kv_heads: 2, head_dim: 4,  feed_forward: 64, vocab: 64,  tied: false, ranks: &[1, 2, 4, 8] },
    Model { layers: 1, heads: 8, kv_heads: 1, head_dim: 6,  feed_forward: 64, vocab: 128, tied: true,  ranks: &[1, 8] },
    // Sizes that are powers of nothing.
    Model { layers: 3, heads: 6, kv_heads: 3, head_dim: 10, feed_forward: 96, vocab: 33,  tied: false, ranks: &[1, 3] },
    // Wider than it is long: the shape alone does not tell rows from columns.
    Model { layers: 1, heads: 2, kv_heads: 2, head_dim: 32, feed_forward: 64, vocab: 64,  tied: false, ranks: &[1, 2] },
];

impl Model {
    fn width(&self) -> u64 {
        self.heads.checked_mul(self.head_dim).expect("a small number")
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": self.width(),
            "intermediate_size": self.feed_forward, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "vocab_size": self.vocab, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
            "tie_word_embeddings": self.tied, "torch_dtype": "bfloat16", "max_position_embeddings": 2048,
        })
    }

    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let (width, ffn) = (self.width(), self.feed_forward);
        let keys = self.kv_heads.checked_mul(self.head_dim).expect("a small number");
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab, width])];
        for layer in 0..self.layers {
            for (name, shape) in [
                ("self_attn.q_proj", vec![width, width]),
                ("self_attn.k_proj", vec![keys, width]),
                ("self_attn.v_proj", vec![keys, width]),
                ("self_attn.o_proj", vec![width, width]),
                ("mlp.gate_proj", vec![ffn, width]),
                ("mlp.up_proj", vec![ffn, width]),
                ("mlp.down_proj", vec![width, ffn]),
                ("input_layernorm", vec![width]),
                ("post_attention_layernorm", vec![width]),
            ] {
                tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
            }
        }
        tensors.push(("model.norm.weight".to_owned(), vec![width]));
        if !self.tied {
            tensors.push(("lm_head.weight".to_owned(), vec![self.vocab, width]));
        }
        tensors
    }

    /// Writes it as Hugging Face does, every element different from its neighbours.
    fn write(&self, folder: &Path) {
        std::fs::create_dir(folder).expect("a new folder");
        std::fs::write(folder.join("config.json"), self.config().to_string()).expect("a file");
        let (mut header, mut data, mut state) = (Map::new(), Vec::new(), 1_u32);
        for (name, shape) in self.tensors() {
            let start = data.len();
            for _ in 0..shape.iter().product::<u64>() {
                // The generator of Numerical Recipes; its high bits are a bf16 of a size that weights have.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                data.extend([state.to_be_bytes()[0], 0x3c | (state.to_be_bytes()[1] & 0x80)]);
            }
            header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()]}));
        }
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let header = Value::Object(header).to_string();
        let mut file = u64::try_from(header.len()).expect("a length").to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        std::fs::write(folder.join("model.safetensors"), file).expect("a file");
    }
}

#[test]
fn every_geometry_comes_back_as_it_was() {
    for (number, model) in MODELS.iter().enumerate() {
        let room = Room::new("");
        model.write(&room.folder().join("hf"));
        let mut script = String::from("set -e\nckpt-verify hf >hf.json\n");
        for ranks in model.ranks {
            writeln!(
                script,
                "ckpt-convert -q hf --to meta --mp {ranks} --out meta-{ranks} >meta-{ranks}.json
                 test \"$(ls meta-{ranks} | grep -c consolidated)\" = {ranks}
                 ckpt-verify -q --expect meta --severity expect-file=note meta-{ranks} >verify-{ranks}.json
                 ckpt-convert -q meta-{ranks} --to hf --out back-{ranks} >back-{ranks}.json
                 ckpt-hash --brief back-{ranks} | jq -r .hash.root >>stored
                 ckpt-hash --canonical --brief meta-{ranks} | jq -r .hash.root >>canonical
                 ckpt-verify back-{ranks} --against meta-{ranks} >against-{ranks}.json"
            )
            .expect("text");
        }
        script.push_str("ckpt-hash --brief hf | jq -r .hash.root >>stored; sort -u stored | wc -l\n");
        script.push_str("ckpt-hash --canonical --brief hf | jq -r .hash.root >>canonical; sort -u canonical | wc -l\n");
        let answer = room.run(&script);
        let wanted = Answer { stdout: "1\n1\n".to_owned(), ..Answer::default() };
        let left = room.run("cat ./*.json 2>/dev/null; cat stored canonical");
        assert_eq!(answer, wanted, "model {number}\n{}", left.stdout);
        room.check_documents(&[]).expect("documents of the schema");
    }
}
