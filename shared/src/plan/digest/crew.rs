//! The threads that digest files and values: the disk is read once, and no thread is idle while another has work
//! that it could take over.
//!
//! The thread that begins a file reads it and digests it whole. The digests of the values in that file are a second
//! chain of work over the same bytes. If every thread has work of its own, the file's thread digests both at once from
//! one buffer. If a thread is idle, it follows the file's own at a short distance and digests the values: it finds
//! the bytes in the page cache, which is cheaper than to hand buffers from one processor to another. So a single large
//! file keeps two threads busy, and many files keep every thread busy.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::Whole;
use super::spans::{Span, Spans};
use crate::bytes::{ReadAt, to_u64, to_usize};
use crate::digests::Algorithm;
use crate::facts::{FileId, Finding, Progress, Recipe};
use crate::formats::detect;
use crate::plan::read::Reader;

/// Bytes read at once: a quarter of a processor's own cache.
const CHUNK: u64 = 1 << 18;

/// Bytes that a file's thread reads ahead before it calls an idle one: to wake a thread costs as much as to digest a
/// good part of a chunk.
const ENOUGH: u64 = 8 * CHUNK;

/// Bytes that a file's thread may be ahead of the one that follows it: they stay in any page cache.
const AHEAD: u64 = 128 * CHUNK;

/// A piece of work that is begun by one thread.
#[derive(Debug)]
pub(super) enum Task<'a> {
    /// A file, and the sorted spans of the values in it.
    File(FileId, &'a [Span]),
    /// A value that has to be put together.
    Value(&'a Recipe),
}

/// What came of a task.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A file's digest, and those of its spans in their order.
    File(Whole, Vec<String>),
    /// A value's digest.
    Value(String),
}

/// What all threads share.
pub(super) struct Crew<'a> {
    reader: &'a Reader<'a>,
    tasks: &'a [Task<'a>],
    algorithm: Algorithm,
    progress: &'a Progress,
    state: Mutex<State<'a>>,
    /// Rung when threads without a task may have something to do, or nothing any more.
    idle: Condvar,
    /// Rung when a file's own thread need not wait any longer for the one that follows it.
    followed: Condvar,
}

#[derive(Default)]
struct State<'a> {
    /// The first task that nobody has begun.
    next: usize,
    /// Threads that wait for something to do.
    idle: usize,
    /// Files that are being read, by number of task.
    flights: BTreeMap<usize, Flight<'a>>,
    outcomes: BTreeMap<usize, Outcome>,
    /// The failure of the lowest task that failed.
    failure: Option<(usize, anyhow::Error)>,
    /// A thread panicked; what it held will not come back.
    lost: bool,
}

/// A file that is being read.
struct Flight<'a> {
    file: FileId,
    /// Up to here it has been read and digested as a whole.
    read: u64,
    /// Up to here its spans have been digested.
    digested: u64,
    /// Absent while a thread digests them.
    spans: Option<Spans<'a>>,
    /// The file's own thread waits for the one that follows it.
    awaited: bool,
}

enum Turn<'a> {
    Begin(usize),
    Follow(usize, FileId, Spans<'a>),
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        tasks: &'a [Task<'a>],
        algorithm: Algorithm,
        progress: &'a Progress,
    ) -> Crew<'a> {
        let (state, idle, followed) = (Mutex::default(), Condvar::new(), Condvar::new());
        Crew { reader, tasks, algorithm, progress, state, idle, followed }
    }

    /// Does all tasks on up to `jobs` threads. The outcomes are in the tasks' order.
    ///
    /// # Errors
    /// The error of the first task that failed, so that a run fails alike whatever `jobs` is.
    pub(super) fn run(self, jobs: usize) -> Result<Vec<Outcome>> {
        // A file can occupy two threads.
        let most = self.tasks.len().saturating_mul(2).max(1);
        std::thread::scope(|scope| {
            for _ in 1..jobs.clamp(1, most) {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some((_, error)) => Err(error),
            None => Ok(state.outcomes.into_values().collect()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's work, until there is none left for it.
    fn work(&self) {
        let alarm = Alarm(self);
        while let Some(turn) = self.next() {
            let (number, done) = match turn {
                Turn::Begin(number) => (number, self.begin(number).map(Some)),
                Turn::Follow(number, file, spans) => (number, self.follow(number, file, spans).map(|()| None)),
            };
            let mut state = self.state();
            match done {
                Ok(Some(outcome)) => drop(state.outcomes.insert(number, outcome)),
                Ok(None) => {}
                Err(error) => {
                    state.flights.remove(&number);
                    if state.failure.as_ref().is_none_or(|(earlier, _)| number < *earlier) {
                        state.failure = Some((number, error));
                    }
                }
            }
            drop(state);
            self.idle.notify_all();
            self.followed.notify_all();
        }
        drop(alarm);
    }

    /// What a free thread does next. Nothing is begun after a failure, but what was begun is ended: a task of a lower
    /// number may fail as well, and then that failure counts.
    fn next(&self) -> Option<Turn<'a>> {
        let mut state = self.state();
        loop {
            if state.lost {
                return None;
            }
            if state.failure.is_none() && state.next < self.tasks.len() {
                let number = state.next;
                state.next = number.saturating_add(1);
                if let Some(Task::File(file, spans)) = self.tasks.get(number) {
                    let spans = Some(Spans::new(spans, self.algorithm));
                    let flight = Flight { file: *file, read: 0, digested: 0, spans, awaited: false };
                    state.flights.insert(number, flight);
                }
                return Some(Turn::Begin(number));
            }
            let mut far = state.flights.iter_mut().filter(|(_, flight)| flight.behind() >= ENOUGH);
            if let Some(turn) = far.find_map(|(&n, flight)| Some(Turn::Follow(n, flight.file, flight.spans.take()?))) {
                return Some(turn);
            }
            if state.flights.is_empty() {
                return None;
            }
            state.idle = state.idle.saturating_add(1);
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
        }
    }

    fn begin(&self, number: usize) -> Result<Outcome> {
        match self.tasks.get(number) {
            Some(Task::File(file, _)) => {
                let whole = self.read(number, *file)?;
                Ok(Outcome::File(whole, self.land(number, *file)?))
            }
            Some(Task::Value(recipe)) => {
                let mut hasher = self.algorithm.hasher(recipe.len_bytes());
                self.reader.stream(recipe, CHUNK, self.progress, |_, bytes| {
                    hasher.update(bytes);
                    Ok(())
                })?;
                Ok(Outcome::Value(hasher.finish()))
            }
            None => bail!("a number of no task"),
        }
    }

    /// Reads a file and digests it as a whole, its spans as well unless another thread does that.
    fn read(&self, number: usize, file: FileId) -> Result<Whole> {
        let source = self.reader.pool().get(file).map_err(|error| self.unreadable(&error, file, 0))?;
        let mut hasher = self.algorithm.hasher(source.size());
        let (mut offset, mut bytes) = (0, Vec::new());
        while offset < source.size() {
            bytes.resize(to_usize(source.size().saturating_sub(offset).min(CHUNK)), 0);
            source.read_exact_at(&mut bytes, offset).map_err(|error| self.unreadable(&error, file, offset))?;
            hasher.update(&bytes);
            self.progress.advance(to_u64(bytes.len()))?;
            if let Some(mut spans) = self.advance(number, file, offset, to_u64(bytes.len()))? {
                let digested = spans.update(offset, &bytes);
                offset = offset.saturating_add(to_u64(bytes.len()));
                self.give_back(number, spans, offset);
                self.progress.advance(digested)?;
            } else {
                offset = offset.saturating_add(to_u64(bytes.len()));
            }
        }
        Ok(Whole { size: source.size(), digest: hasher.finish() })
    }

    /// Says that `count` bytes from `offset` on have been read. Returns the spans if this thread shall digest them
    /// from the same buffer.
    fn advance(&self, number: usize, file: FileId, offset: u64, count: u64) -> Result<Option<Spans<'a>>> {
        let mut state = self.state();
        let alone = state.idle == 0;
        let Some(flight) = state.flights.get_mut(&number) else { bail!("a file's spans could not be digested") };
        let before = flight.behind();
        flight.read = offset.saturating_add(count);
        if let Some(spans) = flight.spans.take() {
            flight.digested = spans.wanted(flight.digested).unwrap_or(flight.read).min(flight.read);
            if alone && offset <= flight.digested && flight.digested < flight.read {
                return Ok(Some(spans));
            }
            if alone && flight.digested < offset {
                // The one that should have come has found other work.
                drop(state);
                self.follow(number, file, spans)?;
                return Ok(None);
            }
            flight.spans = Some(spans);
            if before < ENOUGH && flight.behind() >= ENOUGH {
                self.idle.notify_one();
            }
        }
        if flight.behind() > AHEAD {
            drop(state);
            self.wait_or_follow(number, file, AHEAD / 2)?;
        }
        Ok(None)
    }

    /// Waits until no more than `most` bytes are left for the thread that follows; where none does, this one does.
    fn wait_or_follow(&self, number: usize, file: FileId, most: u64) -> Result<()> {
        loop {
            let mut state = self.state();
            if state.lost {
                bail!("a thread that digested failed");
            }
            let Some(flight) = state.flights.get_mut(&number) else { bail!("a file's spans could not be digested") };
            match flight.spans.take() {
                Some(spans) if flight.behind() > most => {
                    drop(state);
                    self.follow(number, file, spans)?;
                }
                Some(spans) => {
                    flight.spans = Some(spans);
                    return Ok(());
                }
                None if flight.behind() <= most && most > 0 => return Ok(()),
                None => {
                    flight.awaited = true;
                    drop(self.followed.wait(state).unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    /// The end of a file: the digests of its spans.
    fn land(&self, number: usize, file: FileId) -> Result<Vec<String>> {
        self.wait_or_follow(number, file, 0)?;
        let flight = self.state().flights.remove(&number);
        Ok(flight.and_then(|flight| flight.spans).map(Spans::finish).unwrap_or_default())
    }

    /// Digests a file's spans as far as another thread has read the file.
    fn follow(&self, number: usize, file: FileId, mut spans: Spans<'a>) -> Result<()> {
        let source = self.reader.pool().get(file).map_err(|error| self.unreadable(&error, file, 0))?;
        let mut bytes = Vec::new();
        let mut at = 0;
        loop {
            let mut state = self.state();
            let Some(flight) = state.flights.get_mut(&number) else { return Ok(()) };
            at = flight.digested.max(at);
            let end = flight.read;
            at = spans.wanted(at).unwrap_or(end).min(end);
            flight.digested = at;
            let done = at >= end;
            if std::mem::take(&mut flight.awaited) {
                self.followed.notify_all();
            }
            if done {
                flight.spans = Some(spans);
                return Ok(());
            }
            drop(state);
            bytes.resize(to_usize(end.saturating_sub(at).min(CHUNK)), 0);
            source.read_again_at(&mut bytes, at).map_err(|error| self.unreadable(&error, file, at))?;
            let digested = spans.update(at, &bytes);
            at = at.saturating_add(to_u64(bytes.len()));
            self.progress.advance(digested)?;
        }
    }

    fn give_back(&self, number: usize, spans: Spans<'a>, digested: u64) {
        if let Some(flight) = self.state().flights.get_mut(&number) {
            flight.spans = Some(spans);
            flight.digested = digested;
        }
    }

    fn unreadable(&self, error: &std::io::Error, file: FileId, offset: u64) -> Finding {
        detect::unreadable(error).in_file(self.reader.pool().name(file)).at(offset)
    }
}

impl Flight<'_> {
    /// Bytes that have been read and whose spans have not been digested.
    fn behind(&self) -> u64 {
        self.read.saturating_sub(self.digested)
    }
}

/// Frees those that wait for a thread that panicked.
struct Alarm<'c, 'a>(&'c Crew<'a>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().lost = true;
            self.0.idle.notify_all();
            self.0.followed.notify_all();
        }
    }
}
