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

#[test]
fn values_of_onnx_in_other_files_stay_beside_their_model() {
    for (file, id, place) in
        [("refused/absent.onnx", Id::ShardMissing, "w.data"), ("refused/outside.onnx", Id::NameUnsafe, "outside.onnx")]
    {
        let checkpoint = open(file);
        let finding = checkpoint.damage().unwrap();
        assert_eq!((finding.id, finding.file.as_deref()), (id, Some(place)), "{finding}");
    }
    let checkpoint = open("onnx-external/external.onnx");
    let files: Vec<&str> = checkpoint.files.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(files, ["external.onnx", "external.onnx.data", "values/whole.bin"]);
    let room = tempfile::tempdir().unwrap();
    let model = room.path().join("external.onnx");
    std::fs::create_dir(room.path().join("values")).unwrap();
    for name in &files {
        std::fs::copy(fixtures().join("onnx-external").join(name), room.path().join(name)).unwrap();
    }
    let told = |size: u64| {
        let data = std::fs::File::options().write(true).open(room.path().join("external.onnx.data")).unwrap();
        data.set_len(size).unwrap();
        [layouts::open(&model, None, 1), layouts::open(room.path(), None, 1)].map(|opened| {
            let finding = opened.unwrap().damage().cloned().unwrap();
            (finding.id, finding.file, finding.tensor)
        })
    };
    // The second value has all to the file's end, the first so many bytes.
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told(61), [(); 2].map(|()| (Id::OnnxInvalid, some("external.onnx"), some("half"))));
    assert_eq!(told(53), [(); 2].map(|()| (Id::OnnxTruncated, some("external.onnx.data"), some("w"))));
}

/// A copy of the ranks, damaged.
fn ranks(damage: impl Fn(&std::path::Path)) -> Vec<(Id, Option<String>)> {
    ranks_of("megatron/iter_0000007", damage)
}

fn ranks_of(step: &str, damage: impl Fn(&std::path::Path)) -> Vec<(Id, Option<String>)> {
    let room = tempfile::tempdir().unwrap();
    let step = fixtures().join(step);
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
fn ranks_in_an_archive_are_those_of_its_folder() {
    let room = tempfile::tempdir().unwrap();
    let unpacked = std::process::Command::new("tar")
        .args(["-xf".as_ref(), fixtures().join("nemo/ranks.nemo").as_os_str(), "-C".as_ref(), room.path().as_os_str()])
        .status();
    assert!(unpacked.unwrap().success());
    let digests = |checkpoint: &layouts::Checkpoint| -> Vec<(String, String)> {
        assert!(checkpoint.damage().is_none(), "{:?}", checkpoint.findings);
        let recipes: Vec<_> = checkpoint.tensors.iter().map(|tensor| &tensor.recipe).collect();
        let reader = Reader::new(&checkpoint.pool);
        let taken = digest::values(&reader, &recipes, Algorithm::Sha256, 1, &Progress::default()).unwrap();
        checkpoint.tensors.iter().map(|tensor| tensor.name.clone()).zip(taken).collect()
    };
    let (archive, folder) = (open("nemo/ranks.nemo"), layouts::open(room.path(), None, 1).unwrap());
    assert_eq!(digests(&archive), digests(&folder));
    // The norm is whole in both ranks.
    assert_eq!(archive.replicas.len(), 1);
    let one = open("refused/one_of_two.nemo");
    let finding = one.damage().unwrap();
    assert_eq!((finding.id, finding.file.as_deref()), (Id::ShardMissing, Some("one_of_two.nemo")));
    assert!(finding.message.contains("mp_rank_01/model_weights.ckpt is not in the archive"), "{finding}");
}

#[test]
fn ranks_that_share_experts_are_held_against_each_other() {
    let damaged = |damage: &dyn Fn(&std::path::Path)| ranks_of("megatron-experts", damage);
    assert_eq!(damaged(&|_| ()), []);
    let gone = damaged(&|room| std::fs::remove_dir_all(room.join("mp_rank_01_001")).unwrap());
    assert_eq!(gone, [(Id::ShardMissing, Some("mp_rank_01_001/model_optim_rng.pt".to_owned()))]);
    // Another share's copy of what all have would count as equal, and another tensor rank's as its part.
    let checkpoint = open("megatron-experts");
    assert_eq!(checkpoint.replicas.iter().filter(|replica| replica.tensor.ends_with("linear_qkv.weight")).count(), 2);
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
