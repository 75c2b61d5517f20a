//! What a tool is given beside the checkpoint: threads, progress, grades, a way to warn.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use super::policy::Policy;
use super::voice::Voice;
use crate::document::{Document, FindingRecord, Grade, Status};
use crate::facts::{Finding, Progress};
use crate::layouts::{Layout, Weights};

/// What holds for a whole run. Threads may share it.
#[derive(Debug)]
pub struct Context {
    /// Threads to use.
    pub jobs: NonZeroUsize,
    /// Where work is announced and reported, and where a signal is noticed.
    pub progress: Progress,
    /// How findings are graded.
    pub policy: Policy,
    /// The layout to read the paths as (`--from`), if it is not to be found out.
    pub from: Option<Layout>,
    /// Which weights are meant where a trainer keeps two (`--weights`).
    pub weights: Weights,
    pub(super) voice: Arc<Voice>,
    pub(super) now: Mutex<Now>,
}

/// What is being worked on.
#[derive(Debug, Default)]
pub(super) struct Now {
    /// Its path, for people.
    pub(super) path: String,
    /// The worst grade warned of so far.
    pub(super) worst: Option<Grade>,
}

impl Context {
    /// Tells people of something found on the way (`-q` silences it) and lets it count for the status, as `--severity`
    /// and `--fail-on` will have it. Gives the record back for a section; `None` if it is ignored.
    pub fn warn(&self, finding: &Finding) -> Option<FindingRecord> {
        let record = self.policy.record(finding)?;
        let path = self.now.lock().map_or_else(
            |_| String::new(),
            |mut now| {
                now.worst = now.worst.max(Some(record.severity));
                now.path.clone()
            },
        );
        let mut text = format!("{path}: {finding}");
        if let Some(fix) = &finding.fix {
            text.push_str("\n  ");
            text.push_str(fix);
        }
        self.voice.say(Some(record.severity), &text);
        Some(record)
    }

    /// Tells people something, about the checkpoint at hand if there is one, that counts for nothing.
    pub fn say(&self, text: &str) {
        let path = self.now.lock().map_or_else(|_| String::new(), |now| now.path.clone());
        // Before the first checkpoint there is no path to speak of.
        let text = if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") };
        self.voice.say(None, &text);
    }

    /// Whether a document may be worked on by a tool that makes something of it: one that is not ok is passed on,
    /// unless somebody asked for it `anyway`. Says so on stderr.
    pub fn admits(&self, document: &Document, anyway: bool) -> bool {
        let admitted = anyway || document.status == Status::Ok;
        if !admitted {
            self.say(&format!("passed on as it is: its status is \"{}\" (--anyway overrides)", document.status.name()));
        }
        admitted
    }

    /// The answer that the warnings so far give, for the document at hand.
    pub(super) fn warned(&self) -> Status {
        let worst = self.now.lock().ok().and_then(|now| now.worst);
        if worst.is_some_and(|grade| self.policy.fails(grade)) { Status::Findings } else { Status::Ok }
    }

    /// Turns to the next document.
    pub(super) fn turn_to(&self, path: &str) {
        if let Ok(mut now) = self.now.lock() {
            *now = Now { path: path.to_owned(), worst: None };
        }
    }
}
