//! Reading so that others do not notice: no faster than asked for, and leaving nothing behind in the page cache.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes after which what lies behind is dropped from the page cache.
pub(super) const WINDOW: u64 = 32 << 20;

/// Readers of one file may be this many bytes apart.
pub(super) const BEHIND: u64 = 2 * WINDOW;

/// A limit that all readers share.
#[derive(Debug)]
pub struct Care {
    /// Bytes a second.
    rate: u64,
    /// When the next byte may be read.
    next: Mutex<Option<Instant>>,
    counted: AtomicU64,
}

impl Care {
    /// At most `rate` bytes a second, at least one.
    pub fn new(rate: u64) -> Care {
        Care { rate: rate.max(1), next: Mutex::new(None), counted: AtomicU64::new(0) }
    }

    /// Bytes that readers have waited for so far.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` more may be read.
    pub(super) fn wait(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
        let takes = Duration::from_nanos(
            u64::try_from(u128::from(bytes).saturating_mul(1_000_000_000).checked_div(self.rate.into()).unwrap_or(0))
                .unwrap_or(u64::MAX),
        );
        let now = Instant::now();
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = next.unwrap_or(now).max(now);
            *next = begin.checked_add(takes);
            begin
        };
        std::thread::sleep(begin.saturating_duration_since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_readers_together_keep_the_rate() {
        let care = Care::new(10_000_000);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| care.wait(100_000)));
            }
        });
        // Two million bytes at ten million a second; the last piece is not waited for.
        assert!(began.elapsed() >= Duration::from_millis(189), "{:?}", began.elapsed());
    }
}
