//! Every step against its definition, element by element, over boxes of every place and size.

use std::sync::Arc;

use half::f16;

use super::*;
use crate::facts::math::{Order, Packing};
use crate::facts::{Op, check::check};

fn literal(dtype: Dtype, shape: &[u64], bytes: Vec<u8>) -> Arc<Recipe> {
    Arc::new(Recipe { dtype, shape: shape.to_vec(), op: Op::Literal(Arc::from(bytes)) })
}

fn made(dtype: Dtype, shape: &[u64], math: Math) -> Recipe {
    let recipe = Recipe { dtype, shape: shape.to_vec(), op: Op::Math(math) };
    check(&recipe, &|_| 0).unwrap();
    recipe
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// All boxes of a matrix have the elements that the whole has there.
fn every_box(recipe: &Recipe, wanted: &[f32]) {
    let pool = crate::bytes::Pool::new();
    let reader = crate::plan::read::Reader::new(&pool);
    let fetch = |of: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]| reader.boxed(of, start, size, out);
    let &[rows, columns] = recipe.shape.as_slice() else { panic!("a matrix") };
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        for (high, wide) in [(1, 1), (rows - row, columns - column), (1, columns - column), (rows - row, 1)] {
            let mut out = vec![0; to_usize(high * wide) * 4];
            fetch(recipe, &[row, column], &[high, wide], &mut out).unwrap();
            let wanted: Vec<f32> = (row..row + high)
                .flat_map(|row| (column..column + wide).map(move |column| (row, column)))
                .map(|(row, column)| wanted[to_usize(row * columns + column)])
                .collect();
            assert_eq!(floats(&out), wanted, "{high} by {wide} from {row}, {column}");
        }
    }
}

/// The numbers of a row of bits, the lowest of the first byte first.
fn bits(bytes: &[u8], bits: u32, count: usize) -> Vec<u32> {
    let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
    (0..count).map(|index| (0..bits as usize).map(|b| bit(index * bits as usize + b) << b).sum()).collect()
}

#[test]
fn fields_are_the_bits_side_by_side_along_either_dimension() {
    let noise: Vec<u8> = (0..240u32).map(|index| (index * 151 + 7) as u8).collect();
    for width in 1..=8u32 {
        // Three rows of `width` words are three rows of 32 numbers; the last two columns are left empty.
        let bytes = noise[..3 * 4 * width as usize].to_vec();
        let wanted: Vec<f32> = bytes
            .chunks_exact(4 * width as usize)
            .flat_map(|row| bits(row, width, 30))
            .map(|number| number as f32 - 1.0)
            .collect();
        let packing = Packing { bits: width, axis: 1, order: Order::Plain, more: 0, less: 1 };
        let of = literal(Dtype::I32, &[3, u64::from(width)], bytes.clone());
        if (30 * width).div_ceil(32) == width {
            every_box(&made(Dtype::F32, &[3, 30], Math::Fields { of, packing }), &wanted);
        }
        // The same words down three columns.
        let words: Vec<u8> = (0..width as usize)
            .flat_map(|word| (0..3).map(move |row| (row, word)))
            .flat_map(|(row, word)| bytes[(row * width as usize + word) * 4..][..4].to_vec())
            .collect();
        let of = literal(Dtype::I32, &[u64::from(width), 3], words);
        let packing = Packing { axis: 0, less: 0, ..packing };
        let wanted: Vec<f32> = (0..32)
            .flat_map(|index| bytes.chunks_exact(4 * width as usize).map(move |row| bits(row, width, 32)[index]))
            .map(|number| number as f32)
            .collect();
        every_box(&made(Dtype::F32, &[32, 3], Math::Fields { of, packing }), &wanted);
    }
}

#[test]
fn what_is_added_to_a_field_has_no_carry() {
    let of = literal(Dtype::I32, &[1, 1], 0x0000_f7f0u32.to_le_bytes().to_vec());
    let packing = Packing { bits: 4, axis: 1, order: Order::Plain, more: 1, less: 0 };
    let wanted = [1.0, 0.0, 8.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    every_box(&made(Dtype::F32, &[1, 8], Math::Fields { of, packing }), &wanted);
}

#[test]
fn orders_within_a_word_and_a_byte_are_undone() {
    // Places 0 to 7 hold the numbers of AWQ_ORDER.
    let of = literal(Dtype::I32, &[1, 1], 0x7531_6420u32.to_le_bytes().to_vec());
    let packing = Packing { bits: 4, axis: 1, order: Order::Awq, more: 0, less: 0 };
    every_box(&made(Dtype::F32, &[1, 8], Math::Fields { of, packing }), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let of = literal(Dtype::U8, &[1, 2], vec![0x12, 0x34]);
    let packing = Packing { order: Order::HighFirst, ..packing };
    every_box(&made(Dtype::F32, &[1, 4], Math::Fields { of, packing }), &[1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn elements_are_spread_and_rows_are_taken() {
    let values = |count: u16| (0..count).flat_map(|value| f32::from(value).to_le_bytes()).collect::<Vec<u8>>();
    let of = literal(Dtype::F32, &[2, 3], values(6));
    let spread = made(Dtype::F32, &[3, 5], Math::Spread { of: Arc::clone(&of), by: vec![2, 2] });
    every_box(&spread, &[0.0, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0]);
    let index = literal(Dtype::I32, &[4], [1i32, 0, -1, 1].map(i32::to_le_bytes).concat());
    let taken = made(Dtype::F32, &[4, 3], Math::Take { of: Arc::clone(&of), index });
    every_box(&taken, &[3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
    for wrong in [2i32, -3] {
        let index = literal(Dtype::I32, &[1], wrong.to_le_bytes().to_vec());
        let taken = made(Dtype::F32, &[1, 3], Math::Take { of: Arc::clone(&of), index });
        let pool = crate::bytes::Pool::new();
        let error = crate::plan::read::Reader::new(&pool).boxed(&taken, &[0, 0], &[1, 3], &mut [0; 12]).unwrap_err();
        assert_eq!(error.downcast_ref::<Finding>().unwrap().id, Id::PackedParts);
    }
}

#[test]
fn sums_and_products_are_rounded_to_their_own_dtype() {
    let half = |values: &[f32]| values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>();
    let left = literal(Dtype::F16, &[1, 3], half(&[2049.0, 0.1, 3.0]));
    let right = literal(Dtype::F16, &[1, 3], half(&[1.0, 0.1, 7.0]));
    let with = |how| made(Dtype::F16, &[1, 3], Math::With { how, left: Arc::clone(&left), right: Arc::clone(&right) });
    let pool = crate::bytes::Pool::new();
    let values = |recipe: &Recipe| {
        let mut out = [0; 6];
        crate::plan::read::Reader::new(&pool).boxed(recipe, &[0, 0], &[1, 3], &mut out).unwrap();
        out.as_chunks().0.iter().map(|v| f16::from_le_bytes(*v).to_f32()).collect::<Vec<f32>>()
    };
    let round = |value: f32| f16::from_f32(value).to_f32();
    let tenth = round(0.1);
    // 2049 is 2048 in half precision, and so is 2049 again.
    assert_eq!(values(&with(Arithmetic::Plus)), [2048.0, round(tenth + tenth), 10.0]);
    assert_eq!(values(&with(Arithmetic::Times)), [2048.0, round(tenth * tenth), 21.0]);
    assert_eq!(values(&with(Arithmetic::Over)), [2048.0, 1.0, round(3.0 / 7.0)]);
    assert_eq!(values(&with(Arithmetic::Minus)), [2048.0 - 1.0, 0.0, -4.0]);
}
