//! The newest complete step of a run: every folder that a killed save can leave is passed over, and said why.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use std::path::{Path, PathBuf};

use support::{FIRST, INDEX, SECOND, Said, copy, fixtures, verify};
use tempfile::TempDir;

/// The order in which HF Trainer writes a step (`Trainer._save_checkpoint`): the model, the arguments, the optimizer,
/// the schedule, the random states, and its own state.
const TRAINER: &[&str] = &[
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
];

/// The order of accelerate's `save_state`.
const ACCELERATE: &[&str] = &["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"];

/// The order of a save in shards: `save_pretrained`, torchtune.
const SHARDS: &[&str] = &["config.json", FIRST, SECOND, INDEX];

/// A run with one whole step, and room for another.
struct Torn {
    root: TempDir,
    whole: PathBuf,
}

impl Torn {
    fn new(from: &str, whole: &str) -> Torn {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let path = root.path().join("run").join(whole);
        copy(&fixtures().join(from), &path);
        let _ = std::fs::remove_file(path.join("expected.json"));
        Torn { root, whole: path }
    }

    /// Puts the first files of `order` there, the last of them cut to `part` percent of its bytes.
    fn step(&self, name: &str, order: &[&str], part: usize) {
        let folder = self.root.path().join("run").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for (place, file) in order.iter().enumerate() {
            let bytes = std::fs::read(self.whole.join(file)).unwrap();
            let kept = if place + 1 == order.len() { bytes.len() * part / 100 } else { bytes.len() };
            std::fs::write(folder.join(file), &bytes[..kept]).unwrap();
        }
    }

    fn newest(&self, arguments: &[&str]) -> Said {
        verify(self.root.path(), &[&["run", "--newest"], arguments].concat())
    }
}

/// `step-incomplete` findings: the place and the reason.
fn skipped(said: &Said) -> Vec<String> {
    let of = said.findings().iter().filter(|finding| finding["id"] == "step-incomplete");
    of.map(|finding| format!("{} {}", finding["file"].as_str().unwrap(), finding["found"].as_str().unwrap())).collect()
}

fn path(said: &Said) -> &str {
    said.document["path"].as_str().unwrap()
}

#[test]
fn every_beginning_of_a_save_is_passed_over() {
    for (from, whole, torn, order) in [
        ("training/run/checkpoint-4", "checkpoint-90", "checkpoint-100", TRAINER),
        ("training/accelerate", "checkpoint_9", "checkpoint_10", ACCELERATE),
        ("hf-tiny", "epoch_9", "epoch_10", SHARDS),
        ("hf-tiny", "step-90", "step-100", SHARDS),
    ] {
        let run = Torn::new(from, whole);
        let expected = format!("run/{whole}");
        for files in 0..=order.len() {
            for part in [0, 50, 99, 100] {
                let beginning = &order[..files];
                if files == order.len() && part == 100 || files == 0 && part < 100 {
                    continue;
                }
                run.step(torn, beginning, part);
                let said = run.newest(&[]);
                assert_eq!(path(&said), expected, "{torn} {beginning:?} {part}%");
                assert_eq!((said.code, skipped(&said).len()), (0, 1), "{torn} {beginning:?} {part}%");
                assert!(skipped(&said)[0].starts_with(&format!("../{torn}")), "{:?}", skipped(&said));
                // Looked at alone, the step is not called ready for a resume either.
                let step = verify(run.root.path(), &[&format!("run/{torn}"), "--expect", "resume"]);
                assert_eq!(step.code, 1, "{torn} {beginning:?} {part}%");
            }
        }
        run.step(torn, order, 100);
        let said = run.newest(&[]);
        assert_eq!((path(&said), said.code), (&*format!("run/{torn}"), 0), "{:?}", said.complaints());
        assert_eq!(skipped(&said), [""; 0]);
    }
}

#[test]
fn files_that_are_steps_are_judged_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let bytes = std::fs::read(fixtures().join("training/epoch=0-step=4.ckpt")).unwrap();
    std::fs::write(run.join("epoch=0-step=4.ckpt"), &bytes).unwrap();
    std::fs::write(run.join("last.ckpt"), &bytes).unwrap();
    for kept in [0, 1000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(run.join("epoch=1-step=12.ckpt"), &bytes[..kept]).unwrap();
        let said = verify(root.path(), &["run", "--newest"]);
        assert_eq!((path(&said), said.code), ("run/epoch=0-step=4.ckpt", 0), "{kept}");
        assert!(skipped(&said)[0].starts_with("../epoch=1-step=12.ckpt "), "{:?}", skipped(&said));
    }
    // What cannot be read may be newer than all.
    std::fs::write(run.join("last.ckpt"), &bytes[..1000]).unwrap();
    let said = verify(root.path(), &["run", "--newest"]);
    assert_eq!(skipped(&said).len(), 2, "{:?}", skipped(&said));
}

#[test]
fn a_distributed_save_without_its_metadata_is_torn() {
    let root = tempfile::tempdir().unwrap();
    for (step, files) in
        [("step-200", &["__0_0.distcp", "__1_0.distcp", ".metadata.tmp"][..]), ("step-300", &["__0_0.distcp"])]
    {
        let folder = root.path().join("run").join(step);
        std::fs::create_dir_all(&folder).unwrap();
        for file in files {
            std::fs::write(folder.join(file), b"?").unwrap();
        }
    }
    copy(&fixtures().join("distcp/ranks"), &root.path().join("run/step-100"));
    let said = verify(root.path(), &["run", "--newest"]);
    assert_eq!((path(&said), said.code), ("run/step-100", 0));
    let torn = skipped(&said);
    assert!(torn.iter().any(|torn| torn == "../step-200/.metadata save-incomplete"), "{torn:?}");
    assert!(torn.iter().any(|torn| torn == "../step-300/.metadata save-incomplete"), "{torn:?}");
}

#[test]
fn without_a_complete_step_the_path_stays_and_the_answer_is_no() {
    let run = Torn::new("training/run/checkpoint-4", "checkpoint-90");
    std::fs::remove_file(run.whole.join("trainer_state.json")).unwrap();
    std::fs::create_dir(run.root.path().join("run/checkpoint-100")).unwrap();
    std::fs::create_dir(run.root.path().join("run/tmp-checkpoint-110")).unwrap();
    let said = run.newest(&[]);
    assert_eq!((path(&said), said.code), ("run", 1));
    let expected = [
        "error step-incomplete checkpoint-100 -",
        "error step-incomplete checkpoint-90/trainer_state.json -",
        "warning partial-left tmp-checkpoint-110 -",
    ];
    assert_eq!(said.complaints(), expected);
    // Whatever is ignored, no step is still no step.
    assert_eq!(run.newest(&["--severity", "step-incomplete=ignore"]).code, 1);
    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir(empty.path().join("run")).unwrap();
    let said = verify(empty.path(), &["run", "--newest"]);
    assert_eq!((said.code, said.complaints()), (1, vec!["error not-a-checkpoint - -".to_owned()]));
}

#[test]
fn a_newest_step_can_be_asked_to_be_ready_for_a_use() {
    let run = Torn::new("training/run/checkpoint-4", "checkpoint-4");
    copy(&fixtures().join("training/model-only/checkpoint-4"), &run.root.path().join("run/checkpoint-8"));
    let state = run.root.path().join("run/checkpoint-8/trainer_state.json");
    support::set(&state, &[("global_step", 8.into())]);
    assert_eq!(path(&run.newest(&[])), "run/checkpoint-8");
    let said = run.newest(&["--expect", "resume"]);
    assert_eq!((path(&said), said.code), ("run/checkpoint-4", 0));
    assert_eq!(skipped(&said), ["../checkpoint-8/optimizer.pt expect-file"]);
    assert_eq!(run.newest(&["--expect", "resume", "--fail-on", "warning"]).code, 1);
}

#[test]
fn steps_go_by_number_and_a_tracker_is_believed() {
    let run = Torn::new("training/run/checkpoint-4", "checkpoint-4");
    for number in [30, 200] {
        let to = run.root.path().join(format!("run/checkpoint-{number}"));
        copy(&run.whole, &to);
        support::set(&to.join("trainer_state.json"), &[("global_step", number.into())]);
    }
    // The oldest is touched last.
    std::fs::write(run.whole.join("note.txt"), b"?").unwrap();
    assert_eq!(path(&run.newest(&[])), "run/checkpoint-200");
    std::fs::write(run.root.path().join("run/latest"), b"checkpoint-30\n").unwrap();
    let said = run.newest(&[]);
    assert_eq!(path(&said), "run/checkpoint-30");
    assert_eq!(skipped(&said), ["../checkpoint-200 save-incomplete"]);
}

#[test]
fn a_run_is_checked_step_by_step() {
    let run = Torn::new("training/run/checkpoint-4", "checkpoint-4");
    run.step("checkpoint-8", &TRAINER[..7], 100);
    let said = verify(run.root.path(), &["run"]);
    let children: Vec<(&str, &str)> = said.document["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| (child["path"].as_str().unwrap(), child["status"].as_str().unwrap()))
        .collect();
    assert_eq!(children, [("run/checkpoint-4", "ok"), ("run/checkpoint-8", "findings")]);
    assert_eq!((path(&said), said.code), ("run", 1));
    // Weights alone are as good as any, unless the other steps have more.
    run.step("checkpoint-8", &TRAINER[..5], 100);
    let said = verify(run.root.path(), &["run"]);
    assert_eq!((said.code, said.complaints()), (0, vec!["warning step-incomplete checkpoint-8 -".to_owned()]));
}

/// Where every step holds weights and nothing else, that is how the run saves.
#[test]
fn a_run_of_nothing_but_weights_has_a_newest_step_too() {
    let run = Torn::new("hf-tiny", "checkpoint-4");
    copy(&run.whole, &run.root.path().join("run/checkpoint-8"));
    let said = run.newest(&[]);
    assert_eq!((path(&said), said.code), ("run/checkpoint-8", 0));
    assert_eq!(skipped(&said), [""; 0]);
    run.step("checkpoint-12", SHARDS, 50);
    let said = run.newest(&[]);
    assert_eq!((path(&said), skipped(&said).len()), ("run/checkpoint-8", 1));
}

/// torchtune keeps the recipe's state beside the epochs, and it belongs to the newest one.
#[test]
fn the_recipe_beside_the_epochs_belongs_to_one() {
    let run = Torn::new("hf-tiny", "epoch_0");
    let root = run.root.path().join("run");
    copy(&run.whole, &root.join("epoch_1"));
    std::fs::create_dir(root.join("recipe_state")).unwrap();
    std::fs::copy(fixtures().join("training/recipe_state.pt"), root.join("recipe_state/recipe_state.pt")).unwrap();
    let ready = |epoch: &str| verify(Path::new(run.root.path()), &[epoch, "--expect", "resume"]).code;
    assert_eq!((ready("run/epoch_0"), ready("run/epoch_1")), (1, 0));
    assert_eq!(path(&run.newest(&["--expect", "resume"])), "run/epoch_1");
}
