//! What long work and the people waiting for it tell each other: bytes done, and "stop".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by the threads that work and the one that draws. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
}

/// The work was asked to stop (SIGINT, SIGTERM) and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Stopped {}

impl Progress {
    /// The flag that a signal handler sets.
    pub fn stop_flag(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Announces more work, in bytes.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reports work done, in bytes.
    ///
    /// # Errors
    /// [`Stopped`] if the work should end here. Call it once a block.
    pub fn advance(&self, bytes: u64) -> Result<(), Stopped> {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.go_on()
    }

    /// Reports nothing, and asks whether to go on.
    ///
    /// # Errors
    /// [`Stopped`] if the work should end here.
    pub fn go_on(&self) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }

    /// Bytes done and bytes announced so far.
    pub fn seen(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}
