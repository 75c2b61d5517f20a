//! Which files of a checkpoint count: all but manifests, caches, and what the user leaves out.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::facts::FileId;
use crate::layouts::{Checkpoint, Layout};

/// Which file something is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// The identity of an open or looked-at file.
    pub fn of(data: &Metadata) -> Identity {
        Identity(data.dev(), data.ino())
    }
}

/// Which files are left alone.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Files the user leaves out, by path relative to the checkpoint.
    pub excluded: &'a dyn Fn(&str) -> bool,
    /// The manifest itself and whatever else is being written.
    pub own: &'a [Identity],
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Scope<'_> {
    /// The files that count, sorted by path. `.git`, `.cache` and unfinished conversions have never been listed.
    pub fn files(&self, checkpoint: &Checkpoint) -> Vec<FileId> {
        let counts = |name: &str, path: &Path| {
            // A single file that was named counts whatever it is called.
            (checkpoint.layout == Layout::File || !is_manifest(name)) && !(self.excluded)(name) && !self.is_own(path)
        };
        let entries = checkpoint.files.iter().enumerate();
        entries.filter(|(_, entry)| counts(&entry.name, &entry.path)).map(|(place, _)| FileId(place)).collect()
    }

    fn is_own(&self, path: &Path) -> bool {
        !self.own.is_empty() && std::fs::metadata(path).is_ok_and(|data| self.own.contains(&Identity::of(&data)))
    }
}

/// Whether a file is a list of digests by its name: it cannot hold its own.
fn is_manifest(name: &str) -> bool {
    let own = name.rsplit('/').next().unwrap_or(name);
    own == "checklist.chk" || own.ends_with(".sha256")
}
