//! `--newest`: the newest complete step of a run, for a script that resumes from it.

use std::path::Path;

use anyhow::{Context as _, Result};
use ckpt::cli::{self, Context};
use ckpt::document::{Document, FindingRecord, Grade, Status, Verify};
use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::training::file_part;
use ckpt::layouts::training::run::{self, Run, Step};

use crate::check;
use crate::options::Options;

/// Rules that call a step incomplete, however they are graded: a missing index is a warning, and what a killed save
/// leaves.
const INCOMPLETE: &[Id] = &[Id::SaveIncomplete, Id::IndexInvalid];

/// What was found of a step.
enum Judged {
    Complete(Box<Verify>),
    /// Nothing but weights: what a run saves on purpose, or what a save began with. Its siblings tell.
    Bare(Box<Verify>, Box<FindingRecord>),
    /// The reason.
    Incomplete(Box<FindingRecord>),
}

/// Looks from the newest step back until one is complete. The document's path becomes that step; what was said of the
/// folder of the run goes. Without one the path stays.
///
/// # Errors
/// What kept a newer step from being judged: then nobody can tell which one is the newest.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let path = document.path();
    let run = run::of_folder(&path).with_context(|| format!("cannot list {}", path.display()))?;
    // The answer is a step all the same; who asks for it does not go by the tracker.
    let stale = check::stale(&run).map(|stale| {
        let place = format!("../{}", stale.file.as_deref().unwrap_or_default());
        stale.severity(Severity::Warning).in_file(place)
    });
    let mut skipped: Vec<(&Step, FindingRecord)> = Vec::new();
    let mut bare = None;
    for step in run.steps.iter().rev() {
        match judge(options, &run, step, context)? {
            Judged::Incomplete(why) => skipped.push((step, *why)),
            Judged::Bare(verify, why) => {
                bare.get_or_insert((step, *verify, skipped.len()));
                skipped.push((step, *why));
            }
            Judged::Complete(verify) => return Ok(take(options, document, (step, *verify), &skipped, stale, context)),
        }
    }
    // None of the steps has more than weights: so this run saves, and the newest one is whole.
    let more = skipped.iter().any(|(step, _)| has_state(step));
    if let Some((step, verify, newer)) = bare.filter(|_| !more) {
        skipped.truncate(newer);
        return Ok(take(options, document, (step, verify), &skipped, stale, context));
    }
    let mut findings: Vec<Finding> = run.unfinished.iter().map(|name| check::unfinished(name)).collect();
    findings.extend(skipped.iter().map(|(step, why)| incomplete(&step.name, why).severity(Severity::Error)));
    if run.steps.is_empty() {
        let message = "there is no step here: nothing called checkpoint-N, step-N, epoch_N or alike";
        findings.push(Finding::new(Id::NotACheckpoint, message));
    } else if findings.iter().all(|finding| context.policy.severity(finding) != Severity::Error) {
        // Whatever is ignored, the answer stays no.
        let message = "none of the steps is complete";
        findings.push(Finding::new(Id::NotACheckpoint, message));
    }
    document.verify = Some(check::section(options, context.policy.records(&findings)).into());
    Ok(Status::Findings)
}

/// Whether a step that is a folder holds files of training state.
fn has_state(step: &Step) -> bool {
    let names = std::fs::read_dir(&step.path).into_iter().flatten().flatten();
    names.into_iter().any(|entry| entry.file_name().to_str().is_some_and(|name| file_part(name).is_some()))
}

/// Makes the document that of the step.
fn take(
    options: &Options,
    document: &mut Document,
    (step, verify): (&Step, Verify),
    skipped: &[(&Step, FindingRecord)],
    stale: Option<Finding>,
    context: &Context,
) -> Status {
    let newer = skipped.iter().map(|(step, why)| incomplete(&format!("../{}", step.name), why));
    let newer: Vec<Finding> = stale.into_iter().chain(newer).collect();
    let mut records = context.policy.records(&newer);
    records.extend(verify.findings);
    let status = context.policy.status(&records);
    document.verify = Some(check::section(options, records).into());
    document.inspect = None;
    document.hash = None;
    document.children.clear();
    document.set_path(&step.path);
    status
}

/// The finding about a step that is passed over; its place is relative to the document's path.
fn incomplete(name: &str, why: &FindingRecord) -> Finding {
    let place = why.file.as_ref().map_or_else(|| name.to_owned(), |file| format!("{name}/{file}"));
    let message = format!("the step is incomplete: {}", why.message);
    // A step that is one file is named once.
    let place = if Path::new(name).file_name().is_some_and(|own| place.ends_with(&format!("/{0}/{0}", own.display()))) {
        name.to_owned()
    } else {
        place
    };
    Finding::new(Id::StepIncomplete, message).in_file(place).needed("a complete step", why.id.clone())
}

/// Checks one step.
fn judge(options: &Options, run: &Run, step: &Step, context: &Context) -> Result<Judged> {
    let mut child = Document::new(&step.path);
    if let Err(error) = check::one(options, &mut child, context) {
        // A format that is recognised and not read is judged by what its program writes last.
        if cli::finding(&error).is_none_or(|finding| finding.id != Id::Unsupported) {
            return Err(error.context(step.path.display().to_string()));
        }
    }
    let verify = child.verify.as_ref().and_then(|section| section.own()).cloned();
    let mut verify = verify.unwrap_or_else(|| check::section(options, Vec::new()));
    if let Some((file, number)) = run.tracked.as_ref().filter(|(_, number)| step.number > *number) {
        let message = format!("{file} is written when a save is done, and names step {number}");
        verify.findings.splice(0..0, FindingRecord::of(&Finding::new(Id::SaveIncomplete, message)));
    }
    for record in &mut verify.findings {
        if record.id == Id::Unsupported.name() {
            record.severity = Grade::Note;
        }
    }
    let is_reason =
        |record: &&FindingRecord| record.severity == Grade::Error || INCOMPLETE.iter().any(|id| id.name() == record.id);
    let mut reasons: Vec<FindingRecord> = verify.findings.iter().filter(is_reason).cloned().collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    Ok(match reasons.into_iter().next().map(Box::new) {
        None => Judged::Complete(Box::new(verify)),
        Some(why) if why.severity == Grade::Note && why.id == Id::SaveIncomplete.name() => {
            Judged::Bare(Box::new(verify), why)
        }
        Some(why) => Judged::Incomplete(why),
    })
}
