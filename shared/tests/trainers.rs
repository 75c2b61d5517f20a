//! Checkpoints of training runs, as several ranks write them: every value of the fixtures, and what is said of damage.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test program")]

use std::path::{Path, PathBuf};

use ckpt::digests::Algorithm;
use ckpt::facts::{Finding, Id, Op, Progress};
use ckpt::layouts::{self, Checkpoint, Layout, Weights};
use ckpt::plan::digest;
use ckpt::plan::read::Reader;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn expected(part: &str) -> Vec<Value> {
    let text = std::fs::read(fixtures().join(part).join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    expected["tensors"].as_array().unwrap().clone()
}

fn open(path: &Path, weights: Weights) -> Checkpoint {
    layouts::open_weights(path, None, weights, 2).unwrap()
}

/// Holds a checkpoint's table against that of `expected.json`: all of it, and nothing else.
fn hold(checkpoint: &Checkpoint, expected: &[&Value]) {
    let path = checkpoint.path.display();
    assert_eq!(checkpoint.damage(), None, "{path}");
    let reader = Reader::new(&checkpoint.pool);
    for row in expected {
        let name = row["name"].as_str().unwrap();
        let tensor = checkpoint.tensor(name).unwrap_or_else(|| panic!("{path} has no {name}"));
        let recipe = &tensor.recipe;
        assert_eq!(json!([recipe.dtype.name(), recipe.shape]), json!([row["dtype"], row["shape"]]), "{path} {name}");
        let taken = digest::values(&reader, &[recipe], Algorithm::Sha256, 1, &Progress::default()).unwrap();
        assert_eq!(json!(taken[0]), row["sha256"], "{path} {name}");
    }
    assert_eq!(checkpoint.tensors.len(), expected.len(), "{path}");
}

#[test]
fn chunks_of_all_kinds_join_to_what_was_cut() {
    let table = expected("distcp");
    for folder in ["ranks", "threads", "items", "each-rank", "safetensors", "hf-shards", "alone"] {
        let rows: Vec<&Value> = table.iter().filter(|row| row["file"] == folder).collect();
        assert!(!rows.is_empty(), "{folder}");
        let checkpoint = open(&fixtures().join("distcp").join(folder), Weights::Master);
        assert_eq!(checkpoint.layout, Layout::Dcp, "{folder}");
        hold(&checkpoint, &rows);
    }
}

#[test]
fn objects_of_a_state_dict_are_told() {
    let checkpoint = open(&fixtures().join("distcp/ranks"), Weights::Master);
    let objects: Vec<_> = checkpoint.shards.iter().flat_map(|shard| &shard.objects).collect();
    let told = |path: &str| objects.iter().find(|object| object.path == path).map(|object| object.value.clone());
    assert_eq!(told("step"), Some(json!(12)));
    assert_eq!(told("settings.lr"), Some(json!(0.001)));
    assert_eq!(told("settings.name"), Some(json!("run")));
}

#[test]
fn the_file_of_one_rank_is_a_shard_and_not_the_whole() {
    let table = expected("distcp");
    let rows: Vec<&Value> = table.iter().filter(|row| row["file"] == "dtensor/rank2.pt").collect();
    let checkpoint = open(&fixtures().join("distcp/dtensor/rank2.pt"), Weights::Master);
    hold(&checkpoint, &rows);
    assert_eq!(checkpoint.tensor("rows").unwrap().recipe.shape, [2, 6]);
    let shard = &checkpoint.shards[0];
    assert_eq!(shard.metadata.get("shard").unwrap(), "2 of 4");
    assert_eq!(shard.objects[0].value, json!("<DTensor shard 2 of 4, Shard(0) of F32 [7, 6]>"));
}

#[test]
fn masters_of_every_stage_are_put_together() {
    let table = expected("zero");
    for folder in ["stage1", "stage2", "stage3", "universal"] {
        let rows: Vec<&Value> =
            table.iter().filter(|row| row["file"] == folder && row.get("weights").is_none()).collect();
        let checkpoint = open(&fixtures().join("zero").join(folder), Weights::Master);
        assert_eq!(checkpoint.layout, Layout::DeepSpeed, "{folder}");
        hold(&checkpoint, &rows);
    }
}

#[test]
fn the_modules_own_weights_can_be_asked_for() {
    let checkpoint = open(&fixtures().join("zero/stage2"), Weights::Module);
    let table = expected("zero");
    for row in table.iter().filter(|row| row["weights"] == "module") {
        let tensor = checkpoint.tensor(row["name"].as_str().unwrap()).unwrap();
        let reader = Reader::new(&checkpoint.pool);
        let taken = digest::values(&reader, &[&tensor.recipe], Algorithm::Sha256, 1, &Progress::default()).unwrap();
        assert_eq!(json!([tensor.recipe.dtype.name(), taken[0]]), json!(["BF16", row["sha256"]]), "{}", tensor.name);
    }
    // Stage 3 has none: its module holds placeholders, which are not passed off as weights.
    let checkpoint = open(&fixtures().join("zero/stage3"), Weights::Module);
    let embedding = checkpoint.tensor("embed.weight").unwrap();
    assert!(matches!(embedding.recipe.op, Op::Absent(_)) && embedding.recipe.shape == [11, 5]);
}

/// A copy of a fixture, to be damaged.
fn copy(part: &str) -> TempDir {
    fn walk(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                walk(&path, &target);
            } else {
                let _ = std::fs::copy(&path, &target).unwrap();
            }
        }
    }
    let room = tempfile::tempdir().unwrap();
    walk(&fixtures().join(part), room.path());
    room
}

/// The errors after a change.
fn damaged(part: &str, change: impl FnOnce(&Path)) -> Vec<Finding> {
    let room = copy(part);
    change(room.path());
    let checkpoint = open(room.path(), Weights::Master);
    checkpoint.findings.iter().filter(|finding| finding.severity == Id::ShardMissing.severity()).cloned().collect()
}

/// Rule, file and tensor of the first error.
fn first(findings: &[Finding]) -> (Id, &str, Option<&str>) {
    let finding = findings.first().unwrap_or_else(|| panic!("nothing was found"));
    (finding.id, finding.file.as_deref().unwrap_or_default(), finding.tensor.as_deref())
}

#[test]
fn a_lost_file_of_chunks_is_named() {
    let found = damaged("distcp/ranks", |room| std::fs::remove_file(room.join("__2_0.distcp")).unwrap());
    assert_eq!(first(&found), (Id::ShardMissing, "__2_0.distcp", Some("app.model.rows")));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_cut_file_says_which_item_is_lost() {
    let found = damaged("distcp/items", |room| {
        let file = std::fs::OpenOptions::new().write(true).open(room.join("__1_0.distcp")).unwrap();
        file.set_len(900).unwrap();
    });
    let (id, file, tensor) = first(&found);
    assert_eq!((id, file, found[0].offset), (Id::ZipTruncated, "__1_0.distcp", Some(0)));
    assert!(tensor.unwrap().starts_with("model."));
}

#[test]
fn a_save_without_its_directory_was_broken_off() {
    let found = damaged("distcp/ranks", |room| {
        std::fs::rename(room.join(".metadata"), room.join(".metadata.tmp")).unwrap();
    });
    assert_eq!(first(&found), (Id::SaveIncomplete, ".metadata", None));
    assert!(found[0].found.as_deref().unwrap().contains(".metadata.tmp"));
    let found = damaged("distcp/ranks", |room| {
        let metadata = std::fs::read(room.join(".metadata")).unwrap();
        std::fs::write(room.join(".metadata"), &metadata[..metadata.len() / 2]).unwrap();
    });
    assert_eq!(first(&found), (Id::PickleInvalid, ".metadata", None));
}

#[test]
fn a_rank_that_is_missing_leaves_a_hole() {
    let found = damaged("distcp/each-rank", |room| std::fs::remove_file(room.join("__2.metadata")).unwrap());
    assert_eq!(first(&found), (Id::ShardMissing, "__2.metadata", None));
    // Nothing says that there was a last one, but what it held is not there.
    let found = damaged("distcp/each-rank", |room| std::fs::remove_file(room.join("__3.metadata")).unwrap());
    assert_eq!(first(&found).0, Id::ShardMismatch);
    let found = damaged("distcp/hf-shards", |room| {
        std::fs::remove_file(room.join("shard-00002-model-00001-of-00001.safetensors")).unwrap();
    });
    assert_eq!(first(&found).0, Id::ShardMismatch);
}

#[test]
fn chunks_that_lie_on_each_other_are_found() {
    let found = damaged("distcp/hf-shards", |room| {
        let from = room.join("shard-00002-model-00001-of-00001.safetensors");
        std::fs::copy(from, room.join("shard-00009-model-00001-of-00001.safetensors")).unwrap();
    });
    let overlap = found.iter().find(|finding| finding.message.contains("overlap")).unwrap();
    assert_eq!(overlap.id, Id::ShardMismatch);
}

#[test]
fn an_item_of_another_save_is_not_taken() {
    // The files of two ranks exchanged: each is whole, and neither is what the directory says.
    let found = damaged("distcp/items", |room| {
        std::fs::rename(room.join("__0_0.distcp"), room.join("x")).unwrap();
        std::fs::rename(room.join("__3_2.distcp"), room.join("__0_0.distcp")).unwrap();
        std::fs::rename(room.join("x"), room.join("__3_2.distcp")).unwrap();
    });
    assert!(found.iter().all(|finding| finding.id == Id::ShardMismatch) && found.len() >= 2, "{found:?}");
}

const OPTIMIZER: &str = "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt";

#[test]
fn a_missing_rank_of_zero_is_named() {
    for stage in ["stage1", "stage2", "stage3"] {
        let found = damaged(&format!("zero/{stage}"), |room| std::fs::remove_file(room.join(OPTIMIZER)).unwrap());
        assert_eq!(first(&found), (Id::ShardMissing, OPTIMIZER, None), "{stage}");
        // The last one leaves no gap in the numbers, but every file says how many there were.
        let last = OPTIMIZER.replace("rank_1_", "rank_2_");
        let found = damaged(&format!("zero/{stage}"), |room| std::fs::remove_file(room.join(&last)).unwrap());
        assert_eq!(first(&found), (Id::ShardMissing, last.as_str(), None), "{stage}");
    }
    let found = damaged("zero/stage3", |room| {
        std::fs::remove_file(room.join("global_step2/zero_pp_rank_1_mp_rank_00_model_states.pt")).unwrap();
    });
    assert_eq!(first(&found).0, Id::ShardMissing);
    let found = damaged("zero/stage2", |room| std::fs::write(room.join("latest"), "global_step9").unwrap());
    assert_eq!(first(&found), (Id::ShardMissing, "global_step9/mp_rank_00_model_states.pt", None));
    let found = damaged("zero/stage2", |room| std::fs::write(room.join("latest"), "../elsewhere").unwrap());
    assert_eq!(first(&found), (Id::NameUnsafe, "latest", None));
}

#[test]
fn a_rank_of_another_run_or_step_is_told() {
    let other = fixtures().join("zero/stage1").join(OPTIMIZER);
    // Without the gaps between parameters the arrays of stage 1 are shorter than those of stage 2 here.
    let found = damaged("zero/stage2", |room| assert!(std::fs::copy(other, room.join(OPTIMIZER)).is_ok()));
    assert_eq!(first(&found), (Id::ShardMismatch, OPTIMIZER, None));
    let found = damaged("zero/stage1", |room| {
        // The optimizer's count of steps, a number of fp32 in a file of one rank: 2 becomes 3.
        let path = room.join(OPTIMIZER);
        let checkpoint = layouts::open(&path, None, 1).unwrap();
        let steps = checkpoint.tensor("optimizer_state_dict.base_optimizer_state.state.0.step").unwrap();
        let place = usize::try_from(steps.recipe.contiguous().unwrap().1).unwrap();
        let mut file = std::fs::read(&path).unwrap();
        file[place..][..4].copy_from_slice(&3f32.to_le_bytes());
        std::fs::write(&path, file).unwrap();
    });
    assert_eq!(first(&found), (Id::ShardMismatch, OPTIMIZER, None));
    assert!(found[0].message.contains("two saves"));
}
