//! Holes of a sparse file: ranges that no block of the disk stands for, and that read as zeros.

use std::io;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::{FileSource, ReadAt};

/// Calls `hole` with first byte and length of every hole, in order, until it says stop. A file system that does not
/// know of holes has none.
///
/// # Errors
/// Those of the file system.
pub fn each(source: &FileSource, mut hole: impl FnMut(u64, u64) -> bool) -> io::Result<()> {
    let mut at = 0;
    while at < source.size() {
        let start = match seek(source.file(), SeekFrom::Hole(at)) {
            Ok(start) => start,
            // Not known here, or the file has become shorter.
            Err(Errno::INVAL | Errno::NXIO | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if start >= source.size() {
            return Ok(());
        }
        let end = match seek(source.file(), SeekFrom::Data(start)) {
            // A file system that finds data where it found a hole would keep us here for ever.
            Ok(end) if end > start => end.min(source.size()),
            Ok(_) => return Ok(()),
            // No data up to the end.
            Err(Errno::NXIO) => source.size(),
            Err(error) => return Err(error.into()),
        };
        if !hole(start, end.saturating_sub(start)) {
            return Ok(());
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn holes(fill: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        for (at, len) in fill {
            file.as_file().write_all_at(&vec![1; *len as usize], *at).unwrap();
        }
        let mut found = Vec::new();
        let source = FileSource::open(file.path()).unwrap();
        each(&source, |start, len| {
            found.push((start, len));
            true
        })
        .unwrap();
        found
    }

    #[test]
    fn holes_are_found_and_full_files_have_none() {
        const MIB: u64 = 1 << 20;
        assert_eq!(holes(&[(0, 10_000)], 10_000), []);
        assert_eq!(holes(&[], 0), []);
        let found = holes(&[(0, MIB), (3 * MIB, MIB)], 6 * MIB);
        // Where the temporary folder knows of no holes there are none.
        assert!(found.is_empty() || found == [(MIB, 2 * MIB), (4 * MIB, 2 * MIB)], "{found:?}");
    }
}
