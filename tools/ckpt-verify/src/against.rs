//! `--against`: every tensor of one checkpoint with that of another, in whatever layouts they are.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use ckpt::adapters;
use ckpt::bytes::work;
use ckpt::canonical::{self, Table};
use ckpt::cli::{self, Context};
use ckpt::document::Compared;
use ckpt::facts::{Finding, Id, Progress, Recipe, Tensor};
use ckpt::layouts::inside::Inside;
use ckpt::layouts::{self, Checkpoint};
use ckpt::plan::compare::{self, Distance};
use ckpt::plan::read::Reader;

use crate::case::Case;
use crate::rules::adapters::on_base;

/// What a comparison told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) findings: Vec<Finding>,
    /// With a tolerance, how far apart the values are that differ.
    pub(crate) compared: Option<Vec<Compared>>,
}

/// Compares: to the bit, or as numbers if there is a tolerance. What is damaged in the checkpoint has been told already; what is left of it is compared.
///
/// # Errors
/// Those of opening and reading, and of the other checkpoint if its own ranks contradict each other.
pub(crate) fn check(mut ours: Checkpoint, other: &Path, tolerance: Option<f64>, context: &Context) -> Result<Told> {
    let jobs = context.jobs.get();
    let shown = other.display();
    let mut theirs = layouts::open_weights(other, None, context.weights, jobs).with_context(|| shown.to_string())?;
    if let Some(damage) = theirs.damage() {
        if theirs.tensors.is_empty() {
            return Err(anyhow::Error::new(damage.clone()).context(shown.to_string()));
        }
        context.say(&format!("{shown} is damaged itself, and only what can be read of it is compared: {damage}"));
    }
    if adapters::of(&ours).is_some() && adapters::of(&theirs).is_none() {
        let findings = on_base(&Case::new(&ours), &theirs);
        return Ok(Told { findings, compared: None });
    }
    // A table refuses damage; here it has been told, or counts for nothing.
    ours.findings.clear();
    theirs.findings.clear();
    if ours.tensors.is_empty() {
        return Ok(Told::default());
    }
    let (ours_reader, theirs_reader) = (Reader::new(&ours.pool), Reader::new(&theirs.pool));
    let mine = match canonical::table(&ours, &ours_reader, jobs, &context.progress) {
        Ok(table) => table,
        // Its own ranks contradict each other: there is no one model to compare.
        Err(error) => match cli::finding(&error) {
            Some(finding) if finding.id == Id::ReplicaDiffers => {
                return Ok(Told { findings: vec![finding.clone()], compared: None });
            }
            _ => return Err(error),
        },
    };
    let yours =
        canonical::table(&theirs, &theirs_reader, jobs, &context.progress).with_context(|| shown.to_string())?;
    let (mut mine, mut yours) = if mine.arch.is_some() && yours.arch.is_some() {
        (mine, yours)
    } else {
        (canonical::stored(&ours), canonical::stored(&theirs))
    };
    mine.settle_head(&ours_reader, &context.progress)?;
    yours.settle_head(&theirs_reader, &context.progress).with_context(|| shown.to_string())?;
    let (mut findings, pairs) = pair(&ours, &mine, &yours, tolerance.is_some());
    for (tensor, other) in &pairs {
        context.progress.expect(tensor.recipe.len_bytes().saturating_add(other.recipe.len_bytes()));
    }
    let differ = work::map(jobs, &pairs, |(a, b)| {
        let values = ((&ours_reader, &a.recipe), (&theirs_reader, &b.recipe));
        Differ::find(values.0, values.1, tolerance, &context.progress).with_context(|| a.name.clone())
    })?;
    ours.pool.unchanged()?;
    theirs.pool.unchanged().with_context(|| shown.to_string())?;
    let mut compared = Vec::new();
    for ((tensor, _), differ) in pairs.iter().zip(differ) {
        compared.extend(differ.told(&tensor.name));
        let Some((element, needed, found)) = differ.finding(tolerance) else { continue };
        let place = place(element, &tensor.recipe.shape);
        let finding = about(&ours, Id::AgainstValues, tensor, "the values differ from those of the other checkpoint");
        findings.push(finding.needed(needed, format!("{found}the first difference at element {element}, {place}")));
    }
    Ok(Told { findings, compared: tolerance.map(|_| compared) })
}

/// The models of a tree that another tree does not have, and the other way round. Those that both have are compared.
pub(crate) fn models(ours: &Inside, theirs: &Inside) -> Vec<Finding> {
    let lacks = |inside: &Inside, name: &String| inside.path_of(name).is_none();
    let added =
        ours.names().iter().filter(|name| lacks(theirs, name)).map(|name| {
            Finding::new(Id::AgainstAdded, "the other tree has no model of this path").in_file(name.clone())
        });
    let missing = theirs
        .names()
        .iter()
        .filter(|name| lacks(ours, name))
        .map(|name| Finding::new(Id::AgainstMissing, "only the other tree has this model").in_file(name.clone()));
    added.chain(missing).collect()
}

/// How two values differ.
enum Differ {
    /// In their bits, if they do: the first element.
    Bits(Option<u64>),
    /// As numbers.
    Numbers(Distance),
}

impl Differ {
    fn find(
        a: (&Reader<'_>, &Recipe),
        b: (&Reader<'_>, &Recipe),
        tolerance: Option<f64>,
        progress: &Progress,
    ) -> Result<Differ> {
        match tolerance {
            Some(tolerance) if compare::comparable(a.1, b.1) => {
                Ok(Differ::Numbers(compare::distance(a, b, tolerance, progress)?))
            }
            _ => Ok(Differ::Bits(compare::first_difference(a, b, progress)?)),
        }
    }

    /// The row of the document, unless all values are equal.
    fn told(&self, name: &str) -> Option<Compared> {
        let Differ::Numbers(distance) = self else { return None };
        let finite = |figure: f64| Some(figure).filter(|figure| figure.is_finite());
        (!distance.is_zero()).then(|| Compared {
            name: name.to_owned(),
            max_abs: finite(distance.max_abs),
            max_rel: finite(distance.max_rel),
            cosine: distance.cosine,
            first: distance.first,
        })
    }

    /// The first element that differs too much, what was needed, and by how much it differs.
    fn finding(&self, tolerance: Option<f64>) -> Option<(u64, String, String)> {
        match (self, tolerance) {
            (Differ::Numbers(distance), Some(tolerance)) => {
                let cosine = distance.cosine.map(|cosine| format!(", cosine {cosine:.6}")).unwrap_or_default();
                let (abs, rel) = (distance.max_abs, distance.max_rel);
                let found = format!("differences up to {abs:.3e}, relatively {rel:.3e}{cosine}; ");
                Some((distance.first?, format!("values within {tolerance}"), found))
            }
            (Differ::Bits(element), _) => Some(((*element)?, "equal values".to_owned(), String::new())),
            (Differ::Numbers(_), None) => None,
        }
    }
}

/// Tensors that both have, alike in shape, and in dtype unless they are compared as numbers; findings about the others.
fn pair<'a>(
    ours: &Checkpoint,
    mine: &'a Table,
    yours: &'a Table,
    as_numbers: bool,
) -> (Vec<Finding>, Vec<(&'a Tensor, &'a Tensor)>) {
    let mut left: BTreeMap<&str, &Tensor> = yours.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let (mut findings, mut pairs) = (Vec::new(), Vec::new());
    for tensor in &mine.tensors {
        let Some(other) = left.remove(tensor.name.as_str()) else {
            findings.push(about(ours, Id::AgainstAdded, tensor, "the other checkpoint has no such tensor"));
            continue;
        };
        let geometry = |tensor: &Tensor| format!("{} {:?}", tensor.recipe.dtype, tensor.recipe.shape);
        let like = tensor.recipe.dtype == other.recipe.dtype
            || (as_numbers && compare::comparable(&tensor.recipe, &other.recipe));
        if like && tensor.recipe.shape == other.recipe.shape {
            pairs.push((tensor, other));
        } else {
            let message = "dtype or shape are not those of the other checkpoint";
            findings.push(about(ours, Id::AgainstGeometry, tensor, message).needed(geometry(other), geometry(tensor)));
        }
    }
    let missing = |tensor: &Tensor| {
        Finding::new(Id::AgainstMissing, "only the other checkpoint has this tensor").tensor(tensor.name.clone())
    };
    findings.extend(left.values().map(|tensor| missing(tensor)));
    (findings, pairs)
}

fn about(checkpoint: &Checkpoint, id: Id, tensor: &Tensor, message: &str) -> Finding {
    let finding = Finding::new(id, message).tensor(tensor.name.clone());
    match tensor.recipe.file() {
        Some(file) => finding.in_file(checkpoint.pool.name(file)),
        None => finding,
    }
}

/// The index of the row-major element of that number.
fn place(element: u64, shape: &[u64]) -> String {
    let mut left = element;
    let mut index: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let at = left.checked_rem(size).unwrap_or(0);
            left = left.checked_div(size).unwrap_or(0);
            at
        })
        .collect();
    index.reverse();
    format!("{index:?}")
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn elements_have_places() {
        assert_eq!(place(0, &[]), "[]");
        assert_eq!(place(7, &[3, 4]), "[1, 3]");
        assert_eq!(place(23, &[2, 3, 4]), "[1, 2, 3]");
    }
}
