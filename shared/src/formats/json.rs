//! JSON files that belong to a checkpoint: read within a limit, duplicates refused, the place of an error named.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde_json::Value;

use crate::bytes::ReadAt;
use crate::facts::{Finding, Id, limits};

/// Reads a whole JSON file.
///
/// # Errors
/// [`Id::TooLarge`] over [`limits::JSON`] bytes, [`Id::JsonInvalid`] with the byte at which parsing stopped.
pub fn read(source: &dyn ReadAt) -> Result<Value, Finding> {
    if source.size() > limits::JSON {
        let message = "the JSON file is larger than any that belongs to a checkpoint";
        return Err(
            Finding::new(Id::TooLarge, message).needed(format!("at most {} bytes", limits::JSON), source.size())
        );
    }
    let text = source.read_vec_at(source.size(), 0).map_err(|error| super::detect::unreadable(&error))?;
    parse(&text)
}

/// Parses JSON text.
///
/// # Errors
/// [`Id::JsonInvalid`] with the byte at which parsing stopped.
pub fn parse(text: &[u8]) -> Result<Value, Finding> {
    serde_json::from_slice(text).map_err(|error| {
        let offset = byte_of(text, &error);
        Finding::new(Id::JsonInvalid, format!("the JSON cannot be parsed: {error}")).at(offset)
    })
}

/// The byte of `text` at which a parser stopped; it counts lines and columns from one.
pub fn byte_of(text: &[u8], error: &serde_json::Error) -> u64 {
    let lines = error.line().saturating_sub(1);
    let before: usize = text.split_inclusive(|&byte| byte == b'\n').take(lines).map(<[u8]>::len).sum();
    let offset = before.saturating_add(error.column().saturating_sub(1)).min(text.len());
    u64::try_from(offset).unwrap_or(u64::MAX)
}

/// A string, borrowed from the text unless it is written with escapes: headers and indexes have hundreds of thousands.
#[derive(Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'de>, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_at_which_byte() {
        let finding = parse(b"{\n \"a\": 1,\n \"b\": x}").unwrap_err();
        assert_eq!((finding.id, finding.offset), (Id::JsonInvalid, Some(17)));
    }
}
