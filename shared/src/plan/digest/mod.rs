//! The digesting sink: digests of files, and of values wherever they stand, in one pass over each file.

mod cache;
mod crew;
mod schedule;
mod spans;

use std::collections::BTreeMap;

use anyhow::Result;

use self::schedule::{Found, Plan};
use self::spans::Span;
use super::read::Reader;
use crate::digests::Algorithm;
use crate::facts::{FileId, Progress, Recipe};

pub use self::cache::{Again, Audit, Cache};

/// The digest of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Bytes digested.
    pub size: u64,
    /// In lower-case hexadecimal.
    pub digest: String,
}

/// Digests of files and of values, each in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Of whole files.
    pub files: Vec<Whole>,
    /// Of values, in lower-case hexadecimal.
    pub values: Vec<String>,
}

/// Digests of values, in the order given.
///
/// # Errors
/// As [`take`].
pub fn values(
    reader: &Reader<'_>,
    recipes: &[&Recipe],
    algorithm: Algorithm,
    jobs: usize,
    progress: &Progress,
) -> Result<Vec<String>> {
    Ok(take(reader, &[], recipes, algorithm, jobs, progress)?.values)
}

/// Digests of files and values. A value that stands contiguous in one of the files is digested in the pass over that
/// file, every other one on its own; a value that is asked for twice is digested once. Announces its work to
/// `progress`.
///
/// # Errors
/// A finding that names the file that cannot be read, or that changed while it was; a value that cannot be made.
pub fn take(
    reader: &Reader<'_>,
    files: &[FileId],
    recipes: &[&Recipe],
    algorithm: Algorithm,
    jobs: usize,
    progress: &Progress,
) -> Result<Taken> {
    take_kept(reader, files, recipes, &Means { algorithm, jobs, progress, cache: None })
}

/// How digests are taken.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Threads.
    pub jobs: usize,
    /// Where work is announced and reported.
    pub progress: &'a Progress,
    /// Digests of earlier runs, believed and added to.
    pub cache: Option<&'a Cache>,
}

/// As [`take`], but what a cache knows is not read again unless it is its turn. Values that have to be put together from
/// pieces are always read.
///
/// # Errors
/// As [`take`].
pub fn take_kept(reader: &Reader<'_>, files: &[FileId], recipes: &[&Recipe], means: &Means<'_>) -> Result<Taken> {
    let work = Work::of(files, recipes);
    let mut plan = Plan::of(&work, reader, means);
    let mut found = Found::default();
    plan.run(&work, reader, means, &mut found)?;

    let mut wholes: BTreeMap<FileId, Whole> = BTreeMap::new();
    let mut digests: BTreeMap<usize, String> = BTreeMap::new();
    for (file, (whole, spans)) in found.files {
        wholes.insert(file, whole);
        let askers = work.spans.get(&file).into_iter().flat_map(|spans| &spans.askers);
        for (askers, digest) in askers.zip(spans) {
            digests.extend(askers.iter().map(|&asker| (asker, digest.clone())));
        }
    }
    for (value, digest) in work.apart.values().zip(found.values) {
        let digest = digest.unwrap_or_default();
        digests.extend(value.askers.iter().map(|&asker| (asker, digest.clone())));
    }
    let files = files.iter().filter_map(|file| wholes.get(file).cloned()).collect();
    Ok(Taken { files, values: digests.into_values().collect() })
}

/// What has to be digested, each thing once, and who asked for it: places in the list of values.
struct Work<'a> {
    spans: BTreeMap<FileId, FileSpans>,
    apart: BTreeMap<Key, Apart<'a>>,
}

#[derive(Default)]
struct FileSpans {
    list: Vec<Span>,
    askers: Vec<Vec<usize>>,
}

/// A value that is digested on its own.
struct Apart<'a> {
    recipe: &'a Recipe,
    askers: Vec<usize>,
}

/// What tells values apart by their recipes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bytes(FileId, Span),
    Made(String),
}

impl<'a> Work<'a> {
    fn of(files: &[FileId], recipes: &[&'a Recipe]) -> Work<'a> {
        let mut inside: BTreeMap<FileId, BTreeMap<Span, Vec<usize>>> =
            files.iter().map(|file| (*file, BTreeMap::new())).collect();
        let mut apart: BTreeMap<Key, Apart<'a>> = BTreeMap::new();
        for (asker, &recipe) in recipes.iter().enumerate() {
            let place = recipe.contiguous().map(|(file, offset)| (file, Span { offset, bytes: recipe.len_bytes() }));
            if let Some((file, span)) = place
                && let Some(spans) = inside.get_mut(&file)
            {
                spans.entry(span).or_default().push(asker);
                continue;
            }
            let key = place.map_or_else(|| Key::Made(format!("{recipe:?}")), |(file, span)| Key::Bytes(file, span));
            apart.entry(key).or_insert_with(|| Apart { recipe, askers: Vec::new() }).askers.push(asker);
        }
        let spans = inside.into_iter().map(|(file, spans)| {
            let (list, askers) = spans.into_iter().unzip();
            (file, FileSpans { list, askers })
        });
        Work { spans: spans.collect(), apart }
    }
}

#[cfg(test)]
mod tests;
