//! The reader against the reference crate, against damage, and against headers made to mislead.

use proptest::prelude::*;
use safetensors::tensor::{SafeTensors, TensorView};

use super::*;

fn file(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + data, 7);
    bytes
}

fn ids(bytes: &Vec<u8>) -> Vec<Id> {
    match read(bytes, FileId(0)) {
        Ok(container) => container.findings.iter().map(|finding| finding.id).collect(),
        Err(finding) => vec![finding.id],
    }
}

fn good() -> Vec<u8> {
    let data: Vec<u8> = (0..24).collect();
    let views = [
        ("b".to_owned(), TensorView::new(safetensors::Dtype::F32, vec![2, 2], &data[..16]).unwrap()),
        ("a\u{e9}\n".to_owned(), TensorView::new(safetensors::Dtype::BF16, vec![4], &data[16..]).unwrap()),
    ];
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).unwrap()
}

#[test]
fn reads_what_the_reference_writes_and_writes_the_same_bytes() {
    let bytes = good();
    let container = read(&bytes, FileId(3)).unwrap();
    assert_eq!(container.findings, []);
    assert_eq!(container.metadata["format"], "pt");
    let mut listed: Vec<_> = container.tensors.iter().collect();
    listed.sort_by(|a, b| order((a.recipe.dtype, &a.name), (b.recipe.dtype, &b.name)));
    let rows: Vec<_> = listed
        .iter()
        .map(|tensor| {
            (tensor.name.as_str(), tensor.recipe.dtype, tensor.recipe.shape.as_slice(), tensor.recipe.len_bytes())
        })
        .collect();
    let head = header(&container.metadata, &rows);
    assert_eq!(head, bytes[..head.len()]);
    assert_eq!(container.tensors[0].recipe.contiguous(), Some((FileId(3), head.len() as u64)));
}

#[test]
fn each_fault_has_its_finding() {
    let cases: &[(&str, usize, Id)] = &[
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4, Id::SafetensorsTruncated),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 12, Id::SafetensorsTrailing),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, Id::SafetensorsHole),
        (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, Id::SafetensorsSize),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8, Id::SafetensorsSize),
        (r#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8, Id::SafetensorsDtype),
        (r#"{"a":{"dtype":"C128","shape":[1],"data_offsets":[0,16]}}"#, 16, Id::SafetensorsDtype),
        (r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, 2, Id::SafetensorsSize),
        (r#"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, 8, Id::SafetensorsHeader),
        (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, Id::SafetensorsHeader),
        (r#"{"a":{"dtype":"F32","shape":[2]}}"#, 8, Id::SafetensorsHeader),
        (r#"[]"#, 0, Id::SafetensorsHeader),
        (r#"{"__metadata__":{"a":1}}"#, 0, Id::SafetensorsHeader),
        (r#"{"__metadata__":{"a":"1","\u0061":"2"}}"#, 0, Id::SafetensorsDuplicate),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            1,
            Id::SafetensorsDuplicate,
        ),
        (r#"{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1, Id::SafetensorsDuplicate),
        (
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
            Id::SafetensorsOverlap,
        ),
        (r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296,2],"data_offsets":[0,1]}}"#, 1, Id::SafetensorsSize),
    ];
    for (json, data, id) in cases {
        assert!(ids(&file(json, *data)).contains(id), "{json} should be {id:?}, is {:?}", ids(&file(json, *data)));
    }
    assert_eq!(ids(&file(r#"  {"__metadata__":null}  "#, 0)), []);
    assert_eq!(ids(&file(r#"{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":[{}]}}"#, 0)), []);
}

/// Every verdict of the reference must be ours; ours may only be stricter where a key is repeated.
fn agrees(bytes: &Vec<u8>) {
    let theirs = SafeTensors::deserialize(bytes).is_ok();
    let ours = ids(bytes);
    if ours.is_empty() {
        assert!(theirs, "the reference refuses what we accept: {:?}", String::from_utf8_lossy(bytes));
    } else if theirs {
        assert!(
            ours.iter().all(|id| matches!(id, Id::SafetensorsDuplicate | Id::TooLarge)),
            "we refuse what the reference accepts: {ours:?} {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_judged_like_the_reference_does() {
    let whole = good();
    for cut in 0..whole.len() {
        agrees(&whole[..cut].to_vec());
    }
    for place in 0..whole.len() {
        for change in [1u8, 0x20, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            agrees(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn headers_of_all_kinds_are_judged_like_the_reference_does(
        names in proptest::collection::vec("[ab]|\\PC{0,3}", 0..4),
        sizes in proptest::collection::vec(0u64..4, 4),
        slack in -2i64..3,
    ) {
        let mut begin = 0;
        let entries: Vec<String> = names.iter().zip(&sizes).map(|(name, size)| {
            let quoted = serde_json::Value::from(name.as_str()).to_string();
            let entry = format!("{quoted}:{{\"dtype\":\"U8\",\"shape\":[{size}],\"data_offsets\":[{begin},{}]}}", begin + size);
            begin += size;
            entry
        }).collect();
        let data = (begin as i64 + slack).max(0) as usize;
        agrees(&file(&format!("{{{}}}", entries.join(",")), data));
    }
}
