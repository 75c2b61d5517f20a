//! Long runs of zero bytes, found page by page and joined piece by piece.

use crate::bytes::to_u64;

/// The shortest run that is told: no weight has that many zeros in a row by chance, and what a lost write leaves is
/// as long as a device's or file system's unit, most often far longer.
pub const LONG: u64 = 64 << 10;

/// Runs of at least [`LONG`] zero bytes in a stretch of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZeroRuns {
    /// Number of runs.
    pub count: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// First byte and length of the longest one; of several, the first.
    pub longest: (u64, u64),
    /// Bytes seen.
    len: u64,
    /// Zero bytes before the first other one: all that were seen, as long as there is none.
    leading: u64,
    /// Zero bytes after the last other one.
    open: u64,
}

impl ZeroRuns {
    /// Takes in the next bytes, at most a page of them; `zero` says that all of them are.
    pub(super) fn update(&mut self, bytes: &[u8], zero: bool) {
        let len = to_u64(bytes.len());
        // Where no run reaches these bytes, it does not matter how they begin.
        let head = match zero {
            true => len,
            false if self.open > 0 || self.leading == self.len => to_u64(bytes.iter().take_while(|b| **b == 0).count()),
            false => 0,
        };
        let open = if zero { len } else { to_u64(bytes.iter().rev().take_while(|b| **b == 0).count()) };
        self.join(&ZeroRuns { len, leading: head, open, ..ZeroRuns::default() });
    }

    /// Takes in the stretch that follows this one.
    pub(super) fn join(&mut self, next: &ZeroRuns) {
        if self.leading == self.len {
            self.leading = self.leading.saturating_add(next.leading);
        } else if next.leading == next.len {
            self.open = self.open.saturating_add(next.len);
        } else {
            self.close(self.len.saturating_sub(self.open), self.open.saturating_add(next.leading));
        }
        self.count = self.count.saturating_add(next.count);
        self.bytes = self.bytes.saturating_add(next.bytes);
        if next.longest.1 > self.longest.1 {
            self.longest = (self.len.saturating_add(next.longest.0), next.longest.1);
        }
        if next.leading < next.len {
            self.open = next.open;
        }
        self.len = self.len.saturating_add(next.len);
    }

    /// The end of the bytes.
    pub(super) fn finish(mut self) -> ZeroRuns {
        let (leading, inner) = (self.leading, self.longest);
        if leading < self.len {
            self.close(self.len.saturating_sub(self.open), self.open);
        }
        self.close(0, leading);
        if leading >= LONG && leading >= inner.1 && leading >= self.longest.1 {
            self.longest = (0, leading);
        }
        self
    }

    fn close(&mut self, start: u64, run: u64) {
        if run >= LONG {
            self.count = self.count.saturating_add(1);
            self.bytes = self.bytes.saturating_add(run);
            if run > self.longest.1 {
                self.longest = (start, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::scan::lanes::PAGE;

    fn scanned(bytes: &[u8]) -> ZeroRuns {
        let mut runs = ZeroRuns::default();
        for page in bytes.chunks(PAGE) {
            runs.update(page, page.iter().all(|byte| *byte == 0));
        }
        runs
    }

    /// Every run, the slow and plain way.
    fn plain(bytes: &[u8]) -> (u64, u64, (u64, u64)) {
        let (mut at, mut found, mut longest) = (0u64, Vec::new(), (0, 0));
        for run in bytes.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            if run[0] == 0 && run.len() as u64 >= LONG {
                found.push(run.len() as u64);
                longest = if run.len() as u64 > longest.1 { (at, run.len() as u64) } else { longest };
            }
            at += run.len() as u64;
        }
        (found.len() as u64, found.iter().sum(), longest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_are_found_wherever_the_bytes_are_cut(
            runs in proptest::collection::vec((any::<bool>(), prop_oneof![1usize..9000, 60_000usize..140_000]), 1..6),
            cuts in proptest::collection::vec(0usize..400_000, 0..4),
        ) {
            let bytes: Vec<u8> = runs.iter().flat_map(|&(zero, len)| vec![u8::from(!zero); len]).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut joined = ZeroRuns::default();
            for pair in cuts.windows(2) {
                joined.join(&scanned(&bytes[pair[0]..pair[1]]));
            }
            let found = joined.finish();
            prop_assert_eq!((found.count, found.bytes, found.longest), plain(&bytes));
        }
    }
}
