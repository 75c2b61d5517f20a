//! Copies of fixtures that a test may damage, ways to damage them, and the tool run on them.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that overflows or indexes wrongly fails, which is what it is for"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The files of `hf-tiny`.
pub(crate) const FIRST: &str = "model-00001-of-00002.safetensors";
pub(crate) const SECOND: &str = "model-00002-of-00002.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Where the fixtures are.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A copy of a fixture, one folder below a temporary one: `model`, so that what lies beside it is the test's own.
pub(crate) struct Copy {
    /// The temporary folder.
    pub(crate) root: TempDir,
    /// The copy.
    pub(crate) path: PathBuf,
}

impl Copy {
    pub(crate) fn of(fixture: &str) -> Copy {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("model");
        let from = fixtures().join(fixture);
        if from.is_dir() {
            copy(&from, &path);
        } else {
            std::fs::create_dir(&path).unwrap();
            std::fs::copy(&from, path.join(from.file_name().unwrap())).unwrap();
        }
        // What the fixture's maker wrote down about it is no part of the checkpoint.
        let _ = std::fs::remove_file(path.join("expected.json"));
        Copy { root, path }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What the tool said: exit code and the document.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) document: Value,
}

/// Runs the tool in a folder.
pub(crate) fn verify(folder: &Path, arguments: &[&str]) -> Said {
    answer(Command::new(env!("CARGO_BIN_EXE_ckpt-verify")).current_dir(folder).args(arguments))
}

/// The same with so many seconds on a processor, however busy the machine is; a run that needs more is killed.
pub(crate) fn verify_within(seconds: u32, folder: &Path, arguments: &[&str]) -> Said {
    let limited = format!("ulimit -t {seconds}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_ckpt-verify");
    answer(Command::new("sh").args(["-c", &limited, program]).current_dir(folder).args(arguments))
}

fn answer(command: &mut Command) -> Said {
    let output = command.arg("-q").output().unwrap();
    // A command line that cannot be followed gives no document.
    let document = match output.stdout.as_slice() {
        [] => Value::Null,
        line => serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", line.escape_ascii())),
    };
    Said { code: output.status.code().unwrap(), document }
}

impl Said {
    /// The findings.
    pub(crate) fn findings(&self) -> &[Value] {
        self.document["verify"]["findings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Findings that are more than notes, as `grade id file tensor`, sorted and each once.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
        let mut said: Vec<String> = self
            .findings()
            .iter()
            .filter(|finding| finding["severity"] != "note")
            .map(|finding| ["severity", "id", "file", "tensor"].map(|key| text(finding, key)).join(" "))
            .collect();
        said.sort();
        said.dedup();
        said
    }
}

/// Rewrites a JSON file.
pub(crate) fn edit_json(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(value.as_object_mut().unwrap());
    std::fs::write(path, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

/// Sets keys of a JSON file.
pub(crate) fn set(path: &Path, pairs: &[(&str, Value)]) {
    edit_json(path, |object| object.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))));
}

/// A tensor of a safetensors file.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// Rewrites a safetensors file: its metadata and its tensors, in the order of the file.
pub(crate) fn edit_tensors(path: &Path, edit: impl FnOnce(&mut Option<Value>, &mut Vec<Stored>)) {
    let file = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let mut metadata = header.remove("__metadata__");
    let mut tensors: Vec<Stored> = header
        .iter()
        .map(|(name, info)| {
            let at = |index: usize| 8 + length + info["data_offsets"][index].as_u64().unwrap() as usize;
            let shape = info["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
            let dtype = info["dtype"].as_str().unwrap().to_owned();
            Stored { name: name.clone(), dtype, shape, bytes: file[at(0)..at(1)].to_vec() }
        })
        .collect();
    edit(&mut metadata, &mut tensors);
    let mut header = Map::new();
    header.extend(metadata.map(|metadata| ("__metadata__".to_owned(), metadata)));
    let mut data = Vec::new();
    for tensor in tensors {
        let begin = data.len();
        data.extend(tensor.bytes);
        let info = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, data.len()]});
        header.insert(tensor.name, info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// The same, for one tensor.
pub(crate) fn edit_tensor(path: &Path, name: &str, edit: impl FnOnce(&mut Stored)) {
    edit_tensors(path, |_, tensors| edit(tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()));
}

/// Rewrites the map of an index.
pub(crate) fn edit_index(model: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    edit_json(&model.join(INDEX), |index| {
        edit(index.get_mut("weight_map").unwrap().as_object_mut().unwrap());
    });
}

/// Puts a tensor into the second shard of `hf-tiny` and into the index, whose sum goes.
pub(crate) fn add(model: &Path, tensor: Stored) {
    edit_index(model, |map| drop(map.insert(tensor.name.clone(), json!(SECOND))));
    edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
    edit_tensors(&model.join(SECOND), |_, tensors| tensors.push(tensor));
}

/// Puts GPTQ's parts in the place of every projection of `hf-tiny`, all bits zero: four bits, one group.
pub(crate) fn quantise(model: &Path) {
    let parts = |tensor: &Stored| {
        let stem = tensor.name.strip_suffix("weight").unwrap().to_owned();
        let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
        let part = |name: &str, dtype: &str, item: u64, shape: Vec<u64>| {
            let bytes = vec![0; usize::try_from(shape.iter().product::<u64>() * item).unwrap()];
            Stored { name: format!("{stem}{name}"), dtype: dtype.into(), shape, bytes }
        };
        vec![
            part("qweight", "I32", 4, vec![inputs / 8, outputs]),
            part("qzeros", "I32", 4, vec![1, outputs / 8]),
            part("scales", "F16", 2, vec![1, outputs]),
            part("g_idx", "I32", 4, vec![inputs]),
        ]
    };
    let mut names = Vec::new();
    for shard in [FIRST, SECOND] {
        edit_tensors(&model.join(shard), |_, tensors| {
            let old = std::mem::take(tensors);
            let packs = |tensor: &Stored| tensor.name.ends_with("_proj.weight");
            tensors
                .extend(old.iter().flat_map(|tensor| if packs(tensor) { parts(tensor) } else { vec![tensor.clone()] }));
            names.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(shard))));
        });
    }
    edit_index(model, |map| *map = names.into_iter().collect());
    edit_json(&model.join(INDEX), |index| drop(index.remove("metadata")));
    set(&model.join("config.json"), &[("quantization_config", json!({"quant_method": "gptq", "bits": 4}))]);
}
