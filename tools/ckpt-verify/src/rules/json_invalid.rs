//! json-invalid: the small JSON files beside the weights.

use ckpt::facts::{Finding, Id, limits};
use ckpt::formats::json;
use ckpt::layouts::Layout;
use serde::de::IgnoredAny;

use super::explain;
use crate::case::Case;

explain! {
    /// Parses every JSON file on top of the checkpoint, as Python's `json` does: NaN and Infinity are numbers there. Config,
    /// index and tokenizer are parsed by the rules that use them.
    ///
    /// A loader stops at the file, often long after the weights were read.
    ///
    /// Copy the file again from where the model came from.
    JsonInvalid;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.checkpoint.layout == Layout::File {
        return;
    }
    if let Some(config) = case.checkpoint.config.as_ref().filter(|config| !config.value.is_object()) {
        let message = "the JSON is no object of settings, so that it says nothing";
        findings.push(Finding::new(Id::JsonInvalid, message).in_file(config.name.clone()));
    }
    // Of these somebody else reports.
    let own = |name: &str| name.ends_with(".index.json") || name == "tokenizer.json" || name == "tekken.json";
    let read = case.checkpoint.config.as_ref().map(|config| config.name.as_str());
    for entry in &case.checkpoint.files {
        let name = entry.name.as_str();
        let told = case.checkpoint.findings.iter().any(|finding| finding.file.as_deref() == Some(name));
        if name.contains('/') || !name.ends_with(".json") || own(name) || Some(name) == read || told {
            continue;
        }
        let parsed = case.checkpoint.small_file(name, limits::JSON);
        findings.extend(
            parsed.and_then(|text| text.map_or(Ok(()), |text| parse(&text))).err().map(|finding| finding.in_file(name)),
        );
    }
}

/// Whether Python's `json.load` would take the text.
fn parse(text: &[u8]) -> Result<(), Finding> {
    let valid = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).map(drop);
    // serde_json does not look at the bytes of strings that it passes over.
    if let Err(error) = std::str::from_utf8(text) {
        let offset = u64::try_from(error.valid_up_to()).unwrap_or(u64::MAX);
        return Err(Finding::new(Id::JsonInvalid, "the JSON is not UTF-8").at(offset));
    }
    let Err(error) = valid(text) else { return Ok(()) };
    if valid(&plain_numbers(text)).is_ok() {
        return Ok(());
    }
    let message = format!("the JSON cannot be parsed: {error}");
    Err(Finding::new(Id::JsonInvalid, message).at(json::byte_of(text, &error)))
}

/// The text with what only Python takes for numbers replaced by zeros.
fn plain_numbers(text: &[u8]) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[b"-Infinity", b"Infinity", b"NaN"];
    let (mut plain, mut rest) = (Vec::with_capacity(text.len()), text);
    let (mut in_string, mut escaped) = (false, false);
    while let Some((&byte, after)) = rest.split_first() {
        let word = WORDS.iter().find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            plain.push(b'0');
            rest = rest.get(word.len()..).unwrap_or_default();
            continue;
        }
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_takes_is_taken() {
        for text in [r#"{"loss": NaN, "a": [-Infinity, Infinity]}"#, r#"["NaN \" Infinity"]"#, "3"] {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
        for (text, offset) in [(&b"{\"a\": NaNN}"[..], 6), (b"[\"\xff\"]", 2), (b"{", 0), (b"", 0)] {
            assert_eq!(parse(text).unwrap_err().offset, Some(offset), "{}", text.escape_ascii());
        }
    }
}
