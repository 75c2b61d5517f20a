//! Blocks of random bits, against the values that gguf-py makes of them.

use std::path::PathBuf;

use serde_json::Value;

use super::super::blocks::Block;
use super::super::read::Reader;
use crate::bytes::Pool;
use crate::digests::Algorithm;
use crate::facts::dtype::Kind;
use crate::facts::{FileId, Progress, Recipe, check};
use crate::plan::digest;

fn opened(name: &str) -> (Pool, Vec<crate::facts::Tensor>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf").join(name);
    let file = std::fs::read(&path).unwrap();
    let mut pool = Pool::default();
    pool.add(path, name.to_owned());
    (pool, crate::formats::open(&file, FileId(0)).unwrap().1.tensors)
}

fn expected(file: &str, name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf/expected.json");
    let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rows = value["tensors"].as_array().unwrap();
    rows.iter().find(|row| row["file"] == file && row["name"] == name).unwrap()["values"].clone()
}

#[test]
fn every_type_has_the_values_of_the_reference() {
    // All but Q8_1 and Q8_K, which only hold activations, and Q1_0, which gguf-py does not read. Of a big-endian file
    // those that gguf-py turns round.
    for (file, count) in [("all-types.gguf", 23), ("big-endian-blocks.gguf", 6)] {
        assert_eq!(checked(file), count, "{file}");
    }
}

/// How many tensors of a file have the values that gguf-py makes of them; none has others.
fn checked(file: &str) -> usize {
    let (pool, tensors) = opened(file);
    let reader = Reader::new(&pool);
    let mut checked = 0;
    for tensor in tensors.into_iter().filter(|tensor| tensor.recipe.dtype.kind() == Kind::Blocks) {
        let values = tensor.recipe.clone().dequantized();
        let passed = check::check(&values, &|_| 1 << 20);
        assert_eq!(passed.is_ok(), check::dequantizable(tensor.recipe.dtype), "{}", tensor.name);
        let Value::String(expected) = expected(file, &tensor.name) else { continue };
        let digest = digest::values(&reader, &[&values], Algorithm::Sha256, 1, &Progress::default()).unwrap();
        assert_eq!(digest, [expected], "{}", tensor.name);
        checked += 1;
    }
    checked
}

#[test]
fn a_bit_is_a_scale_or_its_negative() {
    let mut block = [0; 18];
    block[..2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
    (block[2], block[17]) = (0b0000_0101, 0b1000_0000);
    let mut out = [0; 512];
    super::dequantize(crate::facts::Dtype::Q1_0, &block, &mut out).unwrap();
    let values: Vec<f32> = out.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let set: Vec<usize> = (0..128).filter(|&place| values[place] == 0.5).collect();
    assert_eq!(set, [0, 2, 127]);
    assert_eq!(values.iter().filter(|&&value| value == -0.5).count(), 125);
}

#[test]
fn a_part_that_cuts_blocks_has_the_values_of_the_whole() {
    let (pool, tensors) = opened("all-types.gguf");
    let reader = Reader::new(&pool);
    let blocks = |tensor: &crate::facts::Tensor| check::dequantizable(tensor.recipe.dtype);
    for tensor in tensors.iter().filter(|tensor| blocks(tensor)) {
        let values: Recipe = tensor.recipe.clone().dequantized();
        let read = |start: [u64; 2], size: [u64; 2]| {
            let bytes = size[0] * size[1] * 4;
            let block = Block { start: start.to_vec(), size: size.to_vec(), offset: 0, bytes };
            let mut out = vec![0; bytes as usize];
            reader.block(&values, &block, &mut out).unwrap();
            out
        };
        let whole = read([0, 0], [2, 256]);
        for (first, count) in [(0, 256), (1, 3), (31, 66), (200, 56)] {
            let part = read([0, first], [2, count]);
            for row in 0..2u64 {
                let from = ((row * 256 + first) * 4) as usize;
                let to = (row * count * 4) as usize;
                let bytes = (count * 4) as usize;
                assert_eq!(part[to..to + bytes], whole[from..from + bytes], "{} {first} {count}", tensor.name);
            }
        }
    }
}
