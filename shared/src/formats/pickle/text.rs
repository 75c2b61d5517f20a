//! The text forms of protocol 0, and integers of any length.

use std::borrow::Cow;

use super::Value;

/// A decimal integer line: `INT` (where `00` and `01` are truth values) and `LONG` (which may end in `L`).
pub(super) fn int<'a>(line: &[u8], long: bool) -> Option<Value<'a>> {
    let text = std::str::from_utf8(line).ok()?.trim();
    match text {
        "00" if !long => return Some(Value::Bool(false)),
        "01" if !long => return Some(Value::Bool(true)),
        _ => {}
    }
    let digits = if long { text.strip_suffix('L').unwrap_or(text) } else { text };
    if let Ok(value) = digits.parse() {
        return Some(Value::Int(value));
    }
    let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    (!plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit())).then(|| Value::Big(digits.to_owned()))
}

/// An integer in two's complement, least significant byte first.
pub(super) fn long<'a>(bytes: &[u8]) -> Value<'a> {
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    if let Some(low) = wide.get_mut(..bytes.len()) {
        low.copy_from_slice(bytes);
        let value = i128::from_le_bytes(wide);
        return i64::try_from(value).map_or_else(|_| Value::Big(value.to_string()), Value::Int);
    }
    let mut text = String::from("0x");
    for byte in bytes.iter().rev() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    Value::Big(text)
}

/// A float line. Rust reads the spellings that Python writes, `inf` and `nan` among them.
pub(super) fn float(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// How bytes that should be text are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    /// UTF-8 but for halves of surrogate pairs, as Python pickles file names that are no text.
    Surrogates,
    Neither,
}

/// The encoding of a text.
pub(super) fn encoding(mut bytes: &[u8]) -> Encoding {
    let mut found = Encoding::Utf8;
    while let Err(error) = std::str::from_utf8(bytes) {
        let Some([0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..]) = bytes.get(error.valid_up_to()..) else {
            return Encoding::Neither;
        };
        (found, bytes) = (Encoding::Surrogates, rest);
    }
    found
}

/// A `str` of Python 2: text where it is UTF-8, bytes otherwise.
pub(super) fn string(bytes: &[u8]) -> Value<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Str(Cow::Borrowed(text)),
        Err(_) => Value::Bytes(Cow::Borrowed(bytes)),
    }
}

/// A quoted line with Python's escapes (`STRING`).
pub(super) fn quoted<'a>(line: &[u8]) -> Option<Value<'a>> {
    let line = line.trim_ascii();
    let inner = [b"'", b"\""].iter().find_map(|quote| {
        let inner = line.strip_prefix(quote.as_slice())?;
        inner.strip_suffix(quote.as_slice())
    })?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        if matches!(escape, b'0'..=b'7') {
            bytes.push(u8::try_from(digits(&mut rest, 8, 1, 3)? & 0xff).ok()?);
            continue;
        }
        rest = after;
        match escape {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'f' => bytes.push(12),
            b'v' => bytes.push(11),
            b'\\' | b'\'' | b'"' => bytes.push(escape),
            b'x' => bytes.push(u8::try_from(digits(&mut rest, 16, 2, 2)?).ok()?),
            other => bytes.extend([b'\\', other]),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => Value::Str(Cow::Owned(text)),
        Err(error) => Value::Bytes(Cow::Owned(error.into_bytes())),
    })
}

/// A line of Latin-1 in which `\uXXXX` and `\UXXXXXXXX` are escapes and nothing else is (`UNICODE`).
pub(super) fn unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits_wanted = match (byte, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                continue;
            }
        };
        rest = rest.get(1..)?;
        let point = digits(&mut rest, 16, digits_wanted, digits_wanted)?;
        text.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    Some(text)
}

/// Takes at least `least` and at most `most` (at most eight) digits.
fn digits(rest: &mut &[u8], radix: u32, least: usize, most: usize) -> Option<u32> {
    let count = rest.iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    (count >= least).then(|| std::str::from_utf8(taken).ok().and_then(|text| u32::from_str_radix(text, radix).ok()))?
}
