//! step-unchanged, step-jump: what the figures say beside those of the checkpoint before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ckpt::bytes::work;
use ckpt::cli::Context;
use ckpt::document::Stats;
use ckpt::facts::{Finding, Id, Recipe, Severity, Tensor};
use ckpt::layouts::training::run;
use ckpt::layouts::{self, Checkpoint};
use ckpt::plan::read::Reader;
use ckpt::plan::{compare, scan};

use crate::case::Case;

/// Weights move by a few percent from save to save; a norm that doubles or halves is a run that left its track, or
/// another model.
const JUMP: f64 = 2.0;

/// Names that a finding lists.
const NAMED: usize = 5;

/// A tensor now and then.
struct Pair<'a> {
    now: &'a Tensor,
    then: &'a Tensor,
    /// Figures of both; none for dtypes that have none.
    figures: Option<(&'a Stats, Stats)>,
}

/// Compares with `other`, or else with the step of the run before this one, if it is a step and there is one. Tensors
/// count that both have under one name, in one dtype and shape.
///
/// # Errors
/// Those of reading the data of either. An earlier step that cannot be opened is passed over, and that is said.
pub(super) fn check(case: &Case<'_>, other: Option<&Path>, stats: &[Stats], context: &Context) -> Result<Vec<Finding>> {
    let Some(path) = other.map(Path::to_owned).or_else(|| before(&case.checkpoint.path)) else { return Ok(Vec::new()) };
    let (jobs, progress) = (context.jobs.get(), &context.progress);
    let opened = layouts::open_weights(&path, None, context.weights, jobs);
    let earlier = match opened.as_ref().map(|earlier| (earlier, earlier.damage())) {
        Ok((earlier, None)) => earlier,
        Ok((_, Some(damage))) => return Ok(passed_over(&path, damage, context)),
        Err(error) => return Ok(passed_over(&path, error, context)),
    };
    let pairs = pairs(case.checkpoint, earlier);
    let (ours, theirs) = (Reader::new(&case.checkpoint.pool), Reader::new(&earlier.pool));
    let recipes: Vec<&Recipe> = pairs.iter().map(|(_, earlier)| &earlier.recipe).collect();
    let scanned = scan::scan(&theirs, &[], &recipes, true, jobs, progress)?;
    let figures: BTreeMap<&str, &Stats> = stats.iter().map(|row| (row.name.as_str(), row)).collect();
    let seen: Vec<Pair<'_>> = pairs
        .iter()
        .zip(&scanned.values)
        .map(|((now, then), values)| {
            let row = figures.get(now.name.as_str()).copied();
            Pair { now, then, figures: row.zip(Stats::of(&now.name, &then.recipe, values)) }
        })
        .collect();

    // Equal figures may be chance, and some dtypes have none; then the bytes tell.
    let is_unclear = |pair: &&Pair<'_>| pair.figures.as_ref().is_none_or(|(now, then)| *now == then);
    let unclear: Vec<&Pair<'_>> = seen.iter().filter(is_unclear).collect();
    for pair in &unclear {
        progress.expect(pair.now.recipe.len_bytes().saturating_mul(2));
    }
    let differ = work::map(jobs, &unclear, |pair| {
        compare::first_difference((&ours, &pair.now.recipe), (&theirs, &pair.then.recipe), progress)
    })?;
    let equal = unclear.iter().zip(differ).filter(|(_, differ)| differ.is_none());
    let equal: Vec<&str> = equal.map(|(pair, _)| pair.now.name.as_str()).collect();
    earlier.pool.unchanged()?;

    let shown = path.display();
    let mut findings: Vec<Finding> = unchanged(&equal, seen.len(), &shown.to_string()).into_iter().collect();
    for pair in &seen {
        let norms = pair.figures.as_ref().and_then(|(now, then)| Some((then.norm()?, now.norm()?)));
        let Some((then, now)) = norms.filter(|(then, now)| *then > 0.0 && *now > 0.0) else { continue };
        if now > then * JUMP || then > now * JUMP {
            let message = format!("the norm is {:.2} times that of {shown}", now / then);
            let finding = case.about(Id::StepJump, pair.now, message);
            findings.push(
                finding.needed(format!("between {:.4e} and {:.4e}", then / JUMP, then * JUMP), format!("{now:.4e}")),
            );
        }
    }
    Ok(findings)
}

/// The step of a run before the one at that path.
fn before(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().ok()?;
    let number = run::number(whole.file_name()?.to_str()?)?;
    let parent = match path.parent() {
        Some(parent) if path.file_name().is_some() && parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) if path.file_name().is_some() => parent.to_owned(),
        _ => whole.parent()?.to_owned(),
    };
    let run = run::of_folder(&parent).ok()?;
    run.steps.into_iter().rev().find(|step| step.number < number).map(|step| step.path)
}

fn passed_over(path: &Path, why: &dyn std::fmt::Display, context: &Context) -> Vec<Finding> {
    context.say(&format!("{} is not compared with: {why}", path.display()));
    Vec::new()
}

/// Tensors that both have.
fn pairs<'a>(ours: &'a Checkpoint, earlier: &'a Checkpoint) -> Vec<(&'a Tensor, &'a Tensor)> {
    let theirs: BTreeMap<&str, &Tensor> = earlier.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let has_data = |tensor: &Tensor| tensor.recipe.absent().is_none() && tensor.recipe.elements() > 0;
    let like = |a: &Recipe, b: &Recipe| (a.dtype, &a.shape) == (b.dtype, &b.shape);
    let pair = |tensor: &'a Tensor| Some((tensor, *theirs.get(tensor.name.as_str())?));
    let pairs = ours.tensors.iter().filter_map(pair);
    pairs.filter(|(a, b)| has_data(a) && has_data(b) && like(&a.recipe, &b.recipe)).collect()
}

fn unchanged(equal: &[&str], of: usize, before: &str) -> Option<Finding> {
    if equal.is_empty() {
        return None;
    }
    let named: Vec<&str> = equal.iter().take(NAMED).copied().collect();
    let more = equal.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (severity, message) = if equal.len() == of {
        (Severity::Warning, format!("all {of} tensors are to the bit those of {before}: nothing was learnt in between"))
    } else {
        let names = named.join(", ");
        (Severity::Note, format!("{} of {of} tensors are to the bit those of {before}: {names}{more}", equal.len()))
    };
    Some(Finding::new(Id::StepUnchanged, message).severity(severity))
}
