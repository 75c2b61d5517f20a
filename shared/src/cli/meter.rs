//! The progress bar: a thread that watches the bytes go by and draws once a second has passed.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::common::When;
use super::style::bytes;
use super::voice::Voice;
use crate::document::escape;
use crate::facts::Progress;

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar moves on a terminal.
const TICK: Duration = Duration::from_millis(100);
/// Ticks whose mean is the rate shown: five seconds.
const WINDOW: usize = 50;
/// Columns for the checkpoint's name.
const NAME: usize = 32;

/// Draws until it is dropped.
pub(super) struct Meter {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Watches `progress` from here on, under the name of what is worked on.
    pub(super) fn start(progress: &Progress, name: &str, voice: &Arc<Voice>, when: When) -> Option<Meter> {
        let on_terminal = std::io::stderr().is_terminal();
        if voice.is_quiet() || when == When::Never || (when == When::Auto && !on_terminal) {
            return None;
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut watch = Watch {
            over: Arc::clone(&over),
            before: progress.seen(),
            progress: progress.clone(),
            name: short(&escape(name)),
            voice: Arc::clone(voice),
            begin: Instant::now(),
            samples: VecDeque::with_capacity(WINDOW),
        };
        let thread = std::thread::spawn(move || if on_terminal { watch.draw() } else { watch.log() });
        Some(Meter { over, thread: Some(thread) })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A bar that could not be drawn is no reason to fail.
            let _ = thread.join();
        }
    }
}

struct Watch {
    over: Arc<AtomicBool>,
    progress: Progress,
    before: (u64, u64),
    name: String,
    voice: Arc<Voice>,
    begin: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Watch {
    /// Waits for a tick; false once the work is over.
    fn wait(&self, tick: Duration) -> bool {
        let until = Instant::now().checked_add(tick);
        while !self.over.load(Ordering::Relaxed) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default();
            if left.is_zero() {
                return true;
            }
            std::thread::park_timeout(left);
        }
        false
    }

    /// Bytes done and expected since the start, and the rate of late.
    fn look(&mut self) -> (u64, u64, u64) {
        let (done, total) = self.progress.seen();
        let (done, total) = (done.saturating_sub(self.before.0), total.saturating_sub(self.before.1));
        let now = Instant::now();
        let (then, earlier) = self.samples.front().copied().unwrap_or((self.begin, 0));
        if self.samples.len() >= WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back((now, done));
        let elapsed = now.saturating_duration_since(then).as_millis();
        let moved = u128::from(done.saturating_sub(earlier)).saturating_mul(1000);
        let rate = moved.checked_div(elapsed).and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0);
        (done, total.max(done), rate)
    }

    /// A bar on the terminal.
    fn draw(&mut self) {
        let mut bar: Option<ProgressBar> = None;
        while self.wait(TICK) {
            let (done, total, rate) = self.look();
            if self.begin.elapsed() < PATIENCE || total == 0 {
                continue;
            }
            let bar = bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:28} {percent:>3} %  {msg}") {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                bar.set_prefix(self.name.clone());
                self.voice.set_bar(Some(bar.clone()));
                bar
            });
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(words(done, total, rate));
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.voice.set_bar(None);
        }
    }

    /// A line a second for a log.
    fn log(&mut self) {
        while self.wait(PATIENCE) {
            let (done, total, rate) = self.look();
            if total != 0 {
                let line = format!("{}: {}: {}\n", self.voice.tool(), self.name, words(done, total, rate));
                // There is nowhere to tell that stderr is closed.
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }
}

/// `1.20 GB of 5.00 GB, 1.10 GB/s, 3 s left`.
fn words(done: u64, total: u64, rate: u64) -> String {
    let left = total.saturating_sub(done).checked_div(rate).map(|left| match left {
        0..60 => format!(", {left} s left"),
        60..3600 => format!(", {} min {} s left", left / 60, left % 60),
        _ => format!(", {} h {} min left", left / 3600, left % 3600 / 60),
    });
    format!("{} of {}, {}/s{}", bytes(done), bytes(total), bytes(rate), left.unwrap_or_default())
}

/// The end of a name, where steps and shards differ.
fn short(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= NAME {
        return name.to_owned();
    }
    std::iter::once('…').chain(name.chars().skip(letters.saturating_sub(NAME.saturating_sub(1)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_far_how_fast_how_long() {
        assert_eq!(words(1_200_000_000, 5_000_000_000, 1_000_000_000), "1.20 GB of 5.00 GB, 1.00 GB/s, 3 s left");
        assert_eq!(words(0, 100, 0), "0 B of 100 B, 0 B/s");
        assert_eq!(words(0, 4000, 1), "0 B of 4.00 kB, 1 B/s, 1 h 6 min left");
        assert_eq!(short("a/b"), "a/b");
        assert_eq!(short(&format!("{}step-1000", "x".repeat(40))).chars().count(), NAME);
    }
}
