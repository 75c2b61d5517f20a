//! The scanner against plain loops over whole values.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bytes::Pool;
use crate::facts::{Dtype, Op};
use crate::plan::decode::numbers;

const FILE: FileId = FileId(0);

fn pool(content: &[u8]) -> (tempfile::NamedTempFile, Pool) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let mut pool = Pool::new();
    pool.add(file.path().to_owned(), "file".to_owned());
    (file, pool)
}

/// Counts and figures, the slow and plain way.
fn check(values: &Values, dtype: Dtype, bytes: &[u8]) {
    let numbers = numbers(dtype, bytes).unwrap();
    let odd = |test: &dyn Fn(&f64) -> bool| Odd {
        count: numbers.iter().filter(|n| test(n)).count() as u64,
        first: numbers.iter().position(test).map(|place| place as u64),
    };
    assert_eq!(values.numbers, numbers.len() as u64);
    assert_eq!((values.nan, values.infinite), (odd(&|n| n.is_nan()), odd(&|n| n.is_infinite())), "{dtype}");
    let item = dtype.item_bytes().unwrap() as usize;
    assert_eq!(values.constant, !bytes.is_empty() && bytes.chunks(item).all(|n| n == &bytes[..item]));
    let finite: Vec<f64> = numbers.iter().copied().filter(|n| n.is_finite()).collect();
    let moments = &values.moments;
    assert_eq!(
        (moments.finite, moments.zeros),
        (finite.len() as u64, finite.iter().filter(|n| **n == 0.0).count() as u64)
    );
    if finite.is_empty() {
        assert_eq!((moments.min(), moments.mean(), moments.std()), (None, None, None));
        return;
    }
    let count = finite.len() as f64;
    let scale = finite.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    // Sums of numbers divided by the largest, so that no square is too large.
    let mean = finite.iter().map(|n| n / scale.max(f64::MIN_POSITIVE)).sum::<f64>() / count;
    let spread = |about: f64| {
        (finite.iter().map(|n| (n / scale.max(f64::MIN_POSITIVE) - about).powi(2)).sum::<f64>() / count).sqrt()
    };
    let near = |ours: Option<f64>, plain: f64| match ours {
        Some(ours) => assert!((ours / scale.max(f64::MIN_POSITIVE) - plain).abs() < 1e-7, "{ours} {plain} {dtype}"),
        // Only squares of the largest and of the smallest numbers of 64 bits are beyond them.
        None => assert!(!(1e-150..=1e150).contains(&scale), "{dtype} {scale}"),
    };
    near(moments.mean(), mean);
    near(moments.std(), spread(mean));
    near(moments.norm(), spread(0.0) * count.sqrt());
    assert_eq!(moments.min(), finite.iter().copied().reduce(f64::min));
    assert_eq!(moments.max(), finite.iter().copied().reduce(f64::max));
}

const NUMBERS: [Dtype; 12] = [
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::Bf16,
    Dtype::F8E4M3,
    Dtype::F8E5M2,
    Dtype::F8E4M3Fnuz,
    Dtype::F8E8M0,
    Dtype::I64,
    Dtype::I16,
    Dtype::U8,
    Dtype::I8,
];

/// Bytes of numbers that are mostly ordinary: of about one, with some of any kind between them.
fn content(seed: u64, len: usize, wild: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|place| {
            state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ place as u64;
            let byte = (state >> 33) as u8;
            let tame = if place % 2 == 1 { 0x38 | (byte & 0x87) } else { byte };
            if state % 1000 < wild { byte } else { tame }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn values_are_seen_as_they_are(
        seed in any::<u64>(),
        wild in prop_oneof![Just(0u64), Just(5), Just(1000)],
        places in proptest::collection::vec((0usize..NUMBERS.len(), 0u64..60_000, 0u64..40_000, any::<bool>()), 1..6),
        stretches in proptest::collection::vec((0u64..300_000, 0u64..200_000), 0..4),
    ) {
        let bytes = content(seed, 500_000, wild);
        let (_file, pool) = pool(&bytes);
        let reader = Reader::new(&pool);
        let recipes: Vec<Recipe> = places
            .iter()
            .map(|&(dtype, offset, count, whole)| {
                let dtype = NUMBERS[dtype];
                let item = dtype.item_bytes().unwrap();
                let count = count.min((400_000 - offset) / item);
                let value = Recipe::bytes(dtype, vec![count], FILE, offset);
                // The same value, put together.
                let made = Op::Reshape(Arc::new(Recipe { dtype, shape: vec![1, count], op: value.op.clone() }));
                if whole { value } else { Recipe { op: made, ..value } }
            })
            .collect();
        let recipes: Vec<&Recipe> = recipes.iter().collect();
        let stretches: Vec<Stretch> =
            stretches.iter().map(|&(offset, bytes)| Stretch { file: FILE, offset, bytes }).collect();
        let scan = |jobs| scan(&reader, &stretches, &recipes, true, jobs, &Progress::default()).unwrap();
        let scanned = scan(1);
        // Sums that are beyond 64 bits may be NaN, which equals nothing.
        prop_assert_eq!(format!("{scanned:?}"), format!("{:?}", scan(3)));
        for (values, &(dtype, offset, ..)) in scanned.values.iter().zip(&places) {
            let dtype = NUMBERS[dtype];
            let end = offset + values.numbers * dtype.item_bytes().unwrap();
            check(values, dtype, &bytes[offset as usize..end as usize]);
        }
        for (crc, stretch) in scanned.crcs.iter().zip(&stretches) {
            prop_assert_eq!(*crc, crc32fast::hash(&bytes[stretch.offset as usize..][..stretch.bytes as usize]));
        }
    }
}

#[test]
fn blocks_are_joined_alike_whatever_the_layout_and_the_threads() {
    // Three blocks and a part of one, of a dtype with small elements.
    let count = 3 * BLOCK + 12_345;
    let mut bytes = content(7, count as usize * 2, 0);
    let nan = (2 * BLOCK + 5) as usize * 2;
    bytes[nan..nan + 2].copy_from_slice(&0x7fc0u16.to_le_bytes());
    bytes[nan + 4000..nan + 4000 + 100_001].fill(0);
    let (_file, pool) = pool(&bytes);
    let reader = Reader::new(&pool);
    let stored = Recipe::bytes(Dtype::Bf16, vec![count], FILE, 0);
    let made = Op::Reshape(Arc::new(Recipe { dtype: Dtype::Bf16, shape: vec![1, count], op: stored.op.clone() }));
    let made = Recipe { op: made, ..stored.clone() };
    let whole = [Stretch { file: FILE, offset: 0, bytes: count * 2 }];
    let one = scan(&reader, &whole, &[&stored, &made], true, 1, &Progress::default()).unwrap();
    let many = scan(&reader, &whole, &[&stored, &made], true, 4, &Progress::default()).unwrap();
    assert_eq!(one, many);
    assert_eq!(one.values[0], one.values[1]);
    assert_eq!(one.crcs, [crc32fast::hash(&bytes)]);
    let seen = &one.values[0];
    assert_eq!(seen.nan, Odd { count: 1, first: Some(2 * BLOCK + 5) });
    assert_eq!((seen.runs.count, seen.runs.longest.0 / 2, seen.runs.longest.1 / 2), (1, BLOCK * 2 + 5 + 2000, 50_000));
    check(seen, Dtype::Bf16, &bytes);
    let plain = scan(&reader, &[], &[&stored], false, 2, &Progress::default()).unwrap();
    assert_eq!(plain.values[0], Values { moments: Moments::default(), ..seen.clone() });
}

#[test]
fn squares_that_vanish_give_no_figure_rather_than_zero() {
    let figures = |numbers: &[f64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let (_file, pool) = pool(&bytes);
        let value = Recipe::bytes(Dtype::F64, vec![numbers.len() as u64], FILE, 0);
        let seen = scan(&Reader::new(&pool), &[], &[&value], true, 1, &Progress::default()).unwrap();
        let moments = seen.values[0].moments;
        (moments.max(), moments.std(), moments.norm())
    };
    assert_eq!(figures(&[1e-200, -3e-200, 2e-200]), (Some(2e-200), None, None));
    assert_eq!(figures(&[1e-200, 1e-200]), (Some(1e-200), Some(0.0), None));
    assert_eq!(figures(&[0.0, 0.0]), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(figures(&[1e200, -3e200, 2e200]), (Some(2e200), None, None));
    let (max, std, norm) = figures(&[3e-100, -4e-100]);
    let near = |ours: Option<f64>, plain: f64| (ours.unwrap() / plain - 1.0).abs() < 1e-12;
    assert!(max == Some(3e-100) && near(std, 3.5e-100) && near(norm, 5e-100), "{max:?} {std:?} {norm:?}");
}

#[test]
fn nothing_is_constant_that_has_nothing() {
    let (_file, pool) = pool(&[0; 16]);
    let reader = Reader::new(&pool);
    let empty = Recipe::bytes(Dtype::F32, vec![0, 4], FILE, 0);
    let zero = Recipe::bytes(Dtype::F32, vec![4], FILE, 0);
    let seen = scan(&reader, &[], &[&empty, &zero, &zero], true, 1, &Progress::default()).unwrap().values;
    assert_eq!((seen[0].constant, seen[0].zero, seen[0].moments.mean()), (false, false, None));
    assert_eq!((seen[1].constant, seen[1].zero, seen[1].moments.std()), (true, true, Some(0.0)));
    assert_eq!(seen[1], seen[2]);
}

/// Of blocks the same is seen as of the numbers that they stand for, whether figures are wanted or not.
#[test]
fn blocks_are_seen_as_the_numbers_they_stand_for() {
    for dtype in Dtype::all().filter(|dtype| crate::facts::check::dequantizable(*dtype)) {
        let (elements, unit) = dtype.block();
        // A page that is not full, and of one type more than a piece; wild bytes in the midst, which make odd scales.
        let count = if dtype == Dtype::Q8_0 { BLOCK } else { 0 } + 5 * 1024 + elements;
        let len = dtype.bytes_of(count).unwrap() as usize;
        let mut tame = vec![0u8; len];
        for (place, byte) in tame.iter_mut().enumerate().skip(2 * unit as usize) {
            *byte = ((place * 37) >> 3) as u8 & 0x3f;
        }
        let mut wild = tame.clone();
        let midst = len / 2..len / 2 + len / 4;
        wild[midst.clone()].copy_from_slice(&content(3, midst.len(), 1000));
        for bytes in [&vec![0u8; len], &tame, &wild] {
            let (_file, pool) = pool(bytes);
            let reader = Reader::new(&pool);
            let stored = Recipe::bytes(dtype, vec![count], FILE, 0);
            let made = stored.clone().dequantized();
            let scan = |moments, jobs| scan(&reader, &[], &[&stored, &made], moments, jobs, &Progress::default());
            let with = scan(true, 2).unwrap().values;
            let without = scan(false, 1).unwrap().values;
            // Sums of numbers beyond 64 bits would be NaN, which equals nothing.
            let text = |values: &Values| {
                let runs = ZeroRuns::default();
                format!("{:?}", Values { runs, subnormal: 0, ..values.clone() })
            };
            assert_eq!(text(&with[0]), text(&with[1]), "{dtype}");
            let bare = Values { moments: Moments::default(), ..with[0].clone() };
            assert_eq!(text(&without[0]), text(&bare), "{dtype}");
            assert_eq!(with[0].zero, bytes.iter().all(|byte| *byte == 0), "{dtype}");
            assert_eq!(with[0].runs, without[0].runs);
        }
    }
}

#[test]
fn floats_of_four_bits_are_numbers() {
    let (_file, pool) = pool(&[0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    let value = Recipe::bytes(Dtype::F4, vec![16], FILE, 0);
    let seen = scan(&Reader::new(&pool), &[], &[&value], true, 1, &Progress::default()).unwrap().values.remove(0);
    let moments = seen.moments;
    assert_eq!((seen.numbers, moments.finite, moments.zeros), (16, 16, 2));
    assert_eq!((moments.min(), moments.max(), moments.mean()), (Some(-6.0), Some(6.0), Some(0.0)));
    // 0.25 + 1 + 2.25 + 4 + 9 + 16 + 36, twice.
    assert_eq!(moments.norm(), Some(137.0f64.sqrt()));
    // No bits that anybody has defined an order for: bytes, and no figures.
    let value = Recipe::bytes(Dtype::F6E2M3, vec![8], FILE, 0);
    let seen = scan(&Reader::new(&pool), &[], &[&value], true, 1, &Progress::default()).unwrap().values.remove(0);
    assert_eq!((seen.numbers, seen.zero, seen.moments), (6, false, Moments::default()));
}

#[test]
fn complex_numbers_are_seen_part_by_part() {
    for dtype in [Dtype::C32, Dtype::Bc32, Dtype::C64, Dtype::C128] {
        let item = dtype.item_bytes().unwrap() as usize;
        let bytes = content(11, 300_000 / item * item, 5);
        let count = (bytes.len() / item) as u64;
        let part = |which: usize| -> Vec<u8> {
            bytes.chunks_exact(item / 2).skip(which).step_by(2).flatten().copied().collect()
        };
        let (real, imaginary) = (part(0), part(1));
        let (_file, pool) = pool(&[bytes.as_slice(), &real, &imaginary].concat());
        let lies = |dtype, offset: usize| Recipe::bytes(dtype, vec![count], FILE, offset as u64);
        let whole = lies(dtype, 0);
        let real = lies(dtype.component(), bytes.len());
        let imaginary = lies(dtype.component(), bytes.len() + real.len_bytes() as usize);
        let seen = scan(&Reader::new(&pool), &[], &[&whole, &real, &imaginary], true, 2, &Progress::default()).unwrap();
        let [whole, real, imaginary] = seen.values.as_slice() else { panic!("three values") };
        assert_eq!(whole.numbers, 2 * count);
        assert_eq!(whole.nan.count, real.nan.count + imaginary.nan.count);
        assert!(whole.nan.count > 0 || item > 4, "{dtype}");
        assert_eq!(whole.nan.first, [real.nan.first, imaginary.nan.first].into_iter().flatten().min(), "{dtype}");
        assert_eq!((whole.imaginary.nan, whole.imaginary.infinite), (imaginary.nan.count, imaginary.infinite.count));
        for (ours, plain) in [(whole.moments, real.moments), (whole.imaginary.moments, imaginary.moments)] {
            assert_eq!((ours.finite, ours.zeros, ours.min()), (plain.finite, plain.zeros, plain.min()), "{dtype}");
            assert_eq!(ours.max(), plain.max());
            let near = |a: Option<f64>, b: Option<f64>| a == b || (a.unwrap() / b.unwrap() - 1.0).abs() < 1e-9;
            assert!(near(ours.std(), plain.std()) && near(ours.norm(), plain.norm()), "{dtype}");
        }
    }
}

#[test]
fn a_complex_constant_is_one() {
    let one = [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat();
    let mut bytes = one.repeat(5000);
    for (constant, differs) in [(true, None), (false, Some(39_999))] {
        if let Some(byte) = differs {
            bytes[byte] ^= 1;
        }
        let (_file, pool) = pool(&bytes);
        let value = Recipe::bytes(Dtype::C64, vec![5000], FILE, 0);
        let seen = scan(&Reader::new(&pool), &[], &[&value], false, 1, &Progress::default()).unwrap();
        assert_eq!(seen.values[0].constant, constant);
    }
}
