//! replica-differs, tied-differs: values that are stored twice and must be one.

use anyhow::Result;
use ckpt::archs::Naming;
use ckpt::bytes::work;
use ckpt::facts::{Finding, Id, Progress};
use ckpt::plan::compare;
use ckpt::plan::read::Reader;

use crate::case::Case;

/// Compares all bytes.
///
/// # Errors
/// Those of reading.
pub(super) fn check(case: &Case<'_>, reader: &Reader<'_>, jobs: usize, progress: &Progress) -> Result<Vec<Finding>> {
    let replicas = &case.checkpoint.replicas;
    for replica in replicas {
        progress.expect(replica.kept.1.len_bytes().saturating_mul(2));
    }
    let differ = work::map(jobs, replicas, |replica| {
        compare::first_difference((reader, &replica.kept.1), (reader, &replica.copy.1), progress)
    })?;
    let mut findings = Vec::new();
    for (replica, element) in replicas.iter().zip(differ) {
        let Some(element) = element else { continue };
        let (kept, copy) = (replica.kept.0, replica.copy.0);
        let message = format!("the copies in ranks {kept} and {copy} differ, first at element {element}");
        findings.push(Finding::new(Id::ReplicaDiffers, message).tensor(replica.tensor.clone()));
    }
    findings.extend(tied(case, reader, progress)?);
    Ok(findings)
}

/// A head that is stored although the config says that it is the embedding.
fn tied(case: &Case<'_>, reader: &Reader<'_>, progress: &Progress) -> Result<Option<Finding>> {
    let Some((arch, Naming::Hf)) = case.family else { return Ok(None) };
    if !case.is_tied() {
        return Ok(None);
    }
    let head = arch.head().and_then(|row| case.tensor(row.hf));
    let (Some(embedding), Some(head)) = (case.embedding(), head) else {
        return Ok(None);
    };
    let (ours, theirs) = (&head.recipe, &embedding.recipe);
    if ours.absent().is_some() || theirs.absent().is_some() {
        return Ok(None);
    }
    let message = "the config says that the head is the embedding, and it is not";
    let finding = case.about(Id::TiedDiffers, head, message);
    if (ours.dtype, &ours.shape) != (theirs.dtype, &theirs.shape) {
        let geometry = |recipe: &ckpt::facts::Recipe| format!("{} {:?}", recipe.dtype, recipe.shape);
        return Ok(Some(finding.needed(geometry(theirs), geometry(ours))));
    }
    if ours == theirs {
        return Ok(None);
    }
    progress.expect(ours.len_bytes().saturating_mul(2));
    let element = compare::first_difference((reader, ours), (reader, theirs), progress)?;
    Ok(element.map(|element| finding.needed("equal values", format!("the first difference at element {element}"))))
}
