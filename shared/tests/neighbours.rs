//! Files of other frameworks: every value of the fixtures, and what is said of those that are not read.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test program")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use ckpt::digests::Algorithm;
use ckpt::facts::{Id, Progress, Severity};
use ckpt::layouts::{self, Checkpoint};
use ckpt::plan::digest;
use ckpt::plan::read::Reader;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/neighbours")
}

fn open(name: &str) -> Checkpoint {
    layouts::open(&fixtures().join(name), None, 1).unwrap()
}

/// The finding that keeps a path from being read.
fn refusal(name: &str) -> (Id, String) {
    let checkpoint = open(name);
    let finding = checkpoint.damage().unwrap_or_else(|| panic!("{name} is read"));
    (finding.id, finding.message.clone())
}

#[test]
fn every_value_is_the_one_that_was_saved() {
    let text = std::fs::read(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let rows = expected["tensors"].as_array().unwrap();
    let files: BTreeSet<&str> = rows.iter().map(|row| row["file"].as_str().unwrap()).collect();
    assert!(files.len() >= 17, "{files:?}");
    for file in files {
        let checkpoint = open(file);
        assert_eq!(checkpoint.damage(), None, "{file}");
        let reader = Reader::new(&checkpoint.pool);
        let rows: Vec<&Value> = rows.iter().filter(|row| row["file"] == file).collect();
        for row in &rows {
            let name = row["name"].as_str().unwrap();
            let tensor = checkpoint.tensor(name).unwrap_or_else(|| panic!("{file} has no {name}"));
            let recipe = &tensor.recipe;
            assert_eq!(
                json!([recipe.dtype.name(), recipe.shape]),
                json!([row["dtype"], row["shape"]]),
                "{file} {name}"
            );
            let taken = digest::values(&reader, &[recipe], Algorithm::Sha256, 1, &Progress::default()).unwrap();
            assert_eq!(json!(taken[0]), row["sha256"], "{file} {name}");
        }
        assert_eq!(checkpoint.tensors.len(), rows.len(), "{file}");
    }
}

#[test]
fn what_is_no_tensor_is_told() {
    let told = |file: &str, path: &str| {
        let checkpoint = open(file);
        let objects = &checkpoint.shards[0].objects;
        let object = objects.iter().find(|object| object.path == path);
        object.unwrap_or_else(|| panic!("{file} does not tell of {path}")).value.clone()
    };
    assert_eq!(told("flax/model.msgpack", "step"), json!(300));
    assert_eq!(told("flax/model.msgpack", "name"), json!("a run"));
    assert_eq!(told("nemo/model.nemo", "model_config.hidden_size"), json!(3));
    assert_eq!(told("nemo/model.nemo", "tokenizer.model"), json!("<file of 5 bytes>"));
    assert_eq!(told("numpy/dtypes.npz", "names"), json!("<numpy.ndarray of type U2 [2]>"));
    assert_eq!(told("numpy/dtypes.npz", "settings"), json!("<numpy.ndarray of objects, pickled []>"));
    assert_eq!(told("torch/exported.pt2", "factors"), json!("<constant F32 [3]>"));
    assert_eq!(told("torch/tar_of_2016.pt", "epoch"), json!(3));
}

#[test]
fn objects_of_numpy_are_named_and_never_read() {
    let checkpoint = open("numpy/dtypes.npz");
    let finding = checkpoint.findings.iter().find(|finding| finding.id == Id::ArrayPickled).unwrap();
    assert_eq!((finding.severity, finding.tensor.as_deref()), (Severity::Warning, Some("settings")));
    for (file, array) in [("refused/objects.npy", None), ("refused/objects.npz", Some("parts"))] {
        let checkpoint = open(file);
        let finding = checkpoint.damage().unwrap();
        assert_eq!((finding.id, finding.tensor.as_deref()), (Id::ArrayPickled, array), "{file}");
    }
}

#[test]
fn what_is_not_read_says_what_would_read_it() {
    for (file, word) in [
        ("refused/texts.npy", "type U2"),
        ("refused/float8.npy", "float8"),
        ("refused/packed.nemo", "bunzip2"),
        ("refused/other.tar", "unpack it with tar"),
        ("refused/outside.onnx", "w.data beside the model"),
    ] {
        let (id, message) = refusal(file);
        assert_eq!(id, Id::Unsupported, "{file}");
        assert!(message.contains(word), "{file}: {message}");
    }
    let room = tempfile::tempdir().unwrap();
    for (name, start, word) in [
        ("a.h5", b"\x89HDF\r\n\x1a\n".as_slice(), "h5py"),
        ("a.ocdbt", b"\x0c\xdb\x3a\x2a\0\0\0", "Orbax"),
        ("a.ckpt.index", b"\0\0\0abc\x57\xfb\x80\x8b\x24\x75\x47\xdb", "tf.train"),
        ("a.xz", b"\xfd7zXZ\0\0\0", "unxz"),
        ("a.zst", b"\x28\xb5\x2f\xfd....", "zstd -d"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c....", "7z x"),
        ("a.rar", b"Rar!\x1a\x07....", "unrar"),
        ("a.gz", b"\x1f\x8b\x08.....", "gunzip"),
    ] {
        let path = room.path().join(name);
        std::fs::write(&path, start).unwrap();
        let checkpoint = layouts::open(&path, None, 1).unwrap();
        let finding = checkpoint.damage().unwrap();
        assert!(finding.id == Id::Unsupported && finding.message.contains(word), "{name}: {finding}");
    }
}

/// A copy of the ranks, damaged.
fn ranks(damage: impl Fn(&std::path::Path)) -> Vec<(Id, Option<String>)> {
    let room = tempfile::tempdir().unwrap();
    let step = fixtures().join("megatron/iter_0000007");
    for rank in std::fs::read_dir(step).unwrap() {
        let rank = rank.unwrap();
        let folder = room.path().join(rank.file_name());
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(rank.path().join(RANK), folder.join(RANK)).unwrap();
    }
    damage(room.path());
    let checkpoint = layouts::open(room.path(), None, 1).unwrap();
    let errors = checkpoint.findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| (finding.id, finding.file.clone())).collect()
}

const RANK: &str = "model_optim_rng.pt";

#[test]
fn ranks_of_megatron_are_held_against_each_other() {
    assert_eq!(ranks(|_| ()), []);
    let gone = ranks(|room| std::fs::remove_dir_all(room.join("mp_rank_01_001")).unwrap());
    assert_eq!(gone, [(Id::ShardMissing, Some("mp_rank_01_001/model_optim_rng.pt".to_owned()))]);
    let cut = ranks(|room| {
        let path = room.join("mp_rank_00_001").join(RANK);
        let file = std::fs::read(&path).unwrap();
        std::fs::write(&path, &file[..file.len() / 2]).unwrap();
    });
    assert_eq!(cut, [(Id::ZipTruncated, Some("mp_rank_00_001/model_optim_rng.pt".to_owned()))]);
    // The stage of a rank of another shape: a whole set of parts fails to fit.
    let wrong = ranks(|room| {
        std::fs::copy(room.join("mp_rank_00_000").join(RANK), room.join("mp_rank_01_001").join(RANK)).unwrap();
    });
    assert!(!wrong.is_empty() && wrong.iter().all(|(id, _)| *id == Id::ShardMismatch), "{wrong:?}");
}

#[test]
fn what_every_rank_of_megatron_has_whole_is_compared() {
    let checkpoint = open("megatron");
    assert_eq!(checkpoint.layout, layouts::Layout::Megatron);
    let norms = checkpoint.replicas.iter().filter(|replica| replica.tensor.ends_with("layernorm.weight"));
    // Two norms a layer and the last one.
    assert_eq!(norms.count(), 9);
}

#[test]
fn files_of_ranks_join_or_say_why_not() {
    let whole = open("dtensor");
    let copies: Vec<&str> = whole.replicas.iter().map(|replica| replica.tensor.as_str()).collect();
    assert_eq!(copies, ["model.copies", "model.copies", "model.plain", "model.plain"]);
    let room = tempfile::tempdir().unwrap();
    for rank in ["rank_0.pt", "rank_1.pt"] {
        std::fs::copy(fixtures().join("dtensor").join(rank), room.path().join(rank)).unwrap();
    }
    let errors = |room: &std::path::Path| -> Vec<Id> {
        let checkpoint = layouts::open(room, None, 1).unwrap();
        checkpoint.findings.iter().map(|finding| finding.id).filter(|id| id.severity() == Severity::Error).collect()
    };
    assert_eq!(errors(room.path()), [Id::ShardMissing]);
    // The same rank twice leaves another one out.
    std::fs::copy(room.path().join("rank_1.pt"), room.path().join("rank_2.pt")).unwrap();
    assert_eq!(errors(room.path()), [Id::ShardMissing]);
    std::fs::copy(fixtures().join("dtensor/rank_2.pt"), room.path().join("rank_3.pt")).unwrap();
    let twice = errors(room.path());
    assert!(!twice.is_empty() && twice.iter().all(|id| *id == Id::ShardMismatch), "{twice:?}");
}
