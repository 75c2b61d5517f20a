//! The digesting sink: digests of values, and of files together with the values that stand in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::{Context, Result};

use super::blocks::BLOCK;
use super::read::Reader;
use crate::bytes::{Pool, ReadAt, to_usize, work};
use crate::digests::{Algorithm, Hasher};
use crate::facts::{FileId, Finding, Id, Progress, Recipe};

/// Bytes read at once by the one pass over a file: they should still be in the cache for the second digest.
const CHUNK: u64 = 1 << 20;

/// Chunks that may wait for the slower of the two digests.
const WAITING: usize = 4;

/// Digests of values, each made once however often it is named, in the order given.
///
/// # Errors
/// Those of reading.
pub fn values(
    reader: &Reader<'_>,
    recipes: &[&Recipe],
    algorithm: Algorithm,
    jobs: usize,
    progress: &Progress,
) -> Result<Vec<String>> {
    // The largest first, so that no thread begins one when the others are done.
    let mut order: Vec<usize> = (0..recipes.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(recipes.get(index).map_or(0, |recipe| recipe.len_bytes())));
    let digests = work::map(jobs, &order, |&index| {
        let recipe = recipes.get(index).context("a number of a recipe")?;
        let mut hasher = algorithm.hasher();
        reader.stream(recipe, BLOCK, progress, |_, bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        anyhow::Ok((index, hasher.finish()))
    })?;
    let sorted: BTreeMap<usize, String> = digests.into_iter().collect();
    Ok(sorted.into_values().collect())
}

/// A value that stands contiguous in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// The digest of a file and of the values that stand in it, in one pass: one thread reads and digests the file, a
/// second one the values. `spans` are sorted; their digests come back in their order.
///
/// # Errors
/// A finding if the file cannot be read, or changes while it is.
pub fn file(
    pool: &Pool,
    file: FileId,
    spans: &[Span],
    algorithm: Algorithm,
    both: bool,
    progress: &Progress,
) -> Result<(String, Vec<String>)> {
    let unreadable = |error: &std::io::Error| crate::formats::detect::unreadable(error).in_file(pool.name(file));
    let source = pool.get(file).map_err(|error| unreadable(&error))?;
    let mut whole = algorithm.hasher();
    let spare: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let recycle = |chunk: Arc<Vec<u8>>| {
        if let Some(buffer) = Arc::into_inner(chunk) {
            spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    };
    let mut inline = Spans::new(spans, algorithm);
    let digests = std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<(u64, Arc<Vec<u8>>)>(WAITING);
        let second = both.then(|| {
            let recycle = &recycle;
            scope.spawn(move || {
                let mut spans = Spans::new(spans, algorithm);
                for (offset, chunk) in receive {
                    spans.update(offset, &chunk);
                    recycle(chunk);
                }
                spans.finish()
            })
        });
        let mut offset = 0;
        while offset < source.size() {
            let bytes = source.size().saturating_sub(offset).min(CHUNK);
            let buffer = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut buffer = buffer.unwrap_or_default();
            buffer.resize(to_usize(bytes), 0);
            source.read_exact_at(&mut buffer, offset).map_err(|error| unreadable(&error))?;
            let chunk = Arc::new(buffer);
            if both {
                // The receiver only ends when this sender does.
                let _ = send.send((offset, Arc::clone(&chunk)));
            } else {
                inline.update(offset, &chunk);
            }
            whole.update(&chunk);
            recycle(chunk);
            progress.advance(bytes)?;
            offset = offset.saturating_add(bytes);
        }
        drop(send);
        Ok::<_, anyhow::Error>(match second {
            Some(thread) => thread.join().map_err(|_| anyhow::anyhow!("a digesting thread failed"))?,
            None => inline.finish(),
        })
    })?;
    if pool.changed() == Some(file) {
        let message = "the file changed while it was being read";
        return Err(Finding::new(Id::FileChanged, message).in_file(pool.name(file)).into());
    }
    Ok((whole.finish(), digests))
}

/// Digests of spans, fed with a file from its first byte to its last.
struct Spans<'a> {
    spans: &'a [Span],
    algorithm: Algorithm,
    /// The first span that has not begun.
    next: usize,
    /// Spans that have begun and not ended; views may overlap.
    open: Vec<(usize, Hasher)>,
    digests: Vec<String>,
}

impl<'a> Spans<'a> {
    fn new(spans: &'a [Span], algorithm: Algorithm) -> Spans<'a> {
        Spans { spans, algorithm, next: 0, open: Vec::new(), digests: vec![algorithm.of(&[]); spans.len()] }
    }

    fn update(&mut self, offset: u64, chunk: &[u8]) {
        let end = offset.saturating_add(crate::bytes::to_u64(chunk.len()));
        while let Some(span) = self.spans.get(self.next).filter(|span| span.offset < end) {
            if span.bytes > 0 {
                self.open.push((self.next, self.algorithm.hasher()));
            }
            self.next = self.next.saturating_add(1);
        }
        let mut still = Vec::new();
        for (index, mut hasher) in self.open.drain(..) {
            let Some(span) = self.spans.get(index) else { continue };
            let last = span.offset.saturating_add(span.bytes);
            let from = to_usize(span.offset.max(offset).saturating_sub(offset));
            let to = to_usize(last.min(end).saturating_sub(offset));
            hasher.update(chunk.get(from..to).unwrap_or_default());
            if last > end {
                still.push((index, hasher));
            } else if let Some(slot) = self.digests.get_mut(index) {
                *slot = hasher.finish();
            }
        }
        self.open = still;
    }

    fn finish(self) -> Vec<String> {
        self.digests
    }
}
