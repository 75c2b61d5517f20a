//! `--deep`: everything that only the data can tell, in one pass over them.

mod copies;
mod derived;
mod members;
mod packed;
mod recorded;
mod roles;
mod sibling;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use ckpt::cli::Context;
use ckpt::document::Stats;
use ckpt::facts::{FileId, Finding, Op, Recipe, Tensor};
use ckpt::layouts::Checkpoint;
use ckpt::plan::read::Reader;
use ckpt::plan::scan::{self, Values};

use crate::case::Case;

/// What the data told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) findings: Vec<Finding>,
    /// Figures of every tensor, if they were asked for; sorted by name.
    pub(crate) stats: Option<Vec<Stats>>,
}

/// Reads all of a checkpoint's data. With figures it is also compared with `earlier`, or with the step of its run before
/// it.
///
/// # Errors
/// Those of reading: what cannot be read can be neither good nor bad.
pub(crate) fn check(case: &Case<'_>, with_stats: bool, earlier: Option<&Path>, context: &Context) -> Result<Told> {
    let checkpoint = case.checkpoint;
    let reader = Reader::new(&checkpoint.pool);
    let (jobs, progress) = (context.jobs.get(), &context.progress);
    let mut told = Told::default();

    let members = members::find(checkpoint);
    let stretches: Vec<scan::Stretch> = members.iter().map(|member| member.stretch).collect();
    // A tensor without data has been told of.
    let tensors: Vec<&Tensor> = checkpoint.tensors.iter().filter(|tensor| tensor.recipe.absent().is_none()).collect();
    let parts: Vec<(&Tensor, &Recipe)> =
        tensors.iter().flat_map(|&tensor| parts(&tensor.recipe).into_iter().map(move |part| (tensor, part))).collect();
    let mut recipes: Vec<&Recipe> = parts.iter().map(|(_, part)| *part).collect();
    // Figures are those of the whole tensor, put together.
    let wholes = if with_stats { tensors.as_slice() } else { &[] };
    recipes.extend(wholes.iter().map(|tensor| &tensor.recipe));
    let scanned = scan::scan(&reader, &stretches, &recipes, with_stats, jobs, progress)?;

    members::compare(checkpoint, &members, &scanned.crcs, &mut told.findings);
    members::unrecorded(checkpoint, &mut told.findings);
    members::packed(checkpoint, progress, &mut told.findings)?;
    let seen = parts.iter().zip(&scanned.values);
    told.findings.extend(seen.flat_map(|((tensor, part), seen)| values::judge(case, tensor, part, seen)));
    told.findings.extend(derived::check(case, &reader)?);
    told.findings.extend(packed::check(case, &reader)?);
    if let Some(adapter) = ckpt::adapters::of(checkpoint) {
        let unturned = ckpt::adapters::unturned(&adapter, checkpoint, progress)?;
        told.findings.extend(unturned.map(|finding| finding.in_file(checkpoint.pool.name(adapter_file(checkpoint)))));
    }
    told.findings.extend(copies::check(case, &reader, jobs, progress)?);
    if with_stats {
        let seen = scanned.values.get(parts.len()..).unwrap_or_default();
        let stats = stats(&tensors, seen);
        told.findings.extend(sibling::check(case, earlier, &stats, context)?);
        told.stats = Some(stats);
    }
    Ok(told)
}

pub(crate) use recorded::check as recorded;

/// The file of an adapter, which has but one.
fn adapter_file(checkpoint: &Checkpoint) -> FileId {
    checkpoint.shards.first().map_or(FileId(0), |shard| shard.file)
}

/// The parts of a value that stand in files as they are, where it is made of such; else the value.
fn parts(recipe: &Recipe) -> Vec<&Recipe> {
    match &recipe.op {
        Op::Tiles(tiles) if tiles.iter().all(|tile| tile.part.contiguous().is_some()) => {
            tiles.iter().map(|tile| &*tile.part).collect()
        }
        _ => vec![recipe],
    }
}

fn stats(tensors: &[&Tensor], seen: &[Values]) -> Vec<Stats> {
    let rows: BTreeMap<&str, Stats> = tensors
        .iter()
        .zip(seen)
        .filter_map(|(tensor, seen)| Some((tensor.name.as_str(), Stats::of(&tensor.name, &tensor.recipe, seen)?)))
        .collect();
    rows.into_values().collect()
}
