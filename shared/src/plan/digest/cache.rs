//! Digests that are kept from run to run: what nobody has written since is not read again, unless it is its turn.
//!
//! A digest is believed while device, inode, size, and the times of the last change of content and of inode are what they
//! were. A file that was written less than two seconds before it was digested could be written again within one tick of
//! its clock, so nothing is kept of it (git's index calls such entries racy). A file that is read again although nothing
//! of this has changed, and gives other bytes, has rotted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::spans::Span;
use crate::digests::Algorithm;
use crate::facts::{Finding, Id};

/// Seconds that a file must have been left alone before its digest is kept.
const RACY: i64 = 2;

/// Which file, and in which state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(data: &Metadata) -> State {
        let (modified, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
        State { size: data.len(), modified, changed }
    }
}

/// One file's digests with one algorithm.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    device: u64,
    inode: u64,
    algorithm: String,
    state: State,
    /// Where it was seen last, if that can be written down: without links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Seconds since 1970 when it was read last.
    read: u64,
    /// It has been read since and was not the same. It is read again until it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rotten: bool,
    /// Of the whole file, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
    /// Of the values in it: first byte, number of bytes, digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<(u64, u64, String)>,
}

impl Entry {
    fn span(&self, span: Span) -> Option<&String> {
        let place = self.spans.binary_search_by(|(offset, bytes, _)| (*offset, *bytes).cmp(&(span.offset, span.bytes)));
        self.spans.get(place.ok()?).map(|(_, _, digest)| digest)
    }
}

/// What is read again although its digest is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Again {
    /// The share `number` of `shares`, told by a digest of the path: the same files each time.
    pub subset: Option<(u64, u64)>,
    /// No file is read again after this moment. Those read longest ago come first; without a subset, all have their turn.
    pub until: Option<Instant>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Files that were read for the first time, or were written since.
    pub new: u64,
    /// Files that were read again although their digests were known.
    pub again: u64,
    /// Files of which nothing was read.
    pub kept: u64,
    /// Files whose turn it was and for which no time was left; they are among those kept.
    pub put_off: u64,
    /// Files whose bytes are others although nobody wrote them.
    pub rotten: Vec<Finding>,
}

/// The digests of earlier runs and of this one. Threads may share it.
#[derive(Debug, Default)]
pub struct Cache {
    again: Again,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<(u64, u64, String), Entry>,
    audit: Audit,
}

/// The first line of the text a cache is kept as.
#[derive(Serialize, Deserialize)]
struct Head {
    cache: String,
}

/// Its last line.
#[derive(Serialize, Deserialize)]
struct Foot {
    entries: usize,
    sha256: String,
}

/// The form of the text; another one is not read.
const FORM: &str = "ckpt-hash/1";

impl Cache {
    /// An empty one.
    pub fn new(again: Again) -> Cache {
        Cache { again, ..Cache::default() }
    }

    /// Takes in what an earlier run kept.
    ///
    /// # Errors
    /// A sentence, if the text is not whole and unchanged; nothing of it is then taken in.
    pub fn read(&self, text: &str) -> Result<(), String> {
        let damaged = || "it is damaged or no cache of this program".to_owned();
        let body = text.trim_end_matches('\n').rfind('\n').map(|end| end.saturating_add(1)).ok_or_else(damaged)?;
        let (body, foot) = text.split_at(body);
        let foot: Foot = serde_json::from_str(foot).map_err(|_| damaged())?;
        if foot.sha256 != Algorithm::Sha256.of(body.as_bytes()) {
            return Err(damaged());
        }
        let mut lines = body.lines();
        let head: Option<Head> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        if head.is_none_or(|head| head.cache != FORM) {
            return Err(damaged());
        }
        let entries: Vec<Entry> =
            lines.map(|line| serde_json::from_str(line).map_err(|_| damaged())).collect::<Result<_, _>>()?;
        let keyed = entries.into_iter().map(|entry| ((entry.device, entry.inode, entry.algorithm.clone()), entry));
        self.inner().entries.extend(keyed);
        Ok(())
    }

    /// The text to keep it as.
    ///
    /// # Errors
    /// None that can happen: it is made of numbers and text.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let inner = self.inner();
        let mut text = serde_json::to_string(&Head { cache: FORM.to_owned() })?;
        text.push('\n');
        for entry in inner.entries.values() {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
        }
        let foot = Foot { entries: inner.entries.len(), sha256: Algorithm::Sha256.of(text.as_bytes()) };
        text.push_str(&serde_json::to_string(&foot)?);
        text.push('\n');
        Ok(text)
    }

    /// What came of the runs since this was asked last.
    pub fn audit(&self) -> Audit {
        std::mem::take(&mut self.inner().audit)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may still be read again.
    pub(super) fn in_time(&self) -> bool {
        self.again.until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether re-reading has a last moment, so that files are best read one by one.
    pub(super) fn is_timed(&self) -> bool {
        self.again.until.is_some()
    }

    /// Drops what is known of files that were below a folder and are gone, or have become other files. Only for a folder
    /// that was just seen: what is not mounted is not gone. Returns how many entries went.
    pub fn forget_gone(&self, folder: &Path) -> usize {
        let Ok(folder) = folder.canonicalize() else { return 0 };
        let mut inner = self.inner();
        let before = inner.entries.len();
        inner.entries.retain(|(device, inode, _), entry| {
            let path = entry.path.as_deref().map(Path::new).filter(|path| path.starts_with(&folder));
            path.is_none_or(|path| match std::fs::metadata(path) {
                Ok(data) => (data.dev(), data.ino()) == (*device, *inode),
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            })
        });
        before.saturating_sub(inner.entries.len())
    }

    /// What is known of a file in the state it is in: its digest, and those of all these spans.
    pub(super) fn known(
        &self,
        (path, data): (Option<&Path>, &Metadata),
        algorithm: Algorithm,
        whole: bool,
        spans: &[Span],
    ) -> Option<Known> {
        let mut inner = self.inner();
        let entry = inner.entries.get_mut(&(data.dev(), data.ino(), algorithm.name().to_owned()))?;
        entry.path = path.and_then(place).or(entry.path.take());
        if entry.state != State::of(data) {
            return None;
        }
        let digest = if whole { entry.whole.clone()? } else { String::new() };
        let spans = spans.iter().map(|span| entry.span(*span).cloned()).collect::<Option<_>>()?;
        Some(Known { whole: digest, spans, read: entry.read, rotten: entry.rotten })
    }

    /// Whether it is a known file's turn to be read again.
    pub(super) fn is_due(&self, path: &Path) -> bool {
        let subset = |(number, shares): (u64, u64)| share(path).checked_rem(shares) == number.checked_sub(1);
        self.again.subset.map_or(self.again.until.is_some(), subset)
    }

    /// Counts a file of which nothing was read.
    pub(super) fn count_kept(&self, put_off: bool) {
        let audit = &mut self.inner().audit;
        audit.kept = audit.kept.saturating_add(1);
        audit.put_off = audit.put_off.saturating_add(u64::from(put_off));
    }

    /// Takes in what was read of a file: `before` is its state before, `began` the moment.
    pub(super) fn learn(&self, file: &Learned<'_>) {
        let mut inner = self.inner();
        let state = State::of(file.before);
        let key = (file.before.dev(), file.before.ino(), file.algorithm.name().to_owned());
        let old = inner.entries.get(&key).filter(|entry| entry.state == state).cloned();
        let counted = if old.is_some() { &mut inner.audit.again } else { &mut inner.audit.new };
        *counted = counted.saturating_add(1);
        let spans = file.spans.iter().map(|(span, digest)| (span.offset, span.bytes, digest.clone()));
        let spans: BTreeSet<(u64, u64, String)> = spans.collect();
        let rotten = old.as_ref().and_then(|old| old.differs(file.whole, &spans));
        let mut entry = old.unwrap_or_else(|| Entry {
            device: key.0,
            inode: key.1,
            algorithm: key.2.clone(),
            state,
            path: None,
            read: 0,
            rotten: false,
            whole: None,
            spans: Vec::new(),
        });
        entry.rotten = rotten.is_some();
        entry.path = file.path.and_then(place).or(entry.path);
        if let Some((offset, needed, found)) = rotten {
            // What was right stays known, so that the file is told rotten until it is mended.
            let message = "the bytes are not those read before, though nobody has written the file since";
            let mut finding = Finding::new(Id::BitRot, message).in_file(file.name).needed(needed, found);
            finding.offset = offset;
            inner.audit.rotten.push(finding);
        } else {
            entry.read = seconds(file.began);
            entry.whole = file.whole.cloned().or(entry.whole);
            let known: BTreeSet<(u64, u64, String)> = entry.spans.into_iter().chain(spans).collect();
            entry.spans = known.into_iter().collect();
        }
        if state.modified.0.saturating_add(RACY) < i64::try_from(seconds(file.began)).unwrap_or(0) {
            inner.entries.insert(key, entry);
        } else {
            inner.entries.remove(&key);
        }
    }
}

impl Entry {
    /// The first digest that is another one now: where it begins (unless it is that of the whole file), what it was and is.
    fn differs(
        &self,
        whole: Option<&String>,
        spans: &BTreeSet<(u64, u64, String)>,
    ) -> Option<(Option<u64>, String, String)> {
        let span = spans.iter().find_map(|(offset, bytes, digest)| {
            let old = self.span(Span { offset: *offset, bytes: *bytes })?;
            (old != digest).then(|| (Some(*offset), old.clone(), digest.clone()))
        });
        let whole = self.whole.as_ref().zip(whole).filter(|(old, new)| old != new);
        span.or_else(|| whole.map(|(old, new)| (None, old.clone(), new.clone())))
    }
}

/// Digests of a file that are known already.
pub(super) struct Known {
    /// Of the whole file; empty if it was not asked for.
    pub(super) whole: String,
    /// Of the spans, in their order.
    pub(super) spans: Vec<String>,
    /// When it was read, in seconds since 1970.
    pub(super) read: u64,
    /// It was not the same when it was read last.
    pub(super) rotten: bool,
}

/// What was read of a file.
pub(super) struct Learned<'a> {
    pub(super) name: &'a str,
    pub(super) path: Option<&'a Path>,
    pub(super) before: &'a Metadata,
    pub(super) began: SystemTime,
    pub(super) algorithm: Algorithm,
    pub(super) whole: Option<&'a String>,
    pub(super) spans: Vec<(Span, String)>,
}

/// Whether two looks at a path saw one file in one state.
pub(super) fn is_same(before: &Metadata, after: &Metadata) -> bool {
    (before.dev(), before.ino()) == (after.dev(), after.ino()) && State::of(before) == State::of(after)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Where a file is, without links; none if that is not UTF-8.
fn place(path: &Path) -> Option<String> {
    path.canonicalize().ok()?.to_str().map(str::to_owned)
}

/// A number that stands for a path, the same in every run.
pub(super) fn share(path: &Path) -> u64 {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let digest = Algorithm::Sha256.of(path.as_os_str().as_encoded_bytes());
    digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
