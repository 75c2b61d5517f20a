//! The values that a GGUF header keeps under its keys.

use serde_json::{Number, Value};

use super::strings::{skip_string, string};
use crate::facts::{Finding, Id, limits};
use crate::formats::window::Window;

/// The number of a type of value, the bytes of one, and its name (`GGUFValueType` of gguf-py); a string's bytes vary.
const KINDS: &[(u32, u64, &str)] = &[
    (0, 1, "u8"),
    (1, 1, "i8"),
    (2, 2, "u16"),
    (3, 2, "i16"),
    (4, 4, "u32"),
    (5, 4, "i32"),
    (6, 4, "f32"),
    (7, 1, "bool"),
    (STRING, 0, "string"),
    (ARRAY, 0, "array"),
    (10, 8, "u64"),
    (11, 8, "i64"),
    (12, 8, "f64"),
];
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Elements of an array that is kept as it is; a longer one, of a vocabulary, is only described.
const SHORT: u64 = 256;

/// Reads a value. A long array is passed over and described as `<49152 x string>`, unless `whole`.
pub(super) fn read(window: &mut Window<'_>, whole: bool) -> Result<Value, Finding> {
    let kind = window.u32()?;
    one(window, kind, whole, 0)
}

fn one(window: &mut Window<'_>, kind: u32, whole: bool, depth: usize) -> Result<Value, Finding> {
    let place = window.at();
    Ok(match kind {
        0 => u8::from_le_bytes(window.number()?).into(),
        1 => i8::from_le_bytes(window.number()?).into(),
        2 => u16::from_le_bytes(window.number()?).into(),
        3 => i16::from_le_bytes(window.number()?).into(),
        4 => window.u32()?.into(),
        5 => i32::from_le_bytes(window.number()?).into(),
        // The shortest decimal that is this number in single precision: 1e-5 and not 9.999999747378752e-06.
        6 => float(f32::from_le_bytes(window.number()?).to_string().parse().unwrap_or(f64::NAN)),
        7 => match window.number()? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => {
                let message = "a truth value is neither 0 nor 1";
                return Err(Finding::new(Id::GgufInvalid, message).at(place).needed("0 or 1", other));
            }
        },
        STRING => String::from_utf8_lossy(string(window)?).into(),
        ARRAY => array(window, whole, depth)?,
        10 => window.u64()?.into(),
        11 => i64::from_le_bytes(window.number()?).into(),
        12 => float(f64::from_le_bytes(window.number()?)),
        _ => return Err(unknown(kind, place)),
    })
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn unknown(kind: u32, place: u64) -> Finding {
    let message = "a value is of a type that the format does not have";
    Finding::new(Id::GgufInvalid, message).at(place).needed("0 to 12", kind)
}

fn array(window: &mut Window<'_>, whole: bool, depth: usize) -> Result<Value, Finding> {
    let place = window.at();
    if depth >= limits::GGUF_NESTING {
        return Err(Finding::new(Id::TooLarge, "arrays are nested deeper than any real ones").at(place));
    }
    let (kind, count) = (window.u32()?, window.u64()?);
    let Some(&(_, bytes, name)) = KINDS.iter().find(|row| row.0 == kind) else { return Err(unknown(kind, place)) };
    // No element is smaller than a byte, so a count beyond the file needs no loop to be found out.
    if count > window.left() {
        let message = "an array of the header goes on beyond the end of the file";
        return Err(Finding::new(Id::GgufTruncated, message)
            .at(place)
            .needed(format!("{count} elements"), window.left()));
    }
    if whole && count > limits::GGUF_ARRAY {
        let message = "an array of the header is longer than any real one";
        return Err(Finding::new(Id::TooLarge, message).at(place).needed(limits::GGUF_ARRAY, count));
    }
    if whole || count <= SHORT {
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(one(window, kind, whole, depth.saturating_add(1))?);
        }
        return Ok(Value::Array(values));
    }
    match kind {
        STRING => (0..count).try_for_each(|_| skip_string(window))?,
        ARRAY => {
            for _ in 0..count {
                array(window, false, depth.saturating_add(1))?;
            }
        }
        _ => window.skip_items(count, bytes)?,
    }
    Ok(format!("<{count} x {name}>").into())
}
