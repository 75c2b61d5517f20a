//! A window over a file that is parsed from its first byte on, which moves with what is read: most of the file may be only
//! passed over.

use crate::bytes::{ReadAt, to_u64, to_usize};
use crate::facts::{Finding, Id};

use super::detect::unreadable;

/// Bytes read at once.
const CHUNK: u64 = 1 << 16;

/// A position in a file, and the bytes around it.
pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    buffer: Vec<u8>,
    /// Byte of the file at which the buffer begins.
    begin: u64,
    /// Byte of the file at which the next read begins.
    at: u64,
    /// Numbers are big-endian.
    pub(super) big: bool,
    /// The finding for a file that ends too soon.
    short: (Id, &'static str),
}

impl<'a> Window<'a> {
    /// A window at the first byte of a file; `short` is what is said if it ends too soon. Numbers are little-endian.
    pub(super) fn new(source: &'a dyn ReadAt, short: (Id, &'static str)) -> Window<'a> {
        Window { source, buffer: Vec::new(), begin: 0, at: 0, big: false, short }
    }

    /// Byte of the file at which the next read begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes from here to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.source.size().saturating_sub(self.at)
    }

    fn short(&self, count: impl std::fmt::Display) -> Finding {
        Finding::new(self.short.0, self.short.1).at(self.at).needed(format!("{count} bytes"), self.left())
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Finding> {
        if count > self.left() {
            return Err(self.short(count));
        }
        self.at = self.at.saturating_add(count);
        Ok(())
    }

    /// Passes over `count` items of `bytes` bytes each.
    pub(super) fn skip_items(&mut self, count: u64, bytes: u64) -> Result<(), Finding> {
        let Some(all) = count.checked_mul(bytes) else { return Err(self.short(format!("{count} times {bytes}"))) };
        self.skip(all)
    }

    /// Takes the next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&[u8], Finding> {
        if count > self.left() {
            return Err(self.short(count));
        }
        let end = self.begin.saturating_add(to_u64(self.buffer.len()));
        if self.at < self.begin || self.at.saturating_add(count) > end {
            let size = count.max(CHUNK).min(self.left());
            self.buffer = self.source.read_vec_at(size, self.at).map_err(|error| unreadable(&error).at(self.at))?;
            self.begin = self.at;
        }
        let first = to_usize(self.at.saturating_sub(self.begin));
        self.at = self.at.saturating_add(count);
        Ok(self.buffer.get(first..).and_then(|rest| rest.get(..to_usize(count))).unwrap_or_default())
    }

    /// The next byte, which stays the next.
    pub(super) fn peek(&mut self) -> Result<u8, Finding> {
        let at = self.at;
        let byte = self.take(1)?.first().copied().unwrap_or_default();
        self.at = at;
        Ok(byte)
    }

    /// Takes a number of `N` bytes, as a little-endian one.
    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], Finding> {
        let mut bytes = [0; N];
        let big = self.big;
        bytes.copy_from_slice(self.take(to_u64(N))?);
        if big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Finding> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Finding> {
        Ok(u64::from_le_bytes(self.number()?))
    }
}
