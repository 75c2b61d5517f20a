//! save-incomplete and the rules about training state: what a program saves together is there together, whole, and of
//! one step.

use std::collections::{BTreeMap, BTreeSet};

use ckpt::facts::{FileId, Finding, Id, Op, Severity, Tensor};
use ckpt::formats::Container;
use ckpt::layouts::training::{self, Form, Keys, Part, State, file_part, run};
use ckpt::layouts::{Checkpoint, Layout};

use super::explain;
use crate::case::Case;

explain! {
    /// Looks for the file that a program writes last: `trainer_state.json` of HF Trainer, `random_states_0.pkl` of accelerate,
    /// `.metadata` of torch.distributed.checkpoint. A folder called `checkpoint-N` or `checkpoint_N` in which nothing but
    /// weights lies is only noted: somebody may have left the rest out on purpose.
    ///
    /// The job was killed while it saved. A resume that takes the newest step takes this one, and dies or starts afresh.
    ///
    /// Resume from the step before (`ckpt-verify --newest`); remove this one.
    SaveIncomplete;
    /// Looks at the file in which a run keeps the name of its newest finished step, DeepSpeed's `latest` and Megatron's
    /// `latest_checkpointed_iteration.txt`: that step must be there. With `--newest`, which does not go by it, a warning.
    ///
    /// The step was removed or never copied. A resume that goes by the file fails, or starts afresh with no more than a warning.
    ///
    /// Write the name of the newest step that is complete into it: `ckpt-verify --newest` tells which one that is.
    TrackerStale;
    /// Looks for optimizer, scheduler and random states, each where another of them is, as the program that saved them
    /// needs them; and for the random states of all ranks.
    ///
    /// HF Trainer that misses one of optimizer.pt and scheduler.pt starts both afresh without a word: the loss jumps.
    ///
    /// Resume from a step that has them all; the weights alone can still be used.
    TrainingPartial;
    /// Notes a step that has a trainer's `trainer_state.json` and neither optimizer, scheduler nor random states:
    /// `save_only_model`.
    ///
    /// It can be used and exported. Training cannot go on from it as if it had never stopped.
    TrainingModelOnly;
    /// Compares `global_step` of trainer_state.json with the number in the name of the folder, `checkpoint-N`.
    ///
    /// Files of two steps were mixed, or the folder was renamed: a resume counts from the wrong step.
    ///
    /// Copy the step again from where it was saved.
    TrainingStep;
    /// Compares what the optimizer keeps with the weights it is for, from headers: it cannot keep more parameters or more
    /// elements than there are weights, and in a known family every matrix it keeps has the shape of a weight.
    ///
    /// The optimizer is another model's. Loading fails, or the training goes on with moments of other weights.
    ///
    /// Take optimizer and weights from one step of one run.
    TrainingMismatch;
}

/// Endings of names of what optimizers keep for every element of a parameter: Adam and its kin, SGD, Lion.
const MOMENTS: &[&str] = &[".exp_avg", ".momentum_buffer"];

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let checkpoint = case.checkpoint;
    let state = training::of(checkpoint);
    if checkpoint.layout != Layout::File {
        whole(case, findings);
    }
    let Some(state) = state else {
        findings.extend(bare(checkpoint));
        return;
    };
    let Some(form) = state.form else { return };
    if let Some(last) = form.unfinished(checkpoint).filter(|_| checkpoint.layout != Layout::File) {
        let told = checkpoint.findings.iter().any(|finding| finding.id == Id::SaveIncomplete);
        let message = format!("{} writes this file last, and it is not there: the save was broken off", form.program);
        findings.extend((!told).then(|| Finding::new(Id::SaveIncomplete, message).in_file(last)));
    }
    if form.last.is_empty() || checkpoint.layout == Layout::File {
        // Nothing says what else a script's dictionary should hold.
        findings.extend(inner(case, &state));
        return;
    }
    parts(case, form, &state, findings);
    findings.extend(step(case, &state));
}

/// Weights in a folder that is named as a trainer names its steps, and nothing of a training.
fn bare(checkpoint: &Checkpoint) -> Option<Finding> {
    let name = checkpoint.path.file_name()?.to_str()?;
    let trainers = name.starts_with("checkpoint") && run::number(name).is_some();
    let message = "the folder is named as trainers name their steps, and there is nothing but weights: the weights were \
                   taken out of a step, or the save was broken off";
    let finding = Finding::new(Id::SaveIncomplete, message).severity(Severity::Note).in_file(training::TRAINER_STATE);
    (trainers && checkpoint.layout != Layout::File && !checkpoint.tensors.is_empty()).then_some(finding)
}

/// Opens every file of training state: a torn one is damage, and the optimizer must fit the weights.
fn whole(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for (place, entry) in case.checkpoint.files.iter().enumerate() {
        let part = match file_part(&entry.name) {
            // The JSON is parsed with the others; shards of FSDP and DeepSpeed have readers of their own.
            None | Some(Part::Progress) => continue,
            Some(_) if entry.name.contains('/') && !entry.name.ends_with("recipe_state.pt") => continue,
            Some(part) => part,
        };
        match training::read(case.checkpoint, FileId(place)) {
            Ok(container) => {
                let damage = container.findings.iter().filter(|finding| finding.severity == Severity::Error);
                findings.extend(damage.map(|finding| finding.clone().in_file(entry.name.clone())));
                if part == Part::Optimizer {
                    findings.extend(optimizer(case, &entry.name, &container));
                }
            }
            // accelerate's older files are bare pickles.
            Err(finding) if finding.id == Id::Unsupported => {}
            Err(finding) => findings.push(finding.in_file(entry.name.clone())),
        }
    }
}

/// Parts that others of the same save miss.
fn parts(case: &Case<'_>, form: &Form, state: &State, findings: &mut Vec<Finding>) {
    let saved: Vec<Part> =
        [Part::Optimizer, Part::Scheduler, Part::Rng].into_iter().filter(|part| state.parts.contains(part)).collect();
    if saved.is_empty() {
        if case.checkpoint.root_file(training::TRAINER_STATE).is_some() {
            let message = "the trainer saved the model alone: training cannot be resumed from here";
            findings.push(Finding::new(Id::TrainingModelOnly, message).in_file(training::TRAINER_STATE));
        }
        return;
    }
    let wanted = |need: &&training::Need| need.severity == Severity::Error || need.part == Part::Rng;
    for need in form.needs.iter().filter(wanted).filter(|need| !state.parts.contains(&need.part)) {
        // Of what is written last, and of all that it holds, one finding is enough.
        if form.last.contains(&need.file) {
            continue;
        }
        let message = format!("{} saves it with the rest, and it is not there", form.program);
        let words: Vec<&str> = saved.iter().map(|part| part.words()).collect();
        let finding = Finding::new(Id::TrainingPartial, message).in_file(need.file);
        findings.push(finding.needed(need.part.words(), format!("only {}", words.join(" and "))));
    }
    findings.extend(ranks(case.checkpoint));
}

/// A rank whose random state is missing though a later one's is there.
fn ranks(checkpoint: &Checkpoint) -> Vec<Finding> {
    let mut ranks: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
    for entry in checkpoint.files.iter().filter(|entry| file_part(&entry.name) == Some(Part::Rng)) {
        let Some((stem, end)) = entry.name.rsplit_once('.') else { continue };
        let Some((start, number)) = stem.rsplit_once('_') else { continue };
        if let Ok(number) = number.parse() {
            ranks.entry((start, end)).or_default().insert(number);
        }
    }
    let mut findings = Vec::new();
    for ((start, end), found) in ranks {
        let last = found.last().copied().unwrap_or(0);
        let holes = (0..last).filter(|number| !found.contains(number)).take(ckpt::facts::limits::FINDINGS);
        findings.extend(holes.map(|number| {
            let message = "the random state of this rank is missing though a later rank's is there";
            Finding::new(Id::TrainingPartial, message).in_file(format!("{start}_{number}.{end}"))
        }));
    }
    findings
}

/// The step that the trainer's state speaks of, against the name of the folder.
pub(crate) fn step(case: &Case<'_>, state: &State) -> Option<Finding> {
    let name = case.checkpoint.path.file_name()?.to_str()?;
    let named = name.strip_prefix("checkpoint-").and_then(|_| run::number(name))?;
    case.checkpoint.root_file(training::TRAINER_STATE)?;
    let said = state.step.filter(|said| *said != named)?;
    let message = "the trainer's state is of another step than the folder is named after";
    Some(Finding::new(Id::TrainingStep, message).in_file(training::TRAINER_STATE).needed(named, said))
}

/// The optimizer of a file of its own, against the weights.
fn optimizer(case: &Case<'_>, file: &str, container: &Container) -> Option<Finding> {
    let weights: Vec<&Tensor> = case.checkpoint.tensors.iter().collect();
    fits(case, &container.tensors.iter().collect::<Vec<_>>(), &weights).map(|finding| finding.in_file(file))
}

/// The optimizer in a dictionary, against the weights in it.
fn inner(case: &Case<'_>, state: &State) -> Option<Finding> {
    if !state.parts.contains(&Part::Optimizer) {
        return None;
    }
    let keys = Keys::of(case.checkpoint);
    let (kept, weights): (Vec<&Tensor>, Vec<&Tensor>) =
        case.checkpoint.tensors.iter().partition(|tensor| keys.holds(&tensor.name));
    fits(case, &kept, &weights)
}

/// Whether what an optimizer keeps fits the weights.
fn fits(case: &Case<'_>, kept: &[&Tensor], weights: &[&Tensor]) -> Option<Finding> {
    // Packed weights have other shapes than those that are trained; of a part of the weights, or damaged ones, nothing
    // follows.
    let known = case.complete && case.checkpoint.damage().is_none() && !case.is_packed && !weights.is_empty();
    let ending = MOMENTS.iter().find(|ending| kept.iter().any(|tensor| tensor.name.ends_with(*ending)))?;
    let moments: Vec<&Tensor> = kept.iter().copied().filter(|tensor| tensor.name.ends_with(ending)).collect();
    if !known || weights.iter().any(|tensor| matches!(tensor.recipe.op, Op::Absent(_))) {
        return None;
    }
    let elements = |tensors: &[&Tensor]| {
        tensors
            .iter()
            .map(|tensor| tensor.recipe.shape.iter().copied().fold(1, u64::saturating_mul))
            .fold(0, u64::saturating_add)
    };
    let mismatch = |message: &str| Finding::new(Id::TrainingMismatch, message);
    let (ours, theirs) = (elements(weights), elements(&moments));
    if moments.len() > weights.len() || theirs > ours {
        let told = |tensors: usize, elements: u64| format!("{tensors} tensors of {elements} elements");
        let finding = mismatch("the optimizer keeps more parameters than there are weights");
        let needed = format!("at most {}", told(weights.len(), ours));
        return Some(finding.needed(needed, told(moments.len(), theirs)));
    }
    // A family that is not known may be saved under other shapes than it is trained in.
    case.family?;
    let mut shapes: BTreeMap<&[u64], usize> = BTreeMap::new();
    for tensor in weights {
        let count = shapes.entry(&tensor.recipe.shape).or_default();
        *count = count.saturating_add(1);
    }
    // Vectors may be flat pieces of anything.
    for tensor in moments.into_iter().filter(|tensor| tensor.recipe.shape.len() > 1) {
        let left = shapes.get_mut(tensor.recipe.shape.as_slice());
        let Some(left) = left.filter(|left| **left > 0) else {
            let finding = mismatch("the optimizer keeps a matrix of a shape that no weight (left) has");
            let shape = format!("{:?}", tensor.recipe.shape);
            return Some(finding.tensor(tensor.name.clone()).needed("the shape of a weight", shape));
        };
        *left = left.saturating_sub(1);
    }
    None
}
