//! Seven models as they are published, in small: told right, found whole and found damaged, cut anew and unpacked without
//! a bit changed.
#![allow(clippy::indexing_slicing, clippy::panic, reason = "a test says what went wrong by failing")]

use ckpt_tests::models::{self, Model};
use ckpt_tests::room::Room;
use serde_json::Value;

/// The one document that a command prints, and its exit code.
fn document(room: &Room, command: &str) -> (Value, i32) {
    let answer = room.run(command);
    let document = serde_json::from_str(&answer.stdout);
    (document.unwrap_or_else(|error| panic!("{command}: {error}\n{}{}", answer.stdout, answer.stderr)), answer.code)
}

/// Every error of a document and of those inside it.
fn errors(document: &Value) -> Vec<String> {
    let findings = document["verify"]["findings"].as_array().into_iter().flatten();
    let own = findings.filter(|finding| finding["severity"] == "error").map(ToString::to_string);
    own.chain(document["children"].as_array().into_iter().flatten().flat_map(errors)).collect()
}

#[test]
fn each_is_told_and_whole() {
    for model in models::all() {
        let room = Room::new("");
        model.write(room.folder());
        let (inspect, code) = document(&room, &format!("ckpt-inspect {}", model.name));
        let count = |tensors: &[models::Tensor]| tensors.iter().map(|tensor| tensor.bytes.len()).sum::<usize>();
        let bytes: usize = model.files.iter().map(|(_, tensors)| count(tensors)).sum();
        assert_eq!((code, &inspect["inspect"]["parameters"]), (0, &Value::from(model.parameters)), "{}", model.name);
        assert_eq!(inspect["inspect"]["bytes"], bytes, "{}", model.name);
        let children = if model.name == "hunyuan" { model.files.len() } else { 0 };
        assert_eq!(inspect["children"].as_array().map_or(0, Vec::len), children, "{}", model.name);
        let quantised = !model.plain.is_empty();
        assert_eq!(inspect["inspect"]["config"]["quantization"].is_object(), quantised, "{}", model.name);
        for flags in ["", "--deep "] {
            let (verify, code) = document(&room, &format!("ckpt-verify {flags}{}", model.name));
            assert_eq!((code, errors(&verify)), (0, Vec::new()), "{} {flags}", model.name);
        }
        assert!(!room.folder().join("was-run").exists() && !room.folder().join(model.name).join("was-run").exists());
        room.check_documents(&[]).expect("documents of the schema");
    }
}

/// A damage: what it is, a command in the model's folder with `FILE` for a weight file, the rule that says so.
const DAMAGES: &[(&str, &str, &str)] = &[
    ("cut short", "truncate -s -7 FILE", "safetensors-truncated"),
    ("too long", "printf 1234567 >>FILE", "safetensors-trailing"),
    ("empty", ": >FILE", "file-empty"),
    ("a web page", "printf '<!DOCTYPE html><html>' >FILE", "file-html"),
    ("zeros", "head -c 4096 /dev/zero >FILE", "file-zeros"),
    ("a header that is none", "printf '@' | dd of=FILE bs=1 seek=9 conv=notrunc status=none", "safetensors-header"),
    ("no config", "printf '{' >$(dirname FILE)/config.json", "json-invalid"),
    ("a link to nothing", "rm FILE && ln -s nowhere FILE", "link-dangling"),
    ("a shard lost", "rm FILE", "shard-missing"),
    ("a shard of another name", "sed -i 's/FILE/other.safetensors/' model.safetensors.index.json", "shard-missing"),
    (
        "a tensor unlisted",
        "jq '.weight_map |= del(.[keys[0]])' model.safetensors.index.json >i && mv i model.safetensors.index.json",
        "index-tensor-unlisted",
    ),
    (
        "a tensor too many",
        "jq '.weight_map.more = \"FILE\"' model.safetensors.index.json >i && mv i model.safetensors.index.json",
        "index-tensor-missing",
    ),
];

#[test]
fn each_damage_is_found() {
    for model in models::all() {
        let room = Room::new("");
        model.write(room.folder());
        let file = &model.files.last().expect("a file").0;
        for (what, command, rule) in DAMAGES {
            let of_shards = command.contains("index.json") || *rule == "shard-missing";
            // Without an index a lost file is a model without weights.
            let rule = if of_shards && !model.is_sharded() { "not-a-checkpoint" } else { rule };
            if command.contains("index.json") && !model.is_sharded() {
                continue;
            }
            let command = command.replace("FILE", file);
            let script = format!(
                "rm -rf hurt && cp -r {} hurt && cd hurt && {command} && cd .. && ckpt-verify -q hurt",
                model.name
            );
            let (verify, code) = document(&room, &script);
            let errors = errors(&verify);
            assert_eq!(code, 1, "{}: {what}: {errors:?}", model.name);
            assert!(
                errors.iter().any(|error| error.contains(&format!("\"{rule}\""))),
                "{}: {what}: {errors:?}",
                model.name
            );
        }
    }
}

/// The folders of models in it: itself, or those of the tree.
fn folders(model: &Model) -> Vec<String> {
    let folder = |file: &str| file.rsplit_once('/').map(|(folder, _)| format!("{}/{folder}", model.name));
    let mut folders: Vec<String> =
        model.files.iter().map(|(file, _)| folder(file).unwrap_or_else(|| model.name.to_owned())).collect();
    folders.dedup();
    folders
}

#[test]
fn each_is_cut_anew_without_a_bit_changed() {
    for model in models::all() {
        let room = Room::new("");
        model.write(room.folder());
        for folder in folders(&model) {
            let (converted, code) =
                document(&room, &format!("ckpt-convert -q {folder} --to hf --max-shard-size 3kB --verify --out cut"));
            assert_eq!(code, 0, "{converted}");
            let (before, after) =
                (models::read(&room.folder().join(&folder)), models::read(&room.folder().join("cut")));
            assert!(!before.is_empty() && before == after, "{folder}");
            let roots = room.run(&format!("ckpt-hash --brief {folder} cut | jq -r .hash.root | sort -u | wc -l"));
            assert_eq!(roots.stdout, "1\n", "{folder}");
            let (verify, code) = document(&room, "ckpt-verify -q cut && rm -r cut");
            assert_eq!((code, errors(&verify)), (0, Vec::new()), "{folder}");
        }
    }
}

#[test]
fn a_tree_is_cut_anew_as_a_whole() {
    let model = models::all().into_iter().find(|model| model.name == "hunyuan").expect("a tree");
    let room = Room::new("");
    model.write(room.folder());
    let (converted, code) =
        document(&room, "ckpt-convert -q hunyuan --to safetensors --max-shard-size 3kB --verify --out cut");
    assert_eq!((code, converted["children"].as_array().map(Vec::len)), (0, Some(model.files.len())), "{converted}");
    for folder in folders(&model) {
        let cut = folder.replacen("hunyuan", "cut", 1);
        let (before, after) = (models::read(&room.folder().join(&folder)), models::read(&room.folder().join(cut)));
        assert!(!before.is_empty() && before == after, "{folder}");
    }
    for (name, text) in model.small.iter().filter(|(name, _)| !name.ends_with(".index.json")) {
        let carried = std::fs::read_to_string(room.folder().join("cut").join(name)).expect("a small file");
        assert_eq!(&carried, text, "{name}");
    }
    let (verify, code) = document(&room, "ckpt-verify -q cut");
    assert_eq!((code, errors(&verify)), (0, Vec::new()));
    let names = room.run("find cut -name '*.safetensors' -not -name 'diffusion_pytorch_model*'");
    assert_eq!(names.stdout, "", "names that diffusers looks for");
}

#[test]
fn packed_weights_are_unpacked_to_the_bit() {
    for model in models::all().into_iter().filter(|model| !model.plain.is_empty()) {
        let room = Room::new("");
        model.write(room.folder());
        let (converted, code) =
            document(&room, &format!("ckpt-convert -q {} --to hf --dequantize=F32 --out plain", model.name));
        assert_eq!(code, 0, "{converted}");
        let plain = models::read(&room.folder().join("plain"));
        for (name, expected) in &model.plain {
            let bytes = plain.get(&format!("{name}.weight")).unwrap_or_else(|| panic!("{name}"));
            let found = models::floats(bytes, 4);
            let same =
                found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name}: {:?} {:?}", &found[..4], &expected[..4]);
        }
        let (inspect, _) = document(&room, "ckpt-inspect plain");
        assert_eq!(inspect["inspect"]["parameters"], model.parameters, "{}", model.name);
        assert_eq!(inspect["inspect"]["config"]["quantization"], Value::Null, "{}", model.name);
    }
}
