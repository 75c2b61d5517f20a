//! A window over the header of a GGUF file, which moves with what is read: a vocabulary makes headers of megabytes,
//! most of which is only passed over.

use crate::bytes::{ReadAt, to_u64, to_usize};
use crate::facts::{Finding, Id, limits};
use crate::formats::detect::unreadable;

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
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Window<'a> {
        Window { source, buffer: Vec::new(), begin: 0, at: 0, big: false }
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
        let message = "the file ends inside its header";
        Finding::new(Id::GgufTruncated, message).at(self.at).needed(format!("{count} bytes"), self.left())
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

    /// Takes the bytes of a string.
    pub(super) fn string(&mut self) -> Result<&[u8], Finding> {
        let place = self.at;
        let length = self.u64()?;
        if length > self.left() {
            self.at = place;
            let message = "a string of the header goes on beyond the end of the file";
            return Err(Finding::new(Id::GgufTruncated, message)
                .at(place)
                .needed(format!("{length} bytes"), self.left()));
        }
        if length > limits::GGUF_STRING {
            let message = "a string of the header is longer than any real one";
            let most = format!("at most {} bytes", limits::GGUF_STRING);
            return Err(Finding::new(Id::TooLarge, message).at(place).needed(most, length));
        }
        self.take(length)
    }

    /// Passes over a string.
    pub(super) fn skip_string(&mut self) -> Result<(), Finding> {
        let length = self.u64()?;
        self.skip(length)
    }
}
