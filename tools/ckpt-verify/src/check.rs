//! One checkpoint through all that was asked of it: rules, readiness for a use, comparison.

use std::path::Path;

use anyhow::Result;
use ckpt::cli::{Context, Usage};
use ckpt::document::{Counts, Document, Status, Verify};
use ckpt::facts::rules::Level;
use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::{self, Layout};

use crate::case::Case;
use crate::options::Options;
use crate::{against, deep, expect, manifest, rules};

/// Looks at the command line.
pub(crate) fn prepare(options: &Options, context: &Context) -> Result<()> {
    layout(context)?;
    if let Some(other) = &options.against {
        std::fs::metadata(other).map_err(|error| anyhow::Error::new(error).context(other.display().to_string()))?;
    }
    options.manifest.as_deref().map_or(Ok(()), manifest::prepare)
}

/// The layout asked for by `--from`.
fn layout(context: &Context) -> Result<Option<Layout>> {
    let Some(name) = &context.from else { return Ok(None) };
    let Some(layout) = Layout::from_name(name) else {
        let known = "hf, meta, file, directory";
        return Err(Usage(format!("there is no layout {name:?}; the known ones are {known}")).into());
    };
    Ok(Some(layout))
}

/// Errors after which the answer is "could not tell", whatever else was found.
const UNTOLD: [Id; 2] = [Id::FileUnreadable, Id::Unsupported];

/// Checks one checkpoint.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let jobs = context.jobs.get();
    let mut checkpoint = layouts::open(&document.path(), layout(context)?, jobs)?;
    let mut findings = rules::check(&Case::new(&checkpoint), &context.policy);
    if let Some(name) = &options.expect {
        findings.extend(expect::check(name, &Case::new(&checkpoint), context));
    }
    let could_not_tell =
        findings.iter().find(|finding| finding.severity == Severity::Error && UNTOLD.contains(&finding.id)).cloned();
    let (mut stats, mut compared) = (None, None);
    if let (true, None) = (options.deep, &could_not_tell) {
        let told = deep::check(&Case::new(&checkpoint), options.stats, context)?;
        findings.extend(rules::limited(told.findings));
        findings.extend(deep::recorded(&mut checkpoint, context)?);
        stats = told.stats;
    }
    if let (Some(file), None) = (&options.manifest, &could_not_tell) {
        findings.extend(manifest::check(&mut checkpoint, file, context)?);
    }
    if let (Some(other), None) = (&options.against, &could_not_tell) {
        let told = against::check(checkpoint, other, options.tolerance, context)?;
        findings.extend(told.findings);
        compared = told.compared;
    }
    findings.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut records = context.policy.records(&findings);
    let (counts, status) = (Counts::of(&records), context.policy.status(&records));
    // A filter narrows what is said, never what is checked.
    if let Some(selected) = document.selected() {
        records.retain(|record| record.tensor.as_deref().is_none_or(|tensor| selected.contains(tensor)));
    }
    let verify = Verify {
        level: if options.deep { Level::Deep } else { Level::Structure }.name().to_owned(),
        expect: options.expect.clone(),
        counts,
        findings: records,
        against: options.against.as_deref().map(text),
        manifest: options.manifest.as_deref().map(text),
        stats,
        compared,
    };
    document.verify = Some(verify.into());
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
