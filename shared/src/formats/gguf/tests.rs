//! Files made by gguf-py, headers made here by hand, and damage to them.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::*;
use crate::bytes::FileSource;

/// A header in the making.
struct Made {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(name)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, sizes: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut entry = string(name);
    entry.extend((sizes.len() as u32).to_le_bytes());
    for size in sizes {
        entry.extend(size.to_le_bytes());
    }
    entry.extend(kind.to_le_bytes());
    entry.extend(offset.to_le_bytes());
    entry
}

impl Made {
    /// One key and two tensors of 12 and 8 bytes.
    fn sound() -> Made {
        let tensors = vec![tensor("a", &[3], 0, 0), tensor("b", &[2, 2], 1, 32)];
        Made { keys: vec![key("general.alignment", 4, &32u32.to_le_bytes())], tensors, data: 40 }
    }

    fn file(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        file.extend(self.tensors.concat());
        file.resize(file.len().next_multiple_of(32) + self.data, 7);
        file
    }
}

fn found(file: &[u8]) -> Vec<Id> {
    match read(&file.to_vec(), FileId(0)) {
        Ok(container) => container.findings.iter().map(|finding| finding.id).collect(),
        Err(finding) => vec![finding.id],
    }
}

#[test]
fn each_damage_has_its_name() {
    type Damage = fn(&mut Made);
    let cases: &[(Damage, &[Id])] = &[
        (|_| {}, &[]),
        (|made| made.data = 39, &[Id::GgufTruncated]),
        (|made| made.data = 100, &[Id::GgufTrailing]),
        (|made| made.keys.push(made.keys[0].clone()), &[Id::GgufDuplicate]),
        (|made| made.keys.push(key("x", 13, &[0; 8])), &[Id::GgufInvalid]),
        (|made| made.keys.push(key("x", 7, &[2])), &[Id::GgufInvalid]),
        (|made| made.keys.push(key("\u{fffd}", 0, &[2])), &[]),
        (|made| made.keys.push(key("x", 8, &u64::MAX.to_le_bytes())), &[Id::GgufTruncated]),
        (
            |made| made.keys.push(key("x", 9, &[&4u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat())),
            &[Id::GgufTruncated],
        ),
        (|made| made.keys[0] = key("general.alignment", 4, &31u32.to_le_bytes()), &[Id::GgufAlignment]),
        (|made| made.tensors.push(tensor("a", &[3], 0, 64)), &[Id::GgufDuplicate]),
        (|made| made.tensors[1] = tensor("b", &[2, 2], 4, 32), &[Id::GgufType]),
        (|made| made.tensors[1] = tensor("b", &[2, 2], 1, 33), &[Id::GgufAlignment]),
        (|made| made.tensors[1] = tensor("b", &[2, 2], 1, 0), &[Id::GgufOverlap]),
        (|made| (made.tensors[1], made.data) = (tensor("b", &[2, 2], 1, 64), 72), &[Id::GgufHole]),
        (|made| made.tensors[1] = tensor("b", &[16, 2], 2, 32), &[Id::GgufInvalid]),
        (|made| made.tensors[1] = tensor("b", &[u64::MAX, 2], 24, 32), &[Id::GgufInvalid]),
        (|made| made.tensors[1] = tensor("b", &[1; 5], 0, 32), &[Id::GgufInvalid]),
    ];
    for (number, (damage, expected)) in cases.iter().enumerate() {
        let mut made = Made::sound();
        damage(&mut made);
        assert_eq!(found(&made.file()), *expected, "case {number}");
    }
}

#[test]
fn versions_and_counts_are_checked_before_anything_else() {
    let with = |place: usize, byte: u8| {
        let mut file = Made::sound().file();
        file[place] = byte;
        found(&file)
    };
    for version in [1, 4] {
        assert_eq!(with(4, version), [Id::Unsupported]);
    }
    assert_eq!(with(4, 2), [], "version 2 is laid out as version 3 is");
    // A count of tensors and one of keys that no file of this size could hold.
    assert_eq!(with(15, 1), [Id::GgufTruncated]);
    assert_eq!(with(23, 1), [Id::TooLarge]);
    let deep = (0..20).fold(vec![9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], |inner, _| {
        [&[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat()
    });
    let mut made = Made::sound();
    made.keys.push(key("deep", 9, &deep));
    assert_eq!(found(&made.file()), [Id::TooLarge]);
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf")
}

#[test]
fn every_tensor_of_the_fixtures_is_where_gguf_py_put_it() {
    let text = std::fs::read(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let rows = expected["tensors"].as_array().unwrap();
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let source = FileSource::open(&fixtures().join(file)).unwrap();
        let container = read(&source, FileId(0)).unwrap();
        assert_eq!(container.findings, [], "{file}");
        let tensor = container.tensors.iter().find(|tensor| row["name"] == *tensor.name).unwrap();
        let recipe = &tensor.recipe;
        assert_eq!(
            (row["dtype"].as_str().unwrap(), &row["shape"]),
            (recipe.dtype.name(), &recipe.shape.clone().into())
        );
        let stored = match &recipe.op {
            Op::ByteSwap(of) => of.contiguous(),
            _ => recipe.contiguous(),
        };
        let mut bytes = source.read_vec_at(recipe.len_bytes(), stored.unwrap().1).unwrap();
        if matches!(recipe.op, Op::ByteSwap(_)) {
            let numbers = recipe.dtype.item_bytes().is_some();
            for block in bytes.chunks_mut(recipe.dtype.block().1 as usize) {
                match recipe.dtype.halves() {
                    _ if numbers => block.reverse(),
                    halves => halves.unwrap().iter().for_each(|&at| block.swap(at, at + 1)),
                }
            }
        }
        let digest = Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(row["sha256"], digest, "{file} {}", tensor.name);
    }
    assert!(rows.len() > 60);
}

#[test]
fn values_of_every_type_are_kept_and_long_arrays_only_when_asked_for() {
    let source = FileSource::open(&fixtures().join("all-types.gguf")).unwrap();
    let container = read(&source, FileId(0)).unwrap();
    let value = |key: &str| &container.objects.iter().find(|object| object.path == key).unwrap().value;
    for (key, expected) in [
        ("test.u8", 200.into()),
        ("test.i8", (-100).into()),
        ("test.i16", (-30_000).into()),
        ("test.u64", (1u64 << 63).into()),
        ("test.i64", (-(1i64 << 62)).into()),
        ("test.f32", 1e-5.into()),
        ("test.f64", 0.1.into()),
        ("test.bool", true.into()),
        ("test.string", "über".into()),
        ("test.numbers", serde_json::json!([1, 2, 3])),
        ("test.words", serde_json::json!(["a", "b"])),
        ("test.many", "<300 x i32>".into()),
    ] {
        assert_eq!(*value(key), expected, "{key}");
    }
    let many = arrays(&source, &["test.many", "test.none"]).unwrap();
    assert_eq!(many["test.many"], (0..300).map(Value::from).collect::<Vec<_>>());
    assert_eq!(many.len(), 1);
}
