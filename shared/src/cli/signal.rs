//! SIGINT and SIGTERM: the first asks the work to stop and clean up, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::facts::Progress;

/// Which signal has come, if any.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    came: Arc<AtomicUsize>,
}

impl Signals {
    /// Listens from now on; a signal raises `progress`'s stop flag.
    pub(super) fn listen(progress: &Progress) -> std::io::Result<Signals> {
        let signals = Signals::default();
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or(0);
            // Handlers run in the order they were registered: the first ends the process only if a signal has come before.
            flag::register_conditional_shutdown(signal, signal.saturating_add(128), Arc::clone(progress.stop_flag()))?;
            flag::register_usize(signal, Arc::clone(&signals.came), number)?;
            flag::register(signal, Arc::clone(progress.stop_flag()))?;
        }
        Ok(signals)
    }

    /// The exit code of a process that a signal ended, once one has come.
    pub(super) fn code(&self) -> Option<u8> {
        let number = u8::try_from(self.came.load(Ordering::Relaxed)).ok()?;
        (number != 0).then(|| number.saturating_add(128))
    }
}
