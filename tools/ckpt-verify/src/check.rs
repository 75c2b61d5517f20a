//! One checkpoint through all that was asked of it: rules, readiness for a use, comparison.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ckpt::cli::{self, Context, Refusal};
use ckpt::document::{Counts, Document, FindingRecord, Status, Verify};
use ckpt::facts::rules::Level;
use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts;
use ckpt::layouts::inside::{self, Inside, Kind};
use ckpt::layouts::training::run::{Run, Step};

use crate::case::Case;
use crate::options::Options;
use crate::{against, base, deep, expect, manifest, newest, rules};

/// Looks at the command line.
pub(crate) fn prepare(options: &Options) -> Result<()> {
    for other in options.against.iter().chain(&options.base) {
        std::fs::metadata(other).map_err(|error| anyhow::Error::new(error).context(other.display().to_string()))?;
    }
    options.manifest.as_deref().map_or(Ok(()), manifest::prepare)
}

/// Errors after which the answer is "could not tell", whatever else was found.
const UNTOLD: [Id; 2] = [Id::FileUnreadable, Id::Unsupported];

/// Errors that are an answer of their own.
const HARM: [Id; 3] = [Id::PickleDangerous, Id::PickleSmuggled, Id::PickleBomb];

fn is_error(finding: &Finding, ids: &[Id]) -> bool {
    finding.severity == Severity::Error && ids.contains(&finding.id)
}

/// Checks a checkpoint, or every one inside a path.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let against = options.against.as_deref();
    let status = if options.newest {
        newest::run(options, document, context)?
    } else {
        any(options, document, against, context)?
    };
    // Rules end early at a signal, and what they found by then is no verdict.
    context.progress.go_on()?;
    Ok(status)
}

fn any(options: &Options, document: &mut Document, against: Option<&Path>, context: &Context) -> Result<Status> {
    match inside::of(&document.path()).filter(|_| context.from.is_none()) {
        Some(inside) => several(options, document, &inside, against, context),
        None => one_against(options, document, against, context),
    }
}

/// Checks everything inside a path, each in a child of the document; a tree's models against those of another tree.
fn several(
    options: &Options,
    document: &mut Document,
    inside: &Inside,
    against: Option<&Path>,
    context: &Context,
) -> Result<Status> {
    let is_tree = |inside: &Inside| matches!(inside.kind, Kind::Tree);
    let twin = against.and_then(inside::of).filter(|twin| is_tree(twin) && is_tree(inside));
    if (against.is_some() && twin.is_none()) || options.manifest.is_some() {
        let parts = inside.kind.parts();
        let message = format!("the path holds several {parts}, which cannot be compared as one");
        let newest = if matches!(inside.kind, Kind::Run(_)) { ", or find the newest with --newest" } else { "" };
        return Err(Refusal::new(message, format!("give one of the {parts}{newest}: {}", inside.listed())).into());
    }
    let paths = inside.paths();
    let mut twins = inside.names().iter().map(|name| twin.as_ref()?.path_of(name));
    cli::inside(document, paths.iter().map(PathBuf::as_path), context, |child| {
        any(options, child, twins.next().flatten().as_deref(), context)
    })?;
    let mut findings = match &inside.kind {
        Kind::Run(run) => of_run(run, document),
        Kind::Tree => rules::check(&Case::new(&inside.rest()?), context),
        Kind::Cache => Vec::new(),
    };
    findings.extend(twin.iter().flat_map(|twin| against::models(inside, twin)));
    let mut records = context.policy.records(&findings);
    records.sort_by(|a, b| (&a.file, a.offset, &a.id).cmp(&(&b.file, b.offset, &b.id)));
    let status = context.policy.status(&records);
    document.verify = Some(Verify { against: against.map(text), ..section(options, records) }.into());
    Ok(status)
}

/// What is found of a run beside its steps, which have been checked.
fn of_run(run: &Run, document: &Document) -> Vec<Finding> {
    let mut findings: Vec<Finding> = run.unfinished.iter().map(|name| unfinished(name)).collect();
    findings.extend(stale(run));
    // Weights alone are as good as any, unless the other steps have more.
    let bare: Vec<&Step> =
        run.steps.iter().zip(&document.children).filter(|(_, child)| is_bare(child)).map(|(step, _)| step).collect();
    if bare.len() < run.steps.len() {
        findings.extend(bare.into_iter().map(|step| {
            let message = "there is nothing but weights, and other steps have more: the save was broken off";
            Finding::new(Id::StepIncomplete, message).in_file(step.name.clone())
        }));
    }
    findings
}

/// Whether a step was noted to hold nothing but weights.
fn is_bare(step: &Document) -> bool {
    let verify = step.verify.as_ref().and_then(|section| section.own());
    verify.is_some_and(|verify| verify.findings.iter().any(|finding| finding.id == Id::SaveIncomplete.name()))
        && step.status == Status::Ok
}

/// What a save left under a temporary name.
pub(crate) fn unfinished(name: &str) -> Finding {
    let message = "a save left this step under its temporary name before it was done";
    Finding::new(Id::PartialLeft, message).severity(Severity::Warning).in_file(name)
}

/// A tracker file that names a step that is not there.
pub(crate) fn stale(run: &Run) -> Option<Finding> {
    let (file, step) = run.stale.as_ref()?;
    let newest = run.steps.last().map_or("no step", |step| step.name.as_str());
    let message = "the step that is named here as the newest is not there: whoever goes by it resumes from nothing";
    let named = if step.is_empty() { "nothing" } else { step.as_str() };
    Some(Finding::new(Id::TrackerStale, message).in_file(file.clone()).needed(newest, named))
}

/// The section of these findings.
pub(crate) fn section(options: &Options, findings: Vec<FindingRecord>) -> Verify {
    Verify {
        level: Level::Structure.name().to_owned(),
        expect: options.expect.clone(),
        counts: Counts::of(&findings),
        findings,
        against: options.against.as_deref().map(text),
        manifest: options.manifest.as_deref().map(text),
        stats: None,
        compared: None,
    }
}

/// Checks one checkpoint.
pub(crate) fn one(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    one_against(options, document, options.against.as_deref(), context)
}

/// The same, against a checkpoint that may be a part of what `--against` names.
fn one_against(
    options: &Options,
    document: &mut Document,
    against: Option<&Path>,
    context: &Context,
) -> Result<Status> {
    let jobs = context.jobs.get();
    let mut checkpoint = layouts::open_weights(&document.path(), context.from, context.weights, jobs)?;
    let mut findings = rules::check(&Case::new(&checkpoint), context);
    if let Some(name) = &options.expect {
        findings.extend(expect::check(name, &Case::new(&checkpoint), context));
    }
    let error = |ids: &[Id]| findings.iter().find(|&finding| is_error(finding, ids)).cloned();
    // What means harm is an answer, whatever else could not be read.
    let could_not_tell = if error(&HARM).is_some() { None } else { error(&UNTOLD) };
    let (mut stats, mut compared) = (None, None);
    if let (true, None) = (options.deep, &could_not_tell) {
        let told = deep::check(&Case::new(&checkpoint), options.stats, against, context)?;
        findings.extend(rules::limited(told.findings));
        findings.extend(deep::recorded(&mut checkpoint, context)?);
        stats = told.stats;
    }
    if let (Some(file), None) = (&options.manifest, &could_not_tell) {
        findings.extend(manifest::check(&mut checkpoint, file, context)?);
    }
    let could_not_tell = could_not_tell.or_else(|| checkpoint.unchanged().err());
    if let (Some(base), None) = (&options.base, &could_not_tell) {
        findings.extend(base::check(&Case::new(&checkpoint), base, context)?);
    }
    if let (Some(other), None) = (against, &could_not_tell) {
        let told = against::check(checkpoint, other, options.tolerance, context)?;
        findings.extend(told.findings);
        compared = told.compared;
    }
    findings.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut records = context.policy.records(&findings);
    let status = context.policy.status(&records);
    let counts = Counts::of(&records);
    // A filter narrows what is said, never what is checked.
    if let Some(selected) = document.selected() {
        records.retain(|record| record.tensor.as_deref().is_none_or(|tensor| selected.contains(tensor)));
    }
    let level = if options.deep { Level::Deep } else { Level::Structure }.name().to_owned();
    let against = against.map(text);
    document.verify = Some(Verify { level, counts, stats, compared, against, ..section(options, records) }.into());
    // What the disk does not give says nothing about the checkpoint.
    could_not_tell.map_or(Ok(status), |finding| Err(finding.into()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// By file, place, rule and tensor.
fn key(finding: &Finding) -> (Option<&str>, Option<u64>, Id, Option<&str>) {
    (finding.file.as_deref(), finding.offset, finding.id, finding.tensor.as_deref())
}
