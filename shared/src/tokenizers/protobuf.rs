//! The wire form of protocol buffers, as much as a SentencePiece model needs: fields one after the other.

use crate::bytes::{Cursor, Short};
use crate::facts::{Finding, Id};

/// What a field holds, by its wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Type 0: a number.
    Varint(u64),
    /// Type 1: eight bytes.
    Fixed64([u8; 8]),
    /// Type 2: text, bytes or a message; the offset is that of its first byte in the file.
    Bytes(&'a [u8], u64),
    /// Type 5: four bytes.
    Fixed32([u8; 4]),
}

fn cut_off(short: Short) -> Finding {
    Finding::new(Id::TokenizerInvalid, "the SentencePiece model ends in the middle of a field")
        .at(short.offset)
        .needed(short.needed, short.left)
}

/// A number of seven bits a byte, low ones first, the top bit saying that more follow.
fn varint(cursor: &mut Cursor<'_>) -> Result<u64, Finding> {
    let start = cursor.offset();
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = cursor.u8().map_err(cut_off)?;
        number |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Finding::new(Id::TokenizerInvalid, "a number in the SentencePiece model does not fit 64 bits").at(start))
}

/// The next field: its number, its value. `None` at the end of the message.
pub(super) fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<(u64, Value<'a>)>, Finding> {
    if cursor.rest().is_empty() {
        return Ok(None);
    }
    let start = cursor.offset();
    let key = varint(cursor)?;
    let value = match key & 7 {
        0 => Value::Varint(varint(cursor)?),
        1 => Value::Fixed64(cursor.array().map_err(cut_off)?),
        2 => {
            let size = varint(cursor)?;
            let offset = cursor.offset();
            Value::Bytes(cursor.take(size).map_err(cut_off)?, offset)
        }
        5 => Value::Fixed32(cursor.array().map_err(cut_off)?),
        other => {
            let message = format!("a field of the SentencePiece model has wire type {other}, which does not exist");
            return Err(Finding::new(Id::TokenizerInvalid, message).at(start));
        }
    };
    Ok(Some((key >> 3, value)))
}

/// Appends a number.
fn put(mut number: u64, file: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            file.push(low & 0x7F);
            return;
        }
        file.push(low | 0x80);
    }
}

/// Appends a field with a number. Negative ones go in as their two's complement, as protobuf's `int32` does.
pub(super) fn put_number(field: u64, number: u64, file: &mut Vec<u8>) {
    put(field << 3, file);
    put(number, file);
}

/// Appends a field of four bytes.
pub(super) fn put_fixed32(field: u64, bytes: [u8; 4], file: &mut Vec<u8>) {
    put(field << 3 | 5, file);
    file.extend_from_slice(&bytes);
}

/// Appends a field of text, bytes, or a message.
pub(super) fn put_bytes(field: u64, bytes: &[u8], file: &mut Vec<u8>) {
    put(field << 3 | 2, file);
    put(u64::try_from(bytes.len()).unwrap_or(u64::MAX), file);
    file.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_put(number in any::<u64>(), bytes in any::<[u8; 4]>(), field_number in 1u64..1000) {
            let mut file = Vec::new();
            put_number(field_number, number, &mut file);
            put_fixed32(field_number, bytes, &mut file);
            put_bytes(field_number, &bytes, &mut file);
            let mut cursor = Cursor::new(&file, 0);
            prop_assert_eq!(field(&mut cursor).unwrap(), Some((field_number, Value::Varint(number))));
            prop_assert_eq!(field(&mut cursor).unwrap(), Some((field_number, Value::Fixed32(bytes))));
            let offset = u64::try_from(file.len().saturating_sub(4)).unwrap();
            prop_assert_eq!(field(&mut cursor).unwrap(), Some((field_number, Value::Bytes(&bytes, offset))));
            prop_assert_eq!(field(&mut cursor).unwrap(), None);
        }
    }

    #[test]
    fn what_does_not_end_or_does_not_exist_is_said() {
        assert_eq!(field(&mut Cursor::new(&[0x0A, 5, 1], 7)).unwrap_err().offset, Some(9));
        assert_eq!(field(&mut Cursor::new(&[0xFF; 11], 0)).unwrap_err().offset, Some(0));
        assert!(field(&mut Cursor::new(&[0x0B], 0)).unwrap_err().message.contains("wire type 3"));
    }
}
