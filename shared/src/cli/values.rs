//! Values of arguments: sizes and `KEY=VALUE`.

use std::str::FromStr;

use serde_json::Value;

/// A number of bytes: `5GB` is 5·10^9, `5GiB` 5·2^30, a bare number bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || {
            format!(
                "{text:?} is not a size: write a number and B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024)"
            )
        };
        let trimmed = text.trim();
        let end = trimmed.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, unit) = trimmed.split_at(end.unwrap_or(trimmed.len()));
        let unit = unit.trim_start().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || number.ends_with('.') || fraction.len() > 12 {
            return Err(wrong());
        }
        // In whole numbers, so that 0.1 GB is a hundred million and not a little less. Twelve digits of a fraction
        // times a factor of 2^40 fit 128 bits.
        let read = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u128>().map_err(|_| wrong()) };
        let (whole, part) = (read(whole)?, read(fraction)?);
        let parts = u32::try_from(fraction.len()).ok().and_then(|digits| 10_u128.checked_pow(digits));
        let factor = u128::from(*factor);
        let part = part.checked_mul(factor).zip(parts).and_then(|(part, parts)| part.checked_div(parts));
        let bytes = whole.checked_mul(factor).zip(part).and_then(|(whole, part)| whole.checked_add(part));
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(Size).ok_or_else(wrong)
    }
}

/// A setting given by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// What is before the first `=`.
    pub key: String,
    /// What is after it.
    pub value: String,
}

impl KeyValue {
    /// The value as JSON if it is JSON, else as text.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.value).unwrap_or_else(|_| Value::String(self.value.clone()))
    }
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyValue, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(KeyValue { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(format!("{text:?} is not of the form KEY=VALUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("5GB", 5_000_000_000),
            ("5 gb", 5_000_000_000),
            ("2GiB", 2 << 30),
            ("0.1GB", 100_000_000),
            ("1.5KiB", 1536),
            ("64kB", 64_000),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in
            ["", "GB", "-1", "5G", "5GBs", "1.2.3MB", "1e9", ".5GB", "5.", "18446744073709551616", "99999999TiB"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_setting_is_cut_at_the_first_sign() {
        let setting: KeyValue = "rope_scaling={\"factor\":8.0,\"a\":\"x=y\"}".parse().unwrap();
        assert_eq!(setting.key, "rope_scaling");
        assert_eq!(setting.json(), json!({"factor": 8.0, "a": "x=y"}));
        assert_eq!("version=3.1x".parse::<KeyValue>().unwrap().json(), json!("3.1x"));
        assert!("key".parse::<KeyValue>().is_err() && "=value".parse::<KeyValue>().is_err());
    }
}
