//! JSON text as Python's `json` module writes it, so that small files can be compared byte for byte.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Two spaces of indent, non-ASCII as it is, and floats the way Python spells them (`1e-05`).
struct Python<'a>(PrettyFormatter<'a>);

macro_rules! as_pretty {
    ($($name:ident($($argument:ident: $type:ty)?);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$name(writer $(, $argument)?)
        }
    )*};
}

impl Formatter for Python<'_> {
    as_pretty! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }
}

/// A finite float as Python's `repr` spells it. Rust and Python agree on the digits and on when an exponent is
/// used; Python gives the exponent a sign and two digits at least.
fn python_float(value: f64) -> String {
    let text = format!("{value:?}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// The text of `json.dumps(value, indent=2, ensure_ascii=False)`, without a newline at the end.
///
/// # Errors
/// Only what the value's own serializer reports; a `serde_json::Value` reports nothing.
pub fn python(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, Python(PrettyFormatter::new())))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_spelt_as_python_does() {
        // Each right side is what `repr` prints.
        for (value, text) in [
            (1e-5, "1e-05"),
            (1e-6, "1e-06"),
            (0.0001, "0.0001"),
            (500_000.0, "500000.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (1e-100, "1e-100"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }

    #[test]
    fn the_layout_is_that_of_indent_two() {
        let value = json!({"a": [1, {"b": 1e-5}], "é\n\u{1}\"": [], "n": null});
        let text = String::from_utf8(python(&value).unwrap()).unwrap();
        let lines = [
            "{",
            "  \"a\": [",
            "    1,",
            "    {",
            "      \"b\": 1e-05",
            "    }",
            "  ],",
            "  \"é\\n\\u0001\\\"\": [],",
            "  \"n\": null",
            "}",
        ];
        assert_eq!(text, lines.join("\n"));
    }
}
