//! Digests of the values that stand in one file, fed with the file from its first byte to its last.

use crate::bytes::{to_u64, to_usize};
use crate::digests::{Algorithm, Hasher};

/// A value that stands contiguous in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// First byte.
    pub(super) offset: u64,
    /// Number of bytes.
    pub(super) bytes: u64,
}

/// Digests of sorted spans in the making.
pub(super) struct Spans<'a> {
    spans: &'a [Span],
    algorithm: Algorithm,
    /// The first span that has not begun.
    next: usize,
    /// Spans that have begun and not ended; views may overlap.
    open: Vec<(usize, Hasher)>,
    digests: Vec<String>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(spans: &'a [Span], algorithm: Algorithm) -> Spans<'a> {
        Spans { spans, algorithm, next: 0, open: Vec::new(), digests: vec![algorithm.of(&[]); spans.len()] }
    }

    /// Takes in the next piece of the file, which begins at byte `offset` of it. Returns how many bytes were digested.
    pub(super) fn update(&mut self, offset: u64, chunk: &[u8]) -> u64 {
        let end = offset.saturating_add(to_u64(chunk.len()));
        while let Some(span) = self.spans.get(self.next).filter(|span| span.offset < end) {
            if span.bytes > 0 {
                self.open.push((self.next, self.algorithm.hasher(span.bytes)));
            }
            self.next = self.next.saturating_add(1);
        }
        let mut digested = 0u64;
        for (index, mut hasher) in std::mem::take(&mut self.open) {
            let Some(span) = self.spans.get(index) else { continue };
            let last = span.offset.saturating_add(span.bytes);
            let from = to_usize(span.offset.max(offset).saturating_sub(offset));
            let to = to_usize(last.min(end).saturating_sub(offset));
            let part = chunk.get(from..to).unwrap_or_default();
            hasher.update(part);
            digested = digested.saturating_add(to_u64(part.len()));
            if last > end {
                self.open.push((index, hasher));
            } else if let Some(slot) = self.digests.get_mut(index) {
                *slot = hasher.finish();
            }
        }
        digested
    }

    /// The first byte from `at` on that belongs to a span which has not ended; none if there is none.
    pub(super) fn wanted(&self, at: u64) -> Option<u64> {
        if self.open.is_empty() { self.spans.get(self.next).map(|span| span.offset.max(at)) } else { Some(at) }
    }

    /// The digests, in the order of the spans.
    pub(super) fn finish(self) -> Vec<String> {
        self.digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_overlap_or_are_empty_are_cut_right() {
        let file: Vec<u8> = (0..=255).collect();
        let all = [(0, 0), (0, 256), (3, 1), (10, 50), (10, 60), (60, 0), (64, 64), (128, 128), (255, 1), (256, 0)];
        let spans: Vec<Span> = all.iter().map(|&(offset, bytes)| Span { offset, bytes }).collect();
        for step in [1, 7, 64, 300] {
            let mut digests = Spans::new(&spans, Algorithm::Sha256);
            assert_eq!(digests.wanted(0), Some(0));
            let digested: u64 = file.chunks(step).enumerate().map(|(n, c)| digests.update((n * step) as u64, c)).sum();
            assert_eq!(digests.wanted(256), Some(256), "an empty span at the end of the file has not begun");
            assert_eq!(digested, spans.iter().map(|span| span.bytes).sum::<u64>());
            let wanted = spans
                .iter()
                .map(|span| Algorithm::Sha256.of(&file[span.offset as usize..(span.offset + span.bytes) as usize]));
            assert_eq!(digests.finish(), wanted.collect::<Vec<_>>());
        }
    }
}
