//! The threads that digest files and values: each file is read once, and no thread is idle while another has work
//! that it could take over.
//!
//! The thread that begins a file reads it and digests it whole. The digests of the values in that file are a second
//! chain of work over the same pieces: they wait in a short queue, from which any thread without a file of its own
//! takes them, or the file's own thread once the queue is full. So a single large file keeps two threads busy, and
//! many files keep every thread busy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::Whole;
use super::spans::{Span, Spans};
use crate::bytes::{ReadAt, to_usize};
use crate::digests::Algorithm;
use crate::facts::{FileId, Progress, Recipe};
use crate::formats::detect;
use crate::plan::read::Reader;

/// Bytes read at once: they should still be in a cache of the processor for the second digest.
const CHUNK: u64 = 1 << 18;

/// Pieces that may wait for the second digest, all files together: 32 MiB.
const WAITING: usize = 128;

/// Pieces of one file that may wait: enough that neither of two threads feels a short absence of the other.
const WAITING_EACH: usize = 16;

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
    /// Pieces of one file that may wait.
    waiting: usize,
    state: Mutex<State<'a>>,
    /// Rung whenever the state has changed in a way that somebody may wait for.
    bell: Condvar,
}

#[derive(Default)]
struct State<'a> {
    /// The first task that nobody has begun.
    next: usize,
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
    waiting: VecDeque<Chunk>,
    /// Nobody else has them in hand; absent while a thread digests a piece.
    spans: Option<Spans<'a>>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

struct Chunk {
    offset: u64,
    bytes: Vec<u8>,
}

enum Turn<'a> {
    Begin(usize),
    Help(usize, Spans<'a>, Chunk),
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        tasks: &'a [Task<'a>],
        algorithm: Algorithm,
        progress: &'a Progress,
    ) -> Crew<'a> {
        let (state, bell) = (Mutex::default(), Condvar::new());
        Crew { reader, tasks, algorithm, progress, waiting: WAITING_EACH, state, bell }
    }

    /// Does all tasks on up to `jobs` threads. The outcomes are in the tasks' order.
    ///
    /// # Errors
    /// The error of the first task that failed, so that a run fails alike whatever `jobs` is.
    pub(super) fn run(mut self, jobs: usize) -> Result<Vec<Outcome>> {
        // A file can occupy two threads.
        let jobs = jobs.clamp(1, self.tasks.len().saturating_mul(2).max(1));
        self.waiting = WAITING.checked_div(jobs).unwrap_or(1).clamp(1, WAITING_EACH);
        std::thread::scope(|scope| {
            for _ in 1..jobs {
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

    fn wait<'g>(&self, state: MutexGuard<'g, State<'a>>) -> MutexGuard<'g, State<'a>> {
        self.bell.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's work, until there is none left for it.
    fn work(&self) {
        let alarm = Alarm(self);
        while let Some(turn) = self.next() {
            let (number, done) = match turn {
                Turn::Begin(number) => (number, self.begin(number).map(Some)),
                Turn::Help(number, spans, chunk) => (number, self.digest(number, spans, chunk).map(|()| None)),
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
            self.bell.notify_all();
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
                if let Some(Task::File(_, spans)) = self.tasks.get(number) {
                    let spans = Spans::new(spans, self.algorithm);
                    let flight = Flight { waiting: VecDeque::new(), spans: Some(spans), spare: Vec::new() };
                    state.flights.insert(number, flight);
                }
                return Some(Turn::Begin(number));
            }
            let helped = state.flights.iter_mut().find_map(|(number, flight)| Some((*number, flight.take()?)));
            if let Some((number, (spans, chunk))) = helped {
                return Some(Turn::Help(number, spans, chunk));
            }
            if state.flights.is_empty() {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn begin(&self, number: usize) -> Result<Outcome> {
        match self.tasks.get(number) {
            Some(Task::File(file, _)) => {
                let whole = self.read(number, *file)?;
                Ok(Outcome::File(whole, self.settle(number, 0)?))
            }
            Some(Task::Value(recipe)) => {
                let mut hasher = self.algorithm.hasher();
                self.reader.stream(recipe, CHUNK, self.progress, |_, bytes| {
                    hasher.update(bytes);
                    Ok(())
                })?;
                Ok(Outcome::Value(hasher.finish()))
            }
            None => bail!("a number of no task"),
        }
    }

    /// Reads and digests a file from its first byte to its last.
    fn read(&self, number: usize, file: FileId) -> Result<Whole> {
        let pool = self.reader.pool();
        let unreadable =
            |error: &std::io::Error, offset: u64| detect::unreadable(error).in_file(pool.name(file)).at(offset);
        let source = pool.get(file).map_err(|error| unreadable(&error, 0))?;
        let mut hasher = self.algorithm.hasher();
        let (mut offset, mut bytes) = (0, Vec::new());
        while offset < source.size() {
            let count = source.size().saturating_sub(offset).min(CHUNK);
            bytes.resize(to_usize(count), 0);
            source.read_exact_at(&mut bytes, offset).map_err(|error| unreadable(&error, offset))?;
            hasher.update(&bytes);
            self.progress.advance(count)?;
            bytes = self.hand_over(number, Chunk { offset, bytes })?;
            offset = offset.saturating_add(count);
        }
        Ok(Whole { size: source.size(), digest: hasher.finish() })
    }

    /// Lets a piece wait for the second digest, makes room if too many do, and returns a buffer for the next piece.
    fn hand_over(&self, number: usize, chunk: Chunk) -> Result<Vec<u8>> {
        if let Some(flight) = self.state().flights.get_mut(&number) {
            flight.waiting.push_back(chunk);
        }
        self.bell.notify_all();
        self.settle(number, self.waiting)?;
        let mut state = self.state();
        Ok(state.flights.get_mut(&number).and_then(|flight| flight.spare.pop()).unwrap_or_default())
    }

    /// Digests pieces that wait, or lets others do it, until no more than `most` are left. With none left allowed, the
    /// file has ended: its spans' digests are returned.
    fn settle(&self, number: usize, most: usize) -> Result<Vec<String>> {
        loop {
            let mut state = self.state();
            if state.lost {
                bail!("a thread that digested failed");
            }
            let Some(flight) = state.flights.get_mut(&number) else { bail!("a file's spans could not be digested") };
            if flight.waiting.len() <= most && most > 0 {
                return Ok(Vec::new());
            }
            if let Some((spans, chunk)) = flight.take() {
                drop(state);
                self.digest(number, spans, chunk)?;
            } else if flight.spans.is_some() {
                let flight = state.flights.remove(&number);
                return Ok(flight.and_then(|flight| flight.spans).map(Spans::finish).unwrap_or_default());
            } else {
                drop(self.wait(state));
            }
        }
    }

    /// Digests the spans' part of one piece.
    fn digest(&self, number: usize, mut spans: Spans<'a>, chunk: Chunk) -> Result<()> {
        let digested = spans.update(chunk.offset, &chunk.bytes);
        if let Some(flight) = self.state().flights.get_mut(&number) {
            flight.spans = Some(spans);
            flight.spare.push(chunk.bytes);
        }
        self.bell.notify_all();
        Ok(self.progress.advance(digested)?)
    }
}

impl<'a> Flight<'a> {
    /// The next piece that waits and the spans to digest it with, unless another thread has those in hand.
    fn take(&mut self) -> Option<(Spans<'a>, Chunk)> {
        if self.waiting.is_empty() {
            return None;
        }
        Some((self.spans.take()?, self.waiting.pop_front()?))
    }
}

/// Frees those that wait for a thread that panicked.
struct Alarm<'c, 'a>(&'c Crew<'a>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().lost = true;
            self.0.bell.notify_all();
        }
    }
}
