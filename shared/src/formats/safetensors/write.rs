//! The header of a safetensors file that is about to be written, exactly as the reference writer lays it out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::facts::Dtype;

/// The order of tensors in the data: widest dtype first, then by name (`prepare` of the safetensors crate 0.8).
pub fn order(a: (Dtype, &str), b: (Dtype, &str)) -> std::cmp::Ordering {
    b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

/// Makes everything before the data: the length and the JSON, padded with spaces to a multiple of 8 bytes.
///
/// `tensors` are name, dtype, shape and bytes, in the order of their data. With them in [`order`] and the same
/// metadata the file is that of the reference writer, byte for byte.
pub fn header(metadata: &BTreeMap<String, String>, tensors: &[(&str, Dtype, &[u64], u64)]) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut json = String::from("{");
    if !metadata.is_empty() {
        let pairs: Vec<String> =
            metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        let _ = write!(json, "\"__metadata__\":{{{}}}", pairs.join(","));
    }
    let mut begin = 0u64;
    for (name, dtype, shape, bytes) in tensors {
        let comma = if json.len() > 1 { "," } else { "" };
        let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
        let end = begin.saturating_add(*bytes);
        let _ = write!(
            json,
            "{comma}{}:{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}",
            quoted(name),
            sizes.join(",")
        );
        begin = end;
    }
    json.push('}');
    let padded = json.len().next_multiple_of(8);
    let mut bytes = u64::try_from(padded).unwrap_or(u64::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(padded.saturating_add(8), b' ');
    bytes
}
