//! The tool, run on the fixtures: fields against what the real libraries said, reports against the committed ones.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

/// Exit code and stdout of a run whose folder is that of the fixtures.
fn run(words: &[&str]) -> (i32, String) {
    let tool = env!("CARGO_BIN_EXE_ckpt-inspect");
    let output = Command::new(tool).args(words).current_dir(FIXTURES).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The document of a path, which must be ok.
fn document(words: &[&str]) -> Value {
    let (code, text) = run(words);
    assert_eq!(code, 0, "{words:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn inspect(words: &[&str]) -> Value {
    document(words)["inspect"].take()
}

fn json_file(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(Path::new(FIXTURES).join(name)).unwrap()).unwrap()
}

/// Name, dtype and shape of every tensor of a list.
fn geometry<'a>(tensors: impl IntoIterator<Item = &'a Value>) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rows: Vec<_> = tensors
        .into_iter()
        .map(|tensor| (text(&tensor["name"]), text(&tensor["dtype"]), tensor["shape"].clone()))
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn elements(tensors: &Value) -> u64 {
    let count =
        |tensor: &Value| tensor["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
    tensors.as_array().unwrap().iter().map(count).fold(0, |sum: u64, count: u64| sum.checked_add(count).unwrap())
}

#[test]
fn a_meta_checkpoint_is_the_same_model_however_it_is_split() {
    let expected = json_file("tiny-llama3/expected.json");
    for (path, files) in [("tiny-llama3/mp1", 1), ("tiny-llama3/mp2", 2)] {
        let found = inspect(&[path]);
        assert_eq!(found["layout"], "meta");
        assert_eq!(found["formats"], json!(["torch-zip"]));
        assert_eq!(found["family"], json!({"name": "llama", "variant": null, "from": "params.json"}));
        // The head is the embedding, byte for byte, and counts once; the bytes of both are there.
        assert_eq!(found["tied"]["head"], "yes", "{path}");
        assert_eq!(found["tied"]["from"], "crc");
        assert_eq!(found["parameters"], elements(&expected["canonical"]["tensors"]));
        assert_eq!(found["dtypes"]["BF16"]["parameters"], found["parameters"]);
        assert_eq!(found["bytes"], found["dtypes"]["BF16"]["bytes"]);
        let config = &found["config"];
        let sizes = ["layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "context"];
        assert_eq!(sizes.map(|key| config[key].as_u64().unwrap()), [2, 64, 176, 4, 2, 16, 768, 131_072]);
        assert_eq!(config["rope_scaling"], json!({"use_scaled_rope": true}));
        assert_eq!(found["tokenizer"], json!({"kind": "tiktoken", "tokens": 768, "file": "tokenizer.model"}));
        assert_eq!(found["missing"], json!([]));
        let weights = found["files"].as_array().unwrap().iter().filter(|file| file["format"] == "torch-zip").count();
        assert_eq!(weights, files);
    }
}

#[test]
fn an_untied_model_counts_its_head_and_not_its_buffer() {
    let expected = json_file("tiny-llama2/expected.json");
    for path in ["tiny-llama2/mp1", "tiny-llama2/mp2"] {
        let found = inspect(&[path]);
        assert_eq!(found["tied"], json!({"head": "no", "from": "bytes", "shared": []}), "{path}");
        assert_eq!(found["parameters"], elements(&expected["canonical"]["tensors"]));
        // `rope.freqs` has bytes and stands for nothing.
        assert_eq!(found["dtypes"]["F16"]["tensors"], 22);
        assert_eq!(found["config"]["vocab"], 448);
        assert_eq!(found["tokenizer"]["kind"], "sentencepiece");
    }
}

#[test]
fn a_hugging_face_directory_lists_what_the_library_wrote() {
    let found = inspect(&["hf-tiny", "--tensors"]);
    let expected = json_file("hf-tiny/expected.json");
    let tensors = found["tensors"].as_array().unwrap();
    assert_eq!(geometry(tensors), geometry(expected["tensors"].as_array().unwrap()));
    assert!(tensors.iter().all(|tensor| tensor["offset"].is_u64()));
    assert_eq!(found["layout"], "hf");
    assert_eq!(found["tied"], json!({"head": "yes", "from": "config", "shared": []}));
    assert_eq!(found["parameters"], elements(&expected["tensors"]));
    assert_eq!(found["config"]["architecture"], "LlamaForCausalLM");
    assert_eq!(found["config"]["dtype"], "BF16");
    assert_eq!(found["config"]["rope_theta"], 500_000.0);
    assert_eq!(found["tokenizer"], json!({"kind": "tokenizer.json", "tokens": 768, "file": "tokenizer.json"}));

    let some = inspect(&["hf-tiny", "--tensors", "--select", "*.mlp.*", "--exclude", "*.1.*"]);
    let names: Vec<&str> =
        some["tensors"].as_array().unwrap().iter().map(|tensor| tensor["name"].as_str().unwrap()).collect();
    let part = |name: &str| format!("model.layers.0.mlp.{name}.weight");
    assert_eq!(names, ["down_proj", "gate_proj", "up_proj"].map(part));
    assert_eq!(some["parameters"], found["parameters"], "a selection narrows what is shown and nothing else");
}

#[test]
fn every_file_lists_what_its_library_wrote() {
    for folder in ["torch", "safetensors"] {
        let expected = json_file(&format!("{folder}/expected.json"));
        let listed = expected["tensors"].as_array().unwrap();
        let files: std::collections::BTreeSet<&str> =
            listed.iter().map(|tensor| tensor["file"].as_str().unwrap()).collect();
        assert!(files.len() > 3);
        for file in files {
            let found = inspect(&[&format!("{folder}/{file}"), "--tensors"]);
            let found = geometry(found["tensors"].as_array().unwrap());
            // The parts of a sparse or nested tensor are named by nobody but us.
            for (name, dtype, shape) in geometry(listed.iter().filter(|tensor| tensor["file"] == file)) {
                let wanted = (name.replace("::", "."), dtype, shape);
                assert!(found.contains(&wanted), "{folder}/{file} lacks {wanted:?}: {found:?}");
            }
        }
    }
}

#[test]
fn shared_data_count_once() {
    let found = inspect(&["torch/tied.pt"]);
    assert_eq!(found["tied"]["shared"], json!([["embed.weight", "head.weight"]]));
    assert_eq!(found["bytes"], 256);
    let found = inspect(&["safetensors/aliases.safetensors"]);
    assert!(!found["tied"]["shared"].as_array().unwrap().is_empty());
}

#[test]
fn a_shard_is_judged_alone() {
    let found = inspect(&["hf-tiny/model-00002-of-00002.safetensors"]);
    assert_eq!(found["shard"], json!({"number": 2, "of": 2}));
    assert_eq!(found["layout"], "file");
    assert_eq!(found["missing"], json!([]));
    assert_eq!(found["tied"]["head"], "unknown");
    assert_eq!(inspect(&["tiny-llama3/mp2/consolidated.01.pth"])["shard"], json!({"number": 1, "of": null}));
}

#[test]
fn a_training_state_is_told() {
    let found = inspect(&["torch/training_state.pt"]);
    let training = &found["training"];
    assert_eq!((&training["step"], &training["epoch"]), (&json!(1200), &json!(3.0)));
    assert_eq!([&training["optimizer"], &training["scheduler"], &training["rng"]], [true, false, false]);
    assert_eq!(training["found"], json!(["epoch", "global_step", "optimizer"]));
    assert_eq!(training["values"]["loss"], 0.25);
    assert_eq!(found["missing"], json!(["RNG state", "scheduler state"]));
    // Moments of the optimizer are no parameters.
    assert_eq!(found["parameters"], 31);
}

/// A copy of a folder of the fixtures that may be spoilt.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("model");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(Path::new(FIXTURES).join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    (folder, to)
}

#[test]
fn a_run_of_the_trainer_says_what_a_resumed_one_would_lack() {
    let (_folder, model) = copy("hf-tiny");
    let path = model.to_str().unwrap();
    std::fs::write(model.join("optimizer.pt"), b"x").unwrap();
    std::fs::write(model.join("rng_state_0.pth"), b"x").unwrap();
    let found = inspect(&[path]);
    assert_eq!(found["training"]["found"], json!(["optimizer.pt", "rng_state_0.pth"]));
    assert_eq!(found["missing"], json!(["scheduler state", "step and epoch", "trainer_state.json"]));

    std::fs::write(model.join("scheduler.pt"), b"x").unwrap();
    let state = json!({"global_step": 1000, "epoch": 1.5, "max_steps": 2000, "log_history": [{"loss": 1.0}]});
    std::fs::write(model.join("trainer_state.json"), state.to_string()).unwrap();
    let found = inspect(&[path]);
    assert_eq!(found["training"]["step"], 1000);
    assert_eq!(found["training"]["epoch"], 1.5);
    assert_eq!(found["training"]["values"], json!({"epoch": 1.5, "global_step": 1000, "max_steps": 2000}));
    assert_eq!(found["missing"], json!([]));
}

#[test]
fn what_is_damaged_tells_what_can_be_read() {
    let (_folder, model) = copy("hf-tiny");
    let path = model.to_str().unwrap();
    std::fs::remove_file(model.join("model-00001-of-00002.safetensors")).unwrap();
    std::fs::remove_file(model.join("generation_config.json")).unwrap();
    let (code, text) = run(&[path]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &document["status"]), (2, &json!("error")));
    assert_eq!(document["error"]["id"], "shard-missing");
    assert_eq!(document["error"]["file"], "model-00001-of-00002.safetensors");
    let found = &document["inspect"];
    assert_eq!(found["missing"], json!(["generation_config.json", "model-00001-of-00002.safetensors"]));
    assert_eq!(found["config"]["layers"], 2);
    assert!(found["dtypes"]["BF16"]["tensors"].as_u64().unwrap() > 0);
    assert_eq!(found["tied"]["head"], "unknown");

    for (path, id) in
        [("nowhere", "path-missing"), ("safetensors-bad/truncated_data.safetensors", "safetensors-truncated")]
    {
        let (code, text) = run(&[path]);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &document["error"]["id"]), (2, &json!(id)));
    }
}

/// A safetensors file of these tensors (name, dtype, shape, bytes an element), without data on the disk.
fn sparse(path: &Path, tensors: &[(String, &str, Vec<u64>, u64)]) {
    let (mut header, mut reached) = (serde_json::Map::new(), 0u64);
    for (name, dtype, shape, item) in tensors {
        let end =
            shape.iter().product::<u64>().checked_mul(*item).and_then(|bytes| bytes.checked_add(reached)).unwrap();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [reached, end]}));
        reached = end;
    }
    let text = Value::Object(header).to_string();
    let length = u64::try_from(text.len()).unwrap();
    std::fs::write(path, [&length.to_le_bytes()[..], text.as_bytes()].concat()).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(length.checked_add(reached).and_then(|size| size.checked_add(8)).unwrap()).unwrap();
}

#[test]
fn packed_weights_count_as_what_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), "BF16", vec![100, 64], 2)];
    for expert in 0..3 {
        let own = |part: &str| format!("model.layers.0.mlp.experts.{expert}.up_proj.weight{part}");
        tensors.push((own("_packed"), "I32", vec![32, 8], 4));
        tensors.push((own("_scale"), "BF16", vec![32, 2], 2));
        tensors.push((own("_shape"), "I32", vec![2], 4));
    }
    sparse(&folder.path().join("model.safetensors"), &tensors);
    let config = json!({"model_type": "kimi_k2", "tie_word_embeddings": true, "num_hidden_layers": 1,
        "quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}});
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let found = inspect(&[folder.path().to_str().unwrap(), "--tree"]);
    assert_eq!(found["parameters"], 100 * 64 + 3 * 32 * 64);
    assert_eq!(found["dtypes"]["I32"], json!({"tensors": 6, "parameters": 3 * 32 * 64, "bytes": 3 * (32 * 8 + 2) * 4}));
    assert_eq!(found["family"], Value::Null);
    assert_eq!(found["config"]["model_type"], "kimi_k2");
    assert_eq!(found["missing"], json!(["generation_config.json", "tokenizer", "tokenizer_config.json"]));
    let experts = &found["tree"]["children"][0]["children"][1]["children"][0]["children"][0]["children"][0];
    assert_eq!(experts["name"], "experts");
    assert_eq!(experts["children"].as_array().unwrap().len(), 1);
    assert_eq!(experts["children"][0]["name"], "0..2");
    assert_eq!(experts["children"][0]["parameters"], 3 * 32 * 64);
}

#[test]
fn releases_are_known_by_their_sizes() {
    // Rows of params.json and the one tensor that tells the feed-forward width; names of the rest follow.
    let llama = |dim: u64, layers: u64, heads: u64, kv: u64, ffn: u64, vocab: u64, extra: Value| {
        let folder = tempfile::tempdir().unwrap();
        let head = dim / heads;
        let mut tensors = vec![
            ("tok_embeddings.weight".to_owned(), "BF16", vec![vocab, dim], 2),
            ("norm.weight".to_owned(), "BF16", vec![dim], 2),
            ("output.weight".to_owned(), "BF16", vec![vocab, dim], 2),
        ];
        for layer in 0..layers {
            let mut push = |name: &str, shape: Vec<u64>| {
                tensors.push((format!("layers.{layer}.{name}.weight"), "BF16", shape, 2));
            };
            push("attention.wq", vec![dim, dim]);
            push("attention.wk", vec![kv * head, dim]);
            push("attention.wv", vec![kv * head, dim]);
            push("attention.wo", vec![dim, dim]);
            push("feed_forward.w1", vec![ffn, dim]);
            push("feed_forward.w2", vec![dim, ffn]);
            push("feed_forward.w3", vec![ffn, dim]);
            push("attention_norm", vec![dim]);
            push("ffn_norm", vec![dim]);
        }
        sparse(&folder.path().join("consolidated.safetensors"), &tensors);
        let mut params = json!({"dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv, "norm_eps": 1e-5, "vocab_size": vocab});
        params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        std::fs::write(folder.path().join("params.json"), params.to_string()).unwrap();
        let path = folder.path().join("consolidated.safetensors");
        let found = inspect(&[path.to_str().unwrap()]);
        found["family"]["variant"].as_str().map(str::to_owned)
    };
    let scaled = json!({"rope_theta": 500_000.0, "use_scaled_rope": true});
    assert_eq!(llama(4096, 32, 32, 8, 14_336, 128_256, scaled).unwrap(), "3.1-8B");
    assert_eq!(llama(4096, 32, 32, 8, 14_336, 128_256, json!({"rope_theta": 500_000.0})).unwrap(), "3-8B");
    assert_eq!(llama(8192, 80, 64, 8, 28_672, 32_000, json!({})).unwrap(), "2-70B");
    assert_eq!(llama(8192, 48, 64, 8, 22_016, 32_000, json!({"rope_theta": 1_000_000.0})).unwrap(), "code-34B");
    assert_eq!(llama(4096, 31, 32, 8, 14_336, 128_256, json!({"rope_theta": 500_000.0})), None);
}

#[test]
fn twins_do_not_differ_and_others_do() {
    for path in ["tiny-llama3/mp1", "tiny-llama3/mp2"] {
        let found = inspect(&["hf-tiny", "--diff", path]);
        let nothing = json!({"other": path, "only_here": [], "only_there": [], "changed": [], "config": []});
        assert_eq!(found["diff"], nothing);
    }
    let (code, text) = run(&["tiny-llama2/mp1", "--diff", "tiny-llama3/mp1"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &document["status"]), (1, &json!("findings")));
    let diff = &document["inspect"]["diff"];
    assert_eq!(
        geometry(diff["only_here"].as_array().unwrap()),
        [("rope.freqs".to_owned(), "F16".to_owned(), json!([8]))]
    );
    assert_eq!(diff["only_there"], json!([]));
    assert_eq!(diff["changed"][0]["name"], "layers.0.attention.wk.weight");
    assert_eq!(diff["changed"][0]["there"], json!({"dtype": "BF16", "shape": [32, 64]}));
    let keys: Vec<&str> =
        diff["config"].as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"vocab_size") && keys.is_sorted());
    // What cannot be read cannot be compared.
    assert_eq!(run(&["hf-tiny", "--diff", "nowhere"]).0, 2);
}

#[test]
fn equal_layers_are_folded() {
    let tree = inspect(&["hf-tiny", "--tree"])["tree"].take();
    let layers = &tree["children"][0]["children"][1];
    assert_eq!(layers["name"], "layers");
    assert_eq!(layers["children"].as_array().unwrap().len(), 1);
    assert_eq!(layers["children"][0]["name"], "0..1");
    assert_eq!(layers["children"][0]["tensors"], 18);
    assert_eq!(tree["tensors"], 20);
}

#[test]
fn layouts_that_there_are_not_are_refused() {
    assert_eq!(run(&["hf-tiny", "--from", "dcp"]).0, 2);
    assert_eq!(inspect(&["hf-tiny", "--from", "directory"])["layout"], "directory");
}

#[test]
fn reports_are_those_that_were_blessed() {
    let cases: &[(&str, &[&str])] = &[
        ("meta", &["tiny-llama3/mp2"]),
        ("hf-tree", &["hf-tiny", "--tree"]),
        ("training", &["torch/training_state.pt"]),
        ("tensors", &["safetensors/dtypes.safetensors", "--tensors"]),
        ("diff", &["tiny-llama2/mp1", "--diff", "tiny-llama3/mp1", "--select", "layers.0.*"]),
        ("twins", &["hf-tiny", "--diff", "tiny-llama3/mp1", "--color", "always"]),
    ];
    for (name, words) in cases {
        let (_, text) = run(&[words, &["--text"][..]].concat());
        let path = format!("{}/tests/reports/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, committed, "{name}: run the test with BLESS=1 and read the difference");
    }
}

#[test]
fn figures_are_those_of_the_values() {
    let found = inspect(&["safetensors/dtypes.safetensors", "--stats", "--select", "*32"]);
    let (stats, tensors) =
        (&found["stats"], inspect(&["safetensors/dtypes.safetensors", "--tensors"])["tensors"].take());
    let bytes = std::fs::read(Path::new(FIXTURES).join("safetensors/dtypes.safetensors")).unwrap();
    for figures in stats.as_array().unwrap() {
        let tensor = tensors.as_array().unwrap().iter().find(|tensor| tensor["name"] == figures["name"]).unwrap();
        let number = |key: &str| usize::try_from(tensor[key].as_u64().unwrap()).unwrap();
        let values = bytes[number("offset")..][..number("bytes")].as_chunks().0.iter();
        let values: Vec<f64> = match tensor["dtype"].as_str().unwrap() {
            "F32" => values.map(|four| f64::from(f32::from_le_bytes(*four))).collect(),
            "I32" => values.map(|four| f64::from(i32::from_le_bytes(*four))).collect(),
            _ => values.map(|four| f64::from(u32::from_le_bytes(*four))).collect(),
        };
        let near = |key: &str, wanted: f64| {
            let figure = figures[key].as_f64().unwrap();
            assert!((figure - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{key} {figure} {wanted}");
        };
        let count = f64::from(u32::try_from(values.len()).unwrap());
        let mean = values.iter().sum::<f64>() / count;
        near("mean", mean);
        near("std", (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt());
        near("norm", values.iter().map(|value| value * value).sum::<f64>().sqrt());
        near("min", values.iter().copied().reduce(f64::min).unwrap());
        near("max", values.iter().copied().reduce(f64::max).unwrap());
    }
    let names: Vec<&Value> = stats.as_array().unwrap().iter().map(|figures| &figures["name"]).collect();
    assert!(names.len() >= 2, "{names:?}");
    assert_eq!(inspect(&["tiny-llama3/mp1", "--stats"])["stats"], inspect(&["tiny-llama3/mp2", "--stats"])["stats"]);
    assert!(inspect(&["hf-tiny"]).get("stats").is_none());
}
