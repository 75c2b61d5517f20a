//! Positioned reads: the one interface through which file data enters, so that an object store can stand where a
//! file stands today.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::care::{self, Care};

/// Something of a known size that can be read at any position, from many threads at once.
pub trait ReadAt: Send + Sync {
    /// Size in bytes, as it was when opened.
    fn size(&self) -> u64;

    /// Fills `buffer` from byte `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are not that many bytes (any more), or the device's own error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Reads `count` bytes from `offset` on into a new buffer. The caller has bounded `count`; what lies beyond
    /// the end is refused before anything is allocated.
    fn read_vec_at(&self, count: u64, offset: u64) -> io::Result<Vec<u8>> {
        let fits = offset.checked_add(count).is_some_and(|end| end <= self.size());
        let count = usize::try_from(count).ok().filter(|_| fits).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut buffer = vec![0; count];
        self.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }
}

/// What tells a file from a changed one, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The stamp of a file with that metadata.
    pub fn of(data: &Metadata) -> Stamp {
        let modified = (data.mtime(), data.mtime_nsec());
        Stamp { device: data.dev(), inode: data.ino(), size: data.len(), modified }
    }
}

/// An open file.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    stamp: Stamp,
    care: Option<Arc<Care>>,
}

impl FileSource {
    /// Opens a regular file.
    ///
    /// # Errors
    /// Those of opening it; [`io::ErrorKind::InvalidInput`] for what is not a regular file.
    pub fn open(path: &Path) -> io::Result<FileSource> {
        // A FIFO would block for ever on open; ask what it is before.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        Ok(FileSource { file, stamp, care: None })
    }

    /// What the file was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The open file itself, for what needs its descriptor.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl FileSource {
    /// The same file, read with care.
    pub fn with_care(self, care: Option<Arc<Care>>) -> FileSource {
        FileSource { care, ..self }
    }

    /// As [`ReadAt::read_exact_at`], of bytes that another thread has read a moment ago: they are in the page cache, so
    /// that no rate need be kept.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_again_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Asks the system to drop `count` bytes from `offset` on from its page cache; what somebody maps, or what is not
    /// yet on the disk, stays there.
    pub fn forget(&self, offset: u64, count: u64) {
        if let Some(count) = std::num::NonZeroU64::new(count) {
            // It is a wish; a file system that does not know it is no trouble.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(count), rustix::fs::Advice::DontNeed);
        }
    }
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.stamp.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(care) = &self.care else { return self.file.read_exact_at(buffer, offset) };
        let count = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        care.wait(count);
        self.file.read_exact_at(buffer, offset)?;
        let end = offset.saturating_add(count);
        if end >= self.size() {
            self.forget(0, self.size());
        } else if offset / care::WINDOW != end / care::WINDOW {
            self.forget(0, offset.saturating_sub(care::BEHIND));
        }
        Ok(())
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let rest = self.get(start..).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(rest.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}
