//! A run: a folder whose children are steps, each a checkpoint of its own. Told from names; nothing is opened but the
//! folder, and a `last.ckpt` to learn how far it is.

use std::io;
use std::path::{Path, PathBuf};

use super::super::{self as layouts, names};
use super::{file_part, of};

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name in the folder of the run.
    pub name: String,
    /// The folder of the run, and its name: usable wherever the folder's path is.
    pub path: PathBuf,
    /// The number in its name, steps or epochs, whichever the program counts.
    pub number: u64,
}

/// What a folder holds of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// The steps, by number.
    pub steps: Vec<Step>,
    /// What unfinished saves left: folders under a temporary name, sorted.
    pub unfinished: Vec<String>,
    /// The step that a tracker file names, and that file: what is newer has not been finished.
    pub tracked: Option<(String, u64)>,
    /// A tracker file that names a step that is not there, and what it says.
    pub stale: Option<(String, String)>,
    /// Weights lie in the folder itself: it is a checkpoint, whatever steps are beside them.
    is_checkpoint: bool,
    /// Steps that are folders.
    folders: usize,
}

/// The words before the number in a step's name, the last of several: HF Trainer and accelerate (`checkpoint-500`),
/// torchtune (`epoch_1`), torchtitan (`step-100`), Megatron (`iter_0000100`), DeepSpeed (`global_step100`), llama-stack
/// (`Llama3.2-3B-Instruct-sft-0`), scripts.
const WORDS: &[&str] = &["checkpoint", "ckpt", "step", "steps", "epoch", "iter", "iteration", "update", "sft"];

/// Files that name the newest step that was finished: Megatron's and DeepSpeed's.
const TRACKERS: &[&str] = &["latest_checkpointed_iteration.txt", "latest"];

/// The file that Lightning keeps beside numbered ones.
const LAST: &str = "last.ckpt";

impl Run {
    /// Whether the folder is a run and no checkpoint itself.
    pub fn is_one(&self) -> bool {
        // A single file of such a name is a checkpoint in its folder, as a folder's is not.
        !self.is_checkpoint && (self.folders > 0 || self.steps.len() > 1)
    }
}

/// The number of a step of that name, be it a folder or a file without its ending.
pub fn number(name: &str) -> Option<u64> {
    // Lightning: `epoch=3-step=400`, and `-v1` for a second one.
    if let Some((_, rest)) = name.split_once("step=").or_else(|| name.split_once("epoch=")) {
        let digits =
            rest.find(|letter: char| !letter.is_ascii_digit()).map_or(rest, |end| rest.get(..end).unwrap_or(""));
        return digits.parse().ok();
    }
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = name.get(stem.len()..).filter(|digits| !digits.is_empty())?;
    let before = stem.trim_end_matches(['-', '_', '.']);
    let word = before.rsplit(['-', '_', '.']).next()?.to_ascii_lowercase();
    if WORDS.contains(&word.as_str()) { digits.parse().ok() } else { None }
}

/// Looks at a folder.
///
/// # Errors
/// Those of listing it.
pub fn of_folder(folder: &Path) -> io::Result<Run> {
    let mut run = Run::default();
    let mut last = None;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, own) = (folder.join(entry.file_name()), entry.file_name());
        // Names of steps are text; any other belongs to no run.
        let Some(name) = own.to_str() else { continue };
        let is_folder = std::fs::metadata(&path).is_ok_and(|data| data.is_dir());
        if is_folder {
            folder_of(&mut run, name, path);
        } else if name == LAST {
            last = Some(path);
        } else if !TRACKERS.contains(&name) {
            file_of(&mut run, name, path);
        }
    }
    if let Some(path) = last.filter(|_| !run.is_checkpoint) {
        // What cannot be read may be newer than all.
        let step = layouts::open(&path, None, 1).ok().and_then(|checkpoint| of(&checkpoint)?.step);
        run.steps.push(Step { name: LAST.to_owned(), path, number: step.unwrap_or(u64::MAX) });
    }
    // Of two the first of the list counts, in whatever order the folder lists them.
    let tracker = TRACKERS.iter().find_map(|name| Some(((*name).to_owned(), named(&folder.join(name))?)));
    if let Some((file, step)) = tracker {
        let number = tracked(&step);
        let there = match number {
            Some(number) => run.steps.iter().any(|step| step.number == number),
            // Programs let people call a step what they like.
            None => folder.join(&step).exists(),
        };
        run.tracked = number.map(|number| (file.clone(), number));
        run.stale = (!there || step.is_empty()).then_some((file, step));
    }
    // Of two of one number the one that says so in its name is the newer, as good as any rule.
    run.steps.sort_by(|a, b| {
        let key = |step: &Step| (step.number, step.name != LAST);
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    run.unfinished.sort();
    Ok(run)
}

fn folder_of(run: &mut Run, name: &str, path: PathBuf) {
    if name == "original" {
        run.is_checkpoint = true;
        return;
    }
    // transformers stages a save in `tmp-checkpoint-500` and renames it; others append `.tmp`.
    let staged = name.strip_prefix("tmp-").or_else(|| name.strip_suffix(".tmp")).or_else(|| name.strip_prefix(".tmp-"));
    if staged.is_some_and(|name| number(name).is_some()) {
        run.unfinished.push(name.to_owned());
    } else if let Some(number) = number(name).filter(|_| !name.starts_with('.')) {
        run.folders = run.folders.saturating_add(1);
        run.steps.push(Step { name: name.to_owned(), path, number });
    }
}

fn file_of(run: &mut Run, name: &str, path: PathBuf) {
    let is_index = names::is_hf_weights(name) || name == "model_index.json";
    if !names::is_weights(name) || file_part(name).is_some() {
        run.is_checkpoint |= is_index || names::is_adapter(name);
        return;
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match number(stem).filter(|_| !is_index) {
        Some(number) => run.steps.push(Step { name: name.to_owned(), path, number }),
        None => run.is_checkpoint = true,
    }
}

/// What a tracker file says.
fn named(path: &Path) -> Option<String> {
    // A name, not a file of whatever size or kind.
    let text = layouts::read_small(path, 1000).ok()?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}

/// The number that a tracker file names: the step alone, or the name of its folder.
fn tracked(step: &str) -> Option<u64> {
    step.parse().ok().or_else(|| number(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        for (name, expected) in [
            ("checkpoint-500", Some(500)),
            ("checkpoint_3", Some(3)),
            ("step-00001000", Some(1000)),
            ("epoch_10", Some(10)),
            ("iter_0000100", Some(100)),
            ("global_step2", Some(2)),
            ("epoch=3-step=400", Some(400)),
            ("epoch=3-step=400-v1", Some(400)),
            ("epoch=7", Some(7)),
            ("Llama3.2-3B-Instruct-sft-1", Some(1)),
            ("model_step_9", Some(9)),
            ("checkpoint", None),
            ("checkpoint-best", None),
            ("Llama-3", None),
            ("model-00001-of-00002", None),
            ("rng_state_0", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }

    #[test]
    fn steps_come_by_number_and_not_by_name_or_time() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["checkpoint-1000", "checkpoint-200", "checkpoint-30", "runs", "tmp-checkpoint-2000"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let run = of_folder(folder.path()).unwrap();
        let names: Vec<&str> = run.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["checkpoint-30", "checkpoint-200", "checkpoint-1000"]);
        assert_eq!(run.unfinished, ["tmp-checkpoint-2000"]);
        assert!(run.is_one());
        // The end of a training: the model on top, its steps below.
        std::fs::write(folder.path().join("model.safetensors"), b"").unwrap();
        assert!(!of_folder(folder.path()).unwrap().is_one());
    }

    #[test]
    fn a_tracker_names_a_step() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["global_step2", "iter_0000100", "mine"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (text, number, there) in [
            ("global_step2", Some(2), true),
            ("100\n", Some(100), true),
            ("mine", None, true),
            ("release", None, false),
            ("global_step3", Some(3), false),
            ("", None, false),
        ] {
            std::fs::write(folder.path().join("latest"), text).unwrap();
            let run = of_folder(folder.path()).unwrap();
            assert_eq!(run.tracked, number.map(|number| ("latest".to_owned(), number)), "{text}");
            let stale = (!there).then(|| ("latest".to_owned(), text.trim().to_owned()));
            assert_eq!(run.stale, stale, "{text}");
        }
    }
}
