//! A cursor over a buffer that never reads past its end and always knows where it stands.

use std::fmt;

/// A read past the end of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Byte of the file at which the read began.
    pub offset: u64,
    /// Bytes asked for.
    pub needed: u64,
    /// Bytes left there.
    pub left: u64,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes needed at byte {}, {} left", self.needed, self.offset, self.left)
    }
}

impl std::error::Error for Short {}

/// A position in a buffer.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `buffer`, whose first byte is byte `offset` of the file it came from.
    pub fn new(buffer: &'a [u8], offset: u64) -> Cursor<'a> {
        Cursor { rest: buffer, offset }
    }

    /// Byte of the file at which the next read begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], Short> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let Some((taken, rest)) = split else {
            let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
            return Err(Short { offset: self.offset, needed: count, left });
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let count = u64::try_from(N).unwrap_or(u64::MAX);
        let mut array = [0; N];
        array.copy_from_slice(self.take(count)?);
        Ok(array)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, Short> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Takes a little-endian 16-bit number.
    pub fn u16(&mut self) -> Result<u16, Short> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Takes a little-endian 32-bit number.
    pub fn u32(&mut self) -> Result<u32, Short> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes a little-endian 64-bit number.
    pub fn u64(&mut self) -> Result<u64, Short> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_says_where_and_takes_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3], 100);
        assert_eq!(cursor.u16(), Ok(0x0201));
        assert_eq!(cursor.u32(), Err(Short { offset: 102, needed: 4, left: 1 }));
        assert_eq!(cursor.u8(), Ok(3));
        assert_eq!(cursor.take(u64::MAX), Err(Short { offset: 103, needed: u64::MAX, left: 0 }));
    }
}
