//! What of the work is read, in which order, and what is known from earlier runs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::time::SystemTime;

use anyhow::Result;

use super::cache::{self, Cache, Known, Learned, share};
use super::crew::{Crew, Outcome, Task};
use super::spans::Span;
use super::{Apart, Key, Means, Whole, Work};
use crate::bytes::ReadAt;
use crate::facts::FileId;
use crate::plan::read::Reader;

/// What has been found out: each file's digest and those of its spans; each value's digest, in the order of the work.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<FileId, (Whole, Vec<String>)>,
    pub(super) values: Vec<Option<String>>,
}

/// What is to be done.
pub(super) struct Plan {
    began: SystemTime,
    /// Each file's state before anything was read.
    states: BTreeMap<FileId, Metadata>,
    /// Files to read, and values to make, by place in the work.
    files: Vec<FileId>,
    values: Vec<usize>,
    /// Files that are known and whose turn it is to be read again; those read longest ago come first.
    turns: Vec<(FileId, Known)>,
    /// What needs not be read.
    known: Vec<(FileId, Known)>,
    known_values: Vec<(FileId, Vec<usize>, Known)>,
}

impl Plan {
    pub(super) fn of(work: &Work<'_>, reader: &Reader<'_>, means: &Means<'_>) -> Plan {
        let mut plan = Plan {
            began: SystemTime::now(),
            states: BTreeMap::new(),
            files: Vec::new(),
            values: Vec::new(),
            turns: Vec::new(),
            known: Vec::new(),
            known_values: Vec::new(),
        };
        let path = |file: FileId| reader.pool().path(file);
        let state = |file: FileId| path(file).and_then(|path| std::fs::metadata(path).ok());
        let due = |cache: &Cache, file: FileId| path(file).is_none_or(|path| cache.is_due(path));
        for (&file, spans) in &work.spans {
            let data = state(file);
            plan.states.extend(data.clone().map(|data| (file, data)));
            let known = means.cache.zip(data).and_then(|(cache, data)| {
                Some((cache, cache.known((path(file), &data), means.algorithm, true, &spans.list)?))
            });
            match known {
                None => plan.files.push(file),
                // What is known to be rotten is looked at whatever the time.
                Some((_, known)) if known.rotten => {
                    forget(reader, file);
                    plan.files.push(file);
                }
                Some((cache, known)) if due(cache, file) => plan.turns.push((file, known)),
                Some((_, known)) => plan.known.push((file, known)),
            }
        }
        for (file, (spans, places)) in lone(work) {
            let known = means.cache.zip(file).and_then(|(cache, file)| {
                let data = state(file)?;
                plan.states.insert(file, data.clone());
                let known = cache.known((path(file), &data), means.algorithm, false, &spans)?;
                let late = !cache.in_time() && !known.rotten;
                (late || !(known.rotten || due(cache, file))).then_some((file, known))
            });
            match known {
                Some((file, known)) => plan.known_values.push((file, places, known)),
                None => plan.values.extend(places),
            }
        }
        plan.turns.sort_by_key(|(file, known)| (known.read, path(*file).map(share)));
        plan
    }

    /// Reads what has to be read.
    pub(super) fn run(
        &mut self,
        work: &Work<'_>,
        reader: &Reader<'_>,
        means: &Means<'_>,
        found: &mut Found,
    ) -> Result<()> {
        found.values = vec![None; work.apart.len()];
        let turns = std::mem::take(&mut self.turns);
        let timed = means.cache.is_some_and(Cache::is_timed);
        let mut files = std::mem::take(&mut self.files);
        let (mut together, mut apart) = (Vec::new(), Vec::new());
        for turn in turns {
            if timed {
                apart.push(turn);
            } else {
                forget(reader, turn.0);
                together.push(turn.0);
            }
        }
        files.extend(together);
        let values = std::mem::take(&mut self.values);
        self.read(work, &files, &values, reader, means, found)?;
        for (file, known) in apart {
            if means.cache.is_some_and(Cache::in_time) {
                forget(reader, file);
                self.read(work, &[file], &[], reader, means, found)?;
            } else {
                self.keep(file, known, true, means, found);
            }
        }
        for (file, known) in std::mem::take(&mut self.known) {
            self.keep(file, known, false, means, found);
        }
        for (_, places, known) in std::mem::take(&mut self.known_values) {
            means.cache.inspect(|cache| cache.count_kept(false));
            for (place, digest) in places.into_iter().zip(known.spans) {
                if let Some(slot) = found.values.get_mut(place) {
                    *slot = Some(digest);
                }
            }
        }
        Ok(())
    }

    /// Believes what is known of a file.
    fn keep(&self, file: FileId, known: Known, put_off: bool, means: &Means<'_>, found: &mut Found) {
        means.cache.inspect(|cache| cache.count_kept(put_off));
        let size = self.states.get(&file).map_or(0, Metadata::len);
        found.files.insert(file, (Whole { size, digest: known.whole }, known.spans));
    }

    /// Reads these files and makes these values.
    fn read(
        &self,
        work: &Work<'_>,
        files: &[FileId],
        values: &[usize],
        reader: &Reader<'_>,
        means: &Means<'_>,
        found: &mut Found,
    ) -> Result<()> {
        let mut tasks = Vec::new();
        // The largest first, so that no thread begins one when the others are done.
        let size = |file: FileId| self.states.get(&file).map_or(0, Metadata::len);
        let mut files = files.to_vec();
        files.sort_by_key(|&file| (Reverse(size(file)), file));
        for &file in &files {
            let spans = work.spans.get(&file).map_or(&[][..], |spans| spans.list.as_slice());
            means.progress.expect(spans.iter().map(|span| span.bytes).fold(size(file), u64::saturating_add));
            tasks.push(Task::File(file, spans));
        }
        let all: Vec<(&Key, &Apart<'_>)> = work.apart.iter().collect();
        let mut values: Vec<(usize, &Key, &Apart<'_>)> =
            values.iter().filter_map(|&place| all.get(place).map(|(key, value)| (place, *key, *value))).collect();
        values.sort_by_key(|(place, _, value)| (Reverse(value.recipe.len_bytes()), *place));
        for (_, _, value) in &values {
            means.progress.expect(value.recipe.len_bytes());
            tasks.push(Task::Value(value.recipe));
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let outcomes = Crew::new(reader, &tasks, means.algorithm, means.progress).run(means.jobs)?;
        reader.pool().unchanged()?;
        let mut lone: BTreeMap<FileId, Vec<(Span, String)>> = BTreeMap::new();
        let mut values = values.into_iter();
        for (task, outcome) in tasks.iter().zip(outcomes) {
            match (task, outcome) {
                (Task::File(file, list), Outcome::File(whole, spans)) => {
                    let digests = list.iter().copied().zip(spans.iter().cloned()).collect();
                    self.learn(*file, Some(&whole.digest), digests, reader, means);
                    found.files.insert(*file, (whole, spans));
                }
                (_, Outcome::Value(digest)) => {
                    let Some((place, key, _)) = values.next() else { continue };
                    if let Key::Bytes(file, span) = key {
                        lone.entry(*file).or_default().push((*span, digest.clone()));
                    }
                    if let Some(slot) = found.values.get_mut(place) {
                        *slot = Some(digest);
                    }
                }
                (Task::Value(_), Outcome::File(..)) => {}
            }
        }
        for (file, spans) in lone {
            self.learn(file, None, spans, reader, means);
        }
        Ok(())
    }

    fn learn(
        &self,
        file: FileId,
        whole: Option<&String>,
        spans: Vec<(Span, String)>,
        reader: &Reader<'_>,
        means: &Means<'_>,
    ) {
        let Some(cache) = means.cache else { return };
        let after = reader.pool().path(file).and_then(|path| std::fs::metadata(path).ok());
        // A file that was replaced between the look at it and its opening is not the one that was read.
        if let (Some(before), Some(after)) = (self.states.get(&file), after)
            && cache::is_same(before, &after)
        {
            let (name, began, algorithm) = (reader.pool().name(file), self.began, means.algorithm);
            let path = reader.pool().path(file);
            cache.learn(&Learned { name, path, before, began, algorithm, whole, spans });
        }
    }
}

/// The values that are digested on their own, by the file they stand in, with their places in the work; those that are
/// put together stand in none.
fn lone(work: &Work<'_>) -> BTreeMap<Option<FileId>, (Vec<Span>, Vec<usize>)> {
    let mut lone: BTreeMap<Option<FileId>, (Vec<Span>, Vec<usize>)> = BTreeMap::new();
    for (place, key) in work.apart.keys().enumerate() {
        let file = if let Key::Bytes(file, _) = key { Some(*file) } else { None };
        let (spans, places) = lone.entry(file).or_default();
        spans.extend(if let Key::Bytes(_, span) = key { Some(*span) } else { None });
        places.push(place);
    }
    lone
}

/// Asks the system to drop what it holds of a file, so that reading it again reads the disk.
fn forget(reader: &Reader<'_>, file: FileId) {
    if let Ok(source) = reader.pool().get(file) {
        source.forget(0, source.size());
    }
}
