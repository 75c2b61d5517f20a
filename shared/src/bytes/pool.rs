//! The files of a checkpoint, opened when first read and never too many at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::source::Stamp;
use super::{Care, FileSource, ReadAt};
use crate::facts::{FileId, Finding, Id};

/// Files kept open: well below the 1024 descriptors a process has by default.
const OPEN: usize = 256;

/// A table of files that can be read by id.
#[derive(Debug, Default)]
pub struct Pool {
    paths: Vec<PathBuf>,
    names: Vec<String>,
    open: Mutex<Open>,
    care: Option<Arc<Care>>,
}

#[derive(Debug, Default)]
struct Open {
    sources: VecDeque<(FileId, Arc<FileSource>)>,
    /// What each file was when it was first opened.
    stamps: BTreeMap<FileId, Stamp>,
}

impl Pool {
    /// An empty table.
    pub fn new() -> Pool {
        Pool::default()
    }

    /// Adds a file by where it is and by the name that messages give it.
    pub fn add(&mut self, path: PathBuf, name: String) -> FileId {
        self.paths.push(path);
        self.names.push(name);
        FileId(self.paths.len().saturating_sub(1))
    }

    /// Reads with care from now on.
    pub fn set_care(&mut self, care: Option<Arc<Care>>) {
        self.care = care;
        self.open.get_mut().unwrap_or_else(PoisonError::into_inner).sources.clear();
    }

    /// The name that messages give a file.
    pub fn name(&self, file: FileId) -> &str {
        self.names.get(file.0).map_or("", String::as_str)
    }

    /// Where a file is.
    pub fn path(&self, file: FileId) -> Option<&Path> {
        self.paths.get(file.0).map(PathBuf::as_path)
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The open file.
    ///
    /// # Errors
    /// Those of opening it; [`io::ErrorKind::NotFound`] for an id of another pool.
    pub fn get(&self, file: FileId) -> io::Result<Arc<FileSource>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, source)) = open.sources.iter().find(|(id, _)| *id == file) {
            return Ok(Arc::clone(source));
        }
        let path = self.paths.get(file.0).ok_or(io::ErrorKind::NotFound)?;
        let source = Arc::new(FileSource::open(path)?.with_care(self.care.clone()));
        if open.sources.len() >= OPEN {
            open.sources.pop_front();
        }
        open.sources.push_back((file, Arc::clone(&source)));
        open.stamps.entry(file).or_insert(source.stamp());
        Ok(source)
    }

    /// Fills `buffer` from byte `offset` of a file.
    ///
    /// # Errors
    /// Those of opening and reading it.
    pub fn read_exact_at(&self, file: FileId, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.get(file)?.read_exact_at(buffer, offset)
    }

    /// Holds every file that was opened against what it was when it was first opened.
    ///
    /// # Errors
    /// A finding `file-changed` that names the first one that is shorter, longer, written to, replaced or gone: what was
    /// read of it may be a mixture.
    pub fn unchanged(&self) -> Result<(), Finding> {
        self.unchanged_among(|_| true)
    }

    /// The same, of those files that count.
    ///
    /// # Errors
    /// As [`Pool::unchanged`].
    pub fn unchanged_among(&self, counts: impl Fn(FileId) -> bool) -> Result<(), Finding> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |file: &FileId| std::fs::metadata(self.paths.get(file.0)?).ok().map(|data| Stamp::of(&data));
        let mut stamps = open.stamps.iter().filter(|(file, _)| counts(**file));
        let Some((file, was)) = stamps.find(|(file, stamp)| now(file).as_ref() != Some(*stamp)) else {
            return Ok(());
        };
        let message = match now(file) {
            None => "the file went away while it was being read",
            Some(is) if is.size < was.size => "the file became shorter while it was being read",
            Some(is) if is.size > was.size => "the file became longer while it was being read",
            Some(is) if is.inode != was.inode => "the file was replaced while it was being read",
            Some(_) => "the file was written to while it was being read",
        };
        Err(Finding::new(Id::FileChanged, message).in_file(self.name(*file)))
    }
}
