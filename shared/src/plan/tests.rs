//! The executor against a plain interpreter of recipes that holds whole values in memory.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::blocks::Blocks;
use super::read::Reader;
use crate::bytes::Pool;
use crate::facts::check::check;
use crate::facts::recipe::{RotaryOrder, Tile, elements};
use crate::facts::{Dtype, FileId, Op, Progress, Recipe};

/// Bytes of the one file that recipes of these tests stand on.
const FILE: u64 = 1 << 16;

fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| (0..FILE).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect())
}

fn pool() -> (tempfile::NamedTempFile, Pool) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content()).unwrap();
    let mut pool = Pool::new();
    pool.add(file.path().to_owned(), "file".to_owned());
    (file, pool)
}

fn indexes(shape: &[u64]) -> Vec<Vec<u64>> {
    shape.iter().fold(vec![vec![]], |all, &size| {
        all.iter().flat_map(|index| (0..size).map(move |i| [index.as_slice(), &[i]].concat())).collect()
    })
}

fn linear(index: &[u64], shape: &[u64]) -> u64 {
    index.iter().zip(shape).fold(0, |at, (i, size)| at * size + i)
}

/// The element at an index, the slow and plain way.
fn element(recipe: &Recipe, index: &[u64]) -> Vec<u8> {
    let item = recipe.dtype.item_bytes().unwrap() as usize;
    let stored = |at: u64| content()[at as usize..][..item].to_vec();
    match &recipe.op {
        Op::Bytes { offset, .. } => stored(offset + linear(index, &recipe.shape) * item as u64),
        Op::Strided { storage, start, strides, .. } => {
            let at: u64 = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
            stored(storage + (start + at) * item as u64)
        }
        Op::Literal(bytes) => bytes[linear(index, &recipe.shape) as usize * item..][..item].to_vec(),
        Op::Tiles(tiles) => {
            let holds = |tile: &&Tile| {
                index.iter().zip(&tile.at).zip(&tile.part.shape).all(|((i, at), n)| i >= at && *i < at + n)
            };
            let tile = tiles.iter().find(holds).unwrap();
            let inner: Vec<u64> = index.iter().zip(&tile.at).map(|(i, at)| i - at).collect();
            element(&tile.part, &inner)
        }
        Op::Slice { of, start } => element(of, &index.iter().zip(start).map(|(a, b)| a + b).collect::<Vec<_>>()),
        Op::Reshape(of) => {
            let at = linear(index, &recipe.shape);
            element(of, &indexes(&of.shape)[at as usize])
        }
        Op::Transpose(of, a, b) => {
            let mut index = index.to_vec();
            index.swap(*a, *b);
            element(of, &index)
        }
        Op::Rows { of, head_dim, order } => {
            let mut index = index.to_vec();
            let (head, row) = (index[0] / head_dim * head_dim, index[0] % head_dim);
            index[0] = head + order.source(row, *head_dim).unwrap();
            element(of, &index)
        }
        Op::Cast(of) => {
            let value = element(of, index);
            let value = half::bf16::from_le_bytes([value[0], value[1]]);
            value.to_f32().to_le_bytes().to_vec()
        }
        Op::ByteSwap(of) => element(of, index).into_iter().rev().collect(),
        Op::Conj(of) => element(of, index),
        Op::Neg(of) => {
            let mut value = element(of, index);
            value[item - 1] ^= 0x80;
            value
        }
        Op::Math(_) | Op::Dequant(_) | Op::Quant(_) | Op::Absent(_) => unreachable!(),
    }
}

/// Cuts a shape in two along an axis.
fn halves(whole: &Arc<Recipe>, axis: usize, cut: u64) -> Op {
    let part = |low: u64, high: u64| {
        let (mut start, mut shape) = (vec![0; whole.shape.len()], whole.shape.clone());
        start[axis] = low;
        shape[axis] = high - low;
        let slice = Recipe { dtype: whole.dtype, shape, op: Op::Slice { of: Arc::clone(whole), start: start.clone() } };
        Tile { at: start, part: Arc::new(slice) }
    };
    Op::Tiles(vec![part(cut, whole.shape[axis]), part(0, cut)])
}

fn leaf() -> impl Strategy<Value = Recipe> {
    let shape = proptest::collection::vec(1u64..7, 1..4);
    (shape, any::<bool>(), 0u64..64, proptest::collection::vec(0u64..40, 4), any::<bool>()).prop_map(
        |(mut shape, strided, start, strides, even)| {
            if even {
                shape[0] *= 4;
            }
            let op = if strided {
                Op::Strided { file: FileId(0), storage: 64, start, strides: strides[..shape.len()].to_vec() }
            } else {
                Op::Bytes { file: FileId(0), offset: start }
            };
            Recipe { dtype: Dtype::Bf16, shape, op }
        },
    )
}

fn recipe() -> impl Strategy<Value = Recipe> {
    leaf().prop_recursive(5, 8, 1, |inner| {
        (inner, 0..7, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(of, kind, a, b)| {
            let of = Arc::new(of);
            let axis = a.index(of.shape.len());
            let cut = b.index(of.shape[axis] as usize) as u64;
            let mut shape = of.shape.clone();
            let op = match kind {
                0 => halves(&of, axis, cut),
                1 => {
                    let mut start = vec![0; shape.len()];
                    start[axis] = cut;
                    shape[axis] -= cut;
                    Op::Slice { of: Arc::clone(&of), start }
                }
                2 => {
                    let other = b.index(shape.len());
                    shape.swap(axis, other);
                    Op::Transpose(Arc::clone(&of), axis, other)
                }
                3 => {
                    let flat: u64 = shape.iter().product();
                    shape = if flat.is_multiple_of(3) { vec![3, flat / 3] } else { vec![flat] };
                    Op::Reshape(Arc::clone(&of))
                }
                4 if shape[0].is_multiple_of(4) => Op::Rows {
                    of: Arc::clone(&of),
                    head_dim: 4,
                    order: if cut.is_multiple_of(2) { RotaryOrder::Halves } else { RotaryOrder::Interleaved },
                },
                5 => Op::Neg(Arc::clone(&of)),
                _ => Op::ByteSwap(Arc::clone(&of)),
            };
            Recipe { dtype: of.dtype, shape, op }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_executor_makes_what_the_recipe_says(recipe in recipe(), limit in 1u64..200, cast in any::<bool>()) {
        let recipe = if cast {
            Recipe { dtype: Dtype::F32, shape: recipe.shape.clone(), op: Op::Cast(Arc::new(recipe)) }
        } else {
            recipe
        };
        check(&recipe, &|_| FILE).unwrap();
        let (_keep, pool) = pool();
        let reader = Reader::new(&pool);
        let mut made = Vec::new();
        reader.stream(&recipe, limit, &Progress::default(), |block, bytes| {
            assert_eq!(block.offset, made.len() as u64);
            made.extend_from_slice(bytes);
            Ok(())
        }).unwrap();
        let wanted: Vec<u8> = indexes(&recipe.shape).iter().flat_map(|index| element(&recipe, index)).collect();
        prop_assert_eq!(made, wanted);
    }

    #[test]
    fn blocks_tile_a_value_in_order(shape in proptest::collection::vec(0u64..9, 0..5), limit in 1u64..300) {
        let recipe = Recipe::bytes(Dtype::F32, shape.clone(), FileId(0), 0);
        let mut reached = 0;
        for block in Blocks::new(&recipe, limit).iter() {
            prop_assert_eq!(block.offset, reached);
            prop_assert_eq!(block.size.iter().product::<u64>() * 4, block.bytes);
            prop_assert!(block.bytes <= limit.max(4));
            reached += block.bytes;
        }
        prop_assert_eq!(reached, elements(&shape).unwrap() * 4);
    }
}

#[test]
fn recipes_that_do_not_fit_are_refused() {
    let bytes = |shape: &[u64], offset| Arc::new(Recipe::bytes(Dtype::F32, shape.to_vec(), FileId(0), offset));
    let tile = |at: &[u64], part: Arc<Recipe>| Tile { at: at.to_vec(), part };
    let tiles = |tiles: Vec<Tile>| Op::Tiles(tiles);
    let cases: Vec<(&[u64], Op)> = vec![
        (&[4], Op::Bytes { file: FileId(0), offset: FILE - 15 }),
        (&[4, 2], tiles(vec![tile(&[0, 0], bytes(&[2, 2], 0))])),
        (&[4, 2], tiles(vec![tile(&[0, 0], bytes(&[2, 2], 0)), tile(&[1, 0], bytes(&[2, 2], 0))])),
        (&[4, 2], tiles(vec![tile(&[3, 0], bytes(&[2, 2], 0)), tile(&[0, 0], bytes(&[2, 2], 0))])),
        (&[3], Op::Slice { of: bytes(&[4], 0), start: vec![2] }),
        (&[3, 3], Op::Reshape(bytes(&[4, 2], 0))),
        (&[2, 4], Op::Transpose(bytes(&[4, 2], 0), 0, 2)),
        (&[6, 2], Op::Rows { of: bytes(&[6, 2], 0), head_dim: 4, order: RotaryOrder::Halves }),
        (&[4], Op::Strided { file: FileId(0), storage: 0, start: u64::MAX, strides: vec![1] }),
        (&[3], Op::Literal(Arc::from([0u8; 4]))),
        (&[u64::MAX, 2], Op::Bytes { file: FileId(0), offset: 0 }),
    ];
    for (shape, op) in cases {
        let recipe = Recipe { dtype: Dtype::F32, shape: shape.to_vec(), op };
        assert!(check(&recipe, &|_| FILE).is_err(), "{recipe:?} should be refused");
    }
}
