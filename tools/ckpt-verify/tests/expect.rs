//! Readiness for a use: what passes, what does not, and the command that mends it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Copy, Said, edit_json, fixtures, set, verify};

fn expect(copy: &Copy, path: &str, what: &str) -> Said {
    verify(copy.root.path(), &[path, "--expect", what])
}

/// Errors as `id file`, and the commands that mend them, each once.
fn errors(said: &Said) -> (Vec<String>, Vec<String>) {
    let errors: Vec<&Value> = said.findings().iter().filter(|finding| finding["severity"] == "error").collect();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let places = errors.iter().map(|error| format!("{} {}", text(&error["id"]), text(&error["file"]))).collect();
    let mut fixes: Vec<String> = errors.iter().filter_map(|error| error["fix"].as_str().map(str::to_owned)).collect();
    fixes.dedup();
    (places, fixes)
}

/// Puts Meta's files into `original/` and the small files of Hugging Face on top, as the hub has them.
fn to_hub(model: &Path) {
    std::fs::create_dir(model.join("original")).unwrap();
    for entry in std::fs::read_dir(model).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::rename(entry.path(), model.join("original").join(entry.file_name())).unwrap();
    }
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        std::fs::copy(fixtures().join("hf-tiny").join(name), model.join(name)).unwrap();
    }
}

#[test]
fn a_meta_download_is_not_ready_for_a_save_in_hugging_faces_format() {
    let copy = Copy::of("tiny-llama3/mp1");
    let said = expect(&copy, "model", "hf-save");
    let fix = "ckpt-convert 'model' --to hub --out 'model-hub'";
    assert_eq!(errors(&said), (vec!["expect-file ../config.json".into()], vec![fix.into()]));
    assert_eq!(said.code, 1);
    let finding = &said.findings()[0];
    let message = finding["message"].as_str().unwrap();
    assert!(message.starts_with("config.json is not where the save will look: this is a Meta download"), "{message}");
    assert!(message.contains("model-hub/original"), "{message}");
    // Beside the weights it is of no use.
    std::fs::copy(fixtures().join("hf-tiny/config.json"), copy.path.join("config.json")).unwrap();
    let said = expect(&copy, "model", "hf-save");
    assert!(said.findings()[0]["message"].as_str().unwrap().contains("beside the weights"));
    // One folder up it is.
    std::fs::rename(copy.path.join("config.json"), copy.root.path().join("config.json")).unwrap();
    assert_eq!(expect(&copy, "model", "hf-save").code, 0);
    assert_eq!(expect(&copy, "model/.", "hf-save").code, 0);
}

#[test]
fn the_hubs_layout_is_ready_for_that_save() {
    let copy = Copy::of("tiny-llama3/mp1");
    to_hub(&copy.path);
    for path in ["model", "model/original"] {
        let said = expect(&copy, path, "hf-save");
        assert_eq!((said.code, said.findings()), (0, &[][..]), "{path}");
    }
    // With the weights of Hugging Face on top as well, as the hub has both.
    for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    {
        std::fs::copy(fixtures().join("hf-tiny").join(name), copy.path.join(name)).unwrap();
    }
    for what in ["hf", "hf-save", "meta"] {
        let said = expect(&copy, "model", what);
        assert_eq!((said.code, said.complaints()), (0, vec![]), "{what}");
    }
    std::fs::remove_file(copy.path.join("config.json")).unwrap();
    let fix = "ckpt-convert 'model/original' --to hub --out 'model-hub'";
    let said = expect(&copy, "model/original", "hf-save");
    assert_eq!(errors(&said), (vec!["expect-file ../config.json".into()], vec![fix.into()]));
}

#[test]
fn a_config_that_the_save_cannot_use_is_refused() {
    let copy = Copy::of("tiny-llama3/mp1");
    to_hub(&copy.path);
    let config = copy.path.join("config.json");
    for (key, value) in
        [("hidden_size", json!(128)), ("num_key_value_heads", json!(4)), ("num_attention_heads", Value::Null)]
    {
        let kept = std::fs::read(&config).unwrap();
        set(&config, &[(key, value)]);
        let (places, _) = errors(&expect(&copy, "model", "hf-save"));
        assert_eq!(places, ["expect-format config.json"], "{key}");
        std::fs::write(&config, kept).unwrap();
    }
    std::fs::write(&config, b"{").unwrap();
    assert_eq!(expect(&copy, "model/original", "hf-save").code, 1);
}

#[test]
fn the_save_starts_from_exactly_one_file() {
    let copy = Copy::of("tiny-llama3/mp2");
    let (places, fixes) = errors(&expect(&copy, "model", "hf-save"));
    assert_eq!(places, ["expect-file ../config.json", "expect-extra-file consolidated.01.pth"]);
    let fix = "ckpt-convert 'model' --to meta --mp 1 --out 'model-meta' && ckpt-convert 'model-meta' --to hub --out 'model-hub'";
    assert_eq!(fixes, [fix]);

    let copy = Copy::of("tiny-llama3/mp1");
    to_hub(&copy.path);
    std::fs::copy(fixtures().join("torch/nested.pt"), copy.path.join("original/optimizer.pth")).unwrap();
    std::fs::remove_file(copy.path.join("original/tokenizer.model")).unwrap();
    let said = expect(&copy, "model", "hf-save");
    let (places, fixes) = errors(&said);
    assert_eq!(places, ["expect-extra-file original/optimizer.pth", "expect-file original/tokenizer.model"]);
    // There is no tokenizer.model anywhere, so that finding has no command.
    assert_eq!(fixes, ["ckpt-convert 'model' --to hub --out 'model-hub'"]);

    let copy = Copy::of("hf-tiny");
    let (places, fixes) = errors(&expect(&copy, "model", "hf-save"));
    assert_eq!((places, fixes), (vec!["expect-layout -".into()], vec![fix.into()]));
}

#[test]
fn transformers_loads_hugging_faces_format_only() {
    let copy = Copy::of("hf-tiny");
    assert_eq!(expect(&copy, "model", "hf").code, 0);
    edit_json(&copy.path.join("config.json"), |config| drop(config.remove("model_type")));
    std::fs::remove_file(copy.path.join("tokenizer.json")).unwrap();
    std::fs::remove_file(copy.path.join("model.safetensors.index.json")).unwrap();
    let (places, _) = errors(&expect(&copy, "model", "hf"));
    let wanted =
        ["expect-format config.json", "expect-file model.safetensors.index.json", "expect-file tokenizer.json"];
    assert_eq!(places, wanted);
    std::fs::remove_file(copy.path.join("config.json")).unwrap();
    assert!(errors(&expect(&copy, "model", "hf")).0.contains(&"expect-file config.json".to_owned()));

    let copy = Copy::of("tiny-llama2/mp2");
    let fix = "ckpt-convert 'model' --to hf --out 'model-hf'".to_owned();
    assert_eq!(errors(&expect(&copy, "model", "hf")), (vec!["expect-layout -".into()], vec![fix]));
}

#[test]
fn metas_code_loads_metas_format_and_llama_3_strictly() {
    for fixture in ["tiny-llama3/mp1", "tiny-llama3/mp2", "tiny-llama2/mp1", "tiny-llama2/mp2"] {
        let said = expect(&Copy::of(fixture), "model", "meta");
        assert_eq!((said.code, said.findings()), (0, &[][..]), "{fixture}");
    }
    let copy = Copy::of("hf-tiny");
    let fix = "ckpt-convert 'model' --to meta --out 'model-meta'".to_owned();
    assert_eq!(errors(&expect(&copy, "model", "meta")), (vec!["expect-layout -".into()], vec![fix.clone()]));

    let copy = Copy::of("tiny-llama3/mp1");
    set(&copy.path.join("params.json"), &[("vocab_size", json!(-1))]);
    std::fs::copy(fixtures().join("torch/nested.pt"), copy.path.join("adapter.pth")).unwrap();
    let (places, fixes) = errors(&expect(&copy, "model", "meta"));
    assert_eq!(places, ["expect-extra-file adapter.pth", "expect-format params.json"]);
    assert_eq!(fixes, [fix]);
    for name in ["params.json", "tokenizer.model"] {
        std::fs::remove_file(copy.path.join(name)).unwrap();
        let (places, _) = errors(&expect(&copy, "model", "meta"));
        assert!(places.contains(&format!("expect-file {name}")), "{places:?}");
    }
    // Llama 2 keeps rope.freqs, and its loader does not mind. Under Llama 3's tokenizer it would.
    let copy = Copy::of("tiny-llama2/mp1");
    std::fs::copy(fixtures().join("tiny-llama3/mp1/tokenizer.model"), copy.path.join("tokenizer.model")).unwrap();
    let said = expect(&copy, "model", "meta");
    let strict =
        said.findings().iter().any(|finding| finding["tensor"] == "rope.freqs" && finding["id"] == "expect-format");
    assert!(strict, "{:?}", said.findings());
}

#[test]
fn a_damaged_checkpoint_is_not_to_be_converted() {
    let copy = Copy::of("tiny-llama3/mp2");
    std::fs::remove_file(copy.path.join("consolidated.01.pth")).unwrap();
    for what in ["hf", "hf-save", "meta"] {
        let (_, fixes) = errors(&expect(&copy, "model", what));
        assert_eq!(fixes, [""; 0], "{what}");
    }
}

#[test]
fn a_use_that_is_not_known_is_a_mistake_of_the_command_line() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_ckpt-verify")).args([".", "--expect", "onnx"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty() && said.contains("hf, hf-save, meta"), "{said}");
}
