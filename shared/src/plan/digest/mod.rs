//! The digesting sink: digests of files, and of values wherever they stand, in one pass over each file.

mod crew;
mod spans;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;

use self::crew::{Crew, Outcome, Task};
use self::spans::Span;
use super::read::Reader;
use crate::digests::Algorithm;
use crate::facts::{FileId, Finding, Id, Progress, Recipe};

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
    let work = Work::of(files, recipes);
    let pool = reader.pool();
    let mut tasks = Vec::new();
    // The largest first, so that no thread begins one when the others are done.
    let mut sizes: Vec<(Reverse<u64>, FileId)> = Vec::new();
    for file in work.spans.keys() {
        let data = pool.path(*file).and_then(|path| std::fs::metadata(path).ok());
        sizes.push((Reverse(data.map_or(0, |data| data.len())), *file));
    }
    sizes.sort();
    for (size, file) in &sizes {
        let spans = work.spans.get(file).map_or(&[][..], |spans| spans.list.as_slice());
        progress.expect(spans.iter().map(|span| span.bytes).fold(size.0, u64::saturating_add));
        tasks.push(Task::File(*file, spans));
    }
    let mut apart: Vec<&Apart<'_>> = work.apart.values().collect();
    apart.sort_by_key(|value| Reverse(value.recipe.len_bytes()));
    for value in &apart {
        progress.expect(value.recipe.len_bytes());
        tasks.push(Task::Value(value.recipe));
    }

    let outcomes = Crew::new(reader, &tasks, algorithm, progress).run(jobs)?;
    if let Some(file) = pool.changed() {
        let message = "the file changed while it was being read";
        return Err(Finding::new(Id::FileChanged, message).in_file(pool.name(file)).into());
    }

    let mut wholes: BTreeMap<FileId, Whole> = BTreeMap::new();
    let mut digests: BTreeMap<usize, String> = BTreeMap::new();
    let mut apart = apart.into_iter();
    for (task, outcome) in tasks.iter().zip(outcomes) {
        match (task, outcome) {
            (Task::File(file, _), Outcome::File(whole, spans)) => {
                wholes.insert(*file, whole);
                let askers = work.spans.get(file).into_iter().flat_map(|spans| &spans.askers);
                for (askers, digest) in askers.zip(spans) {
                    digests.extend(askers.iter().map(|&asker| (asker, digest.clone())));
                }
            }
            (_, Outcome::Value(digest)) => {
                let askers = apart.next().into_iter().flat_map(|value| &value.askers);
                digests.extend(askers.map(|&asker| (asker, digest.clone())));
            }
            (Task::Value(_), Outcome::File(..)) => {}
        }
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
