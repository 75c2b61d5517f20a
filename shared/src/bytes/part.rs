//! A part of a file that is a file of its own, as an archive or a chunk store holds them one after another.

use std::io;

use super::{ReadAt, to_u64, to_usize};

/// Bytes read ahead at either end: there stand the headers and the directory of a small archive.
const AHEAD: u64 = 2048;

/// A range of a source, itself a source. Its ends are read once, so that small reads there cost none of their own.
pub struct Part<'s> {
    source: &'s dyn ReadAt,
    start: u64,
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<'s> Part<'s> {
    /// The `size` bytes of `source` from byte `start` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the source has not so many bytes, or its own error.
    pub fn new(source: &'s dyn ReadAt, start: u64, size: u64) -> io::Result<Part<'s>> {
        if start.checked_add(size).is_none_or(|end| end > source.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let small = size <= AHEAD.saturating_mul(2);
        let head = source.read_vec_at(if small { size } else { AHEAD }, start)?;
        let tail = if small { 0 } else { AHEAD };
        let tail = source.read_vec_at(tail, start.saturating_add(size).saturating_sub(tail))?;
        Ok(Part { source, start, size, head, tail })
    }
}

impl ReadAt for Part<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(to_u64(buffer.len())).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let tail = self.size.saturating_sub(to_u64(self.tail.len()));
        for (start, ahead) in [(0, &self.head), (tail, &self.tail)] {
            let begin = offset.checked_sub(start).map(to_usize);
            let range = begin.and_then(|begin| Some(begin..begin.checked_add(buffer.len())?));
            if let Some(bytes) = range.and_then(|range| ahead.get(range)) {
                buffer.copy_from_slice(bytes);
                return Ok(());
            }
        }
        let at = self.start.checked_add(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact_at(buffer, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_as_the_range_it_is() {
        let bytes: Vec<u8> = (0..10_000u32).map(|number| number.to_le_bytes()[0]).collect();
        for (start, size) in [(0, 10_000), (7, 9_000), (7, 3), (9_999, 0)] {
            let part = Part::new(&bytes, start, size).unwrap();
            let whole = part.read_vec_at(size, 0).unwrap();
            assert_eq!(whole, bytes.read_vec_at(size, start).unwrap());
            for at in [0, 1, 2040, 2048, 5000, 8990].into_iter().filter(|at| at + 3 <= size) {
                assert_eq!(part.read_vec_at(3, at).unwrap(), bytes.read_vec_at(3, start + at).unwrap());
            }
            let mut beyond = [0; 1];
            assert!(part.read_exact_at(&mut beyond, size).is_err());
        }
        assert!(Part::new(&bytes, 9_999, 2).is_err());
        assert!(Part::new(&bytes, u64::MAX, 2).is_err());
    }
}
