//! The comparing sink: where two values first differ, and by how much.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::inline_always,
    reason = "a numeric kernel that looks for equal numbers, made of rows of a constant length"
)]

use anyhow::Result;

use super::blocks::{BLOCK, Block, Blocks};
use super::decode::{Number, Visit, decoder};
use super::read::Reader;
use crate::bytes::{to_u64, to_usize};
use crate::facts::dtype::Kind;
use crate::facts::{Dtype, Progress, Recipe};

/// The first element, in row-major order, at which two values differ in a bit; `None` if they are equal. Values of
/// different dtypes or shapes differ from the first element on. A dtype of less than a byte an element is counted in
/// bytes.
///
/// # Errors
/// Those of reading either value.
pub fn first_difference(
    a: (&Reader<'_>, &Recipe),
    b: (&Reader<'_>, &Recipe),
    progress: &Progress,
) -> Result<Option<u64>> {
    if (a.1.dtype, &a.1.shape) != (b.1.dtype, &b.1.shape) {
        return Ok(Some(0));
    }
    let item = a.1.dtype.item_bytes().unwrap_or(1);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for block in Blocks::new(a.1, BLOCK).iter() {
        left.resize(to_usize(block.bytes), 0);
        right.resize(to_usize(block.bytes), 0);
        a.0.block(a.1, &block, &mut left)?;
        b.0.block(b.1, &block, &mut right)?;
        progress.advance(block.bytes.saturating_mul(2))?;
        if left != right {
            let byte = left.iter().zip(&right).position(|(a, b)| a != b).map_or(0, to_u64);
            return Ok(block.offset.saturating_add(byte).checked_div(item));
        }
    }
    Ok(None)
}

/// How far two values are apart, all computed in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    /// The largest difference of two elements; infinite where only one of them is finite, or both are not and differ.
    pub max_abs: f64,
    /// The largest difference in relation to the larger of the two magnitudes: from 0 to 2.
    pub max_rel: f64,
    /// Cosine of the angle between the two, over the elements that are finite in both; none if one has no length.
    pub cosine: Option<f64>,
    /// The first element, in row-major order, that is beyond the tolerance.
    pub first: Option<u64>,
}

impl Distance {
    /// Whether all elements are equal as numbers.
    pub fn is_zero(&self) -> bool {
        self.max_abs == 0.0
    }
}

/// Whether values of these two can be compared as numbers: floating, of whole bytes an element.
pub fn comparable(a: &Recipe, b: &Recipe) -> bool {
    let float = |recipe: &Recipe| recipe.dtype.kind() == Kind::Float && recipe.dtype.item_bytes().is_some();
    float(a) && float(b)
}

/// Compares two [`comparable`] values of one shape. Two elements are near enough if they are apart by no more than
/// `tolerance` times the larger of 1 and the magnitude of the second: absolutely for small numbers, relatively for
/// large ones. NaN is equal to NaN.
///
/// # Errors
/// Those of reading either value.
pub fn distance(
    a: (&Reader<'_>, &Recipe),
    b: (&Reader<'_>, &Recipe),
    tolerance: f64,
    progress: &Progress,
) -> Result<Distance> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut sums, simd) = (Sums { tolerance, ..Sums::default() }, pulp::Arch::new());
    for block in Blocks::new(a.1, BLOCK / 4).iter() {
        let other = in_dtype_of(&block, a.1, b.1);
        left.resize(to_usize(block.bytes), 0);
        right.resize(to_usize(other.bytes), 0);
        a.0.block(a.1, &block, &mut left)?;
        b.0.block(b.1, &other, &mut right)?;
        progress.advance(block.bytes.saturating_add(other.bytes))?;
        simd.dispatch(Measure { sums: &mut sums, ours: (a.1.dtype, &left), theirs: (b.1.dtype, &right) });
    }
    Ok(sums.distance())
}

/// The same box of a value of another dtype.
fn in_dtype_of(block: &Block, a: &Recipe, b: &Recipe) -> Block {
    let (from, to) = (a.dtype.item_bytes().unwrap_or(1), b.dtype.item_bytes().unwrap_or(1));
    let scaled = |bytes: u64| bytes.checked_div(from).unwrap_or(0).saturating_mul(to);
    Block { offset: scaled(block.offset), bytes: scaled(block.bytes), ..block.clone() }
}

/// Sums that run side by side, and elements that are made numbers at once.
const LANES: usize = 16;
const STRETCH: usize = 1024;

/// Two blocks of the same elements, as what `pulp` compiles for each set of vector instructions.
struct Measure<'a> {
    sums: &'a mut Sums,
    ours: (Dtype, &'a [u8]),
    theirs: (Dtype, &'a [u8]),
}

impl pulp::WithSimd for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let item = |dtype: Dtype| to_usize(dtype.item_bytes().unwrap_or(1));
        let (ours, theirs) = (item(self.ours.0), item(self.theirs.0));
        let stretches = self.ours.1.chunks(ours * STRETCH).zip(self.theirs.1.chunks(theirs * STRETCH));
        let (mut left, mut right) = ([0.0; STRETCH], [0.0; STRETCH]);
        for (a, b) in stretches {
            let count = a.len() / ours;
            let (left, right) = (&mut left[..count], &mut right[..count]);
            decoder(self.ours.0, Fill { bytes: a, into: left });
            decoder(self.theirs.0, Fill { bytes: b, into: right });
            self.sums.stretch(left, right);
        }
    }
}

/// Makes numbers of bytes.
struct Fill<'a> {
    bytes: &'a [u8],
    into: &'a mut [f64],
}

impl Visit for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) {
        for (number, bytes) in self.into.iter_mut().zip(self.bytes.as_chunks::<N>().0) {
            *number = decode(*bytes).into();
        }
    }
}

/// What a stretch of finite numbers adds, lane by lane.
struct Lanes {
    product: [f64; LANES],
    ours: [f64; LANES],
    theirs: [f64; LANES],
    abs: [f64; LANES],
    /// How far the worst element is beyond what is allowed, and beyond the largest relation so far: above 0 if any is.
    beyond: [f64; LANES],
    further: [f64; LANES],
    /// 0 if all are finite, else NaN.
    odd: [f64; LANES],
}

#[derive(Default)]
struct Sums {
    tolerance: f64,
    seen: u64,
    so_far: Distance,
    product: f64,
    ours: f64,
    theirs: f64,
}

impl Sums {
    /// Takes in as many numbers of one as of the other. A stretch in which something is not finite, or that holds the
    /// first element beyond the tolerance or the largest relation so far, is looked at number by number: there are few.
    #[inline(always)]
    fn stretch(&mut self, ours: &[f64], theirs: &[f64]) {
        let none = [0.0; LANES];
        let mut lanes =
            Lanes { product: none, ours: none, theirs: none, abs: none, beyond: none, further: none, odd: none };
        let (rows, rest) = (ours.as_chunks::<LANES>(), theirs.as_chunks::<LANES>());
        let (tolerance, relation) = (self.tolerance, self.so_far.max_rel);
        for (a, b) in rows.0.iter().zip(rest.0) {
            lanes.add(a, b, tolerance, relation);
        }
        let (mut a, mut b) = (none, none);
        a[..rows.1.len()].copy_from_slice(rows.1);
        b[..rest.1.len()].copy_from_slice(rest.1);
        lanes.add(&a, &b, tolerance, relation);
        let any = |lanes: &[f64; LANES]| lanes.iter().any(|lane| *lane > 0.0);
        let first = any(&lanes.beyond) && self.so_far.first.is_none();
        if lanes.odd.iter().sum::<f64>() != 0.0 || lanes.odd.iter().any(|lane| lane.is_nan()) {
            for (&a, &b) in ours.iter().zip(theirs) {
                self.add(a, b);
            }
            return;
        }
        if first || any(&lanes.further) {
            for ((&a, &b), place) in ours.iter().zip(theirs).zip(self.seen..) {
                self.compare(a, b, place);
            }
        }
        self.product += lanes.product.iter().sum::<f64>();
        self.ours += lanes.ours.iter().sum::<f64>();
        self.theirs += lanes.theirs.iter().sum::<f64>();
        self.so_far.max_abs = lanes.abs.iter().fold(self.so_far.max_abs, |most, &lane| most.max(lane));
        self.seen = self.seen.saturating_add(to_u64(ours.len()));
    }

    /// One element of each, whatever they are.
    fn add(&mut self, a: f64, b: f64) {
        if a.is_finite() && b.is_finite() {
            self.product += a * b;
            self.ours += a * a;
            self.theirs += b * b;
        }
        self.compare(a, b, self.seen);
        self.seen = self.seen.saturating_add(1);
    }

    fn compare(&mut self, a: f64, b: f64, place: u64) {
        let same = a == b || (a.is_nan() && b.is_nan());
        let apart = if same { 0.0 } else { (a - b).abs() };
        // What only one of them has is infinitely far away.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        if apart > 0.0 {
            let rel = apart / a.abs().max(b.abs());
            self.so_far.max_abs = self.so_far.max_abs.max(apart);
            self.so_far.max_rel = self.so_far.max_rel.max(if rel.is_finite() { rel } else { 2.0 });
            let allowed = self.tolerance * b.abs().max(1.0);
            // Nothing is near to an infinity but itself.
            if apart > allowed || apart.is_infinite() {
                self.so_far.first.get_or_insert(place);
            }
        }
    }

    fn distance(self) -> Distance {
        let lengths = self.ours.sqrt() * self.theirs.sqrt();
        let cosine = (lengths > 0.0).then(|| (self.product / lengths).clamp(-1.0, 1.0));
        Distance { cosine: cosine.filter(|cosine| cosine.is_finite()), ..self.so_far }
    }
}

impl Lanes {
    /// Adds a row. The larger of two is spelt out, for `f64::max` is no single instruction.
    #[inline(always)]
    fn add(&mut self, a: &[f64; LANES], b: &[f64; LANES], tolerance: f64, relation: f64) {
        let larger = |a: f64, b: f64| if a > b { a } else { b };
        for lane in 0..LANES {
            let (a, b) = (a[lane], b[lane]);
            let apart = (a - b).abs();
            self.product[lane] += a * b;
            self.ours[lane] += a * a;
            self.theirs[lane] += b * b;
            self.abs[lane] = larger(apart, self.abs[lane]);
            self.beyond[lane] = larger(apart - tolerance * larger(b.abs(), 1.0), self.beyond[lane]);
            self.further[lane] = larger(apart - relation * larger(a.abs(), b.abs()), self.further[lane]);
            self.odd[lane] += a * 0.0 + b * 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bytes::Pool;
    use crate::facts::{Dtype, Op};

    fn f32s(values: &[f32]) -> Recipe {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Recipe { dtype: Dtype::F32, shape: vec![values.len() as u64], op: Op::Literal(bytes.into()) }
    }

    fn apart(a: &Recipe, b: &Recipe, tolerance: f64) -> Distance {
        let pool = Pool::new();
        let reader = Reader::new(&pool);
        distance((&reader, a), (&reader, b), tolerance, &Progress::default()).unwrap()
    }

    #[test]
    fn values_of_another_shape_or_dtype_differ_from_the_first_element_on() {
        let (pool, progress) = (Pool::new(), Progress::default());
        let reader = Reader::new(&pool);
        let differ = |a: &Recipe, b: &Recipe| first_difference((&reader, a), (&reader, b), &progress).unwrap();
        let whole = f32s(&[1.0, 2.0, 3.0, 4.0]);
        let part = f32s(&[1.0, 2.0]);
        let bits = Recipe { dtype: Dtype::I32, ..whole.clone() };
        for other in [&part, &bits] {
            assert_eq!((differ(&whole, other), differ(other, &whole)), (Some(0), Some(0)));
        }
        assert_eq!((differ(&whole, &whole), differ(&part, &f32s(&[1.0, 3.0]))), (None, Some(1)));
    }

    #[test]
    fn distances_are_those_of_the_definitions() {
        let (a, b) = (f32s(&[1.0, 200.0, -3.0, 0.0]), f32s(&[1.0, 201.0, -3.5, 0.0]));
        let seen = apart(&a, &b, 0.1);
        assert_eq!((seen.max_abs, seen.first), (1.0, Some(2)), "1 of 201 is within a tenth, 0.5 of 3.5 is not");
        assert!((seen.max_rel - 0.5 / 3.5).abs() < 1e-12);
        assert_eq!(apart(&a, &b, 0.2).first, None);
        let cosine: f64 = (1.0 + 200.0 * 201.0 + 3.0 * 3.5) / (40010f64.sqrt() * 40414.25f64.sqrt());
        assert!((seen.cosine.unwrap() - cosine).abs() < 1e-12);
        assert!(apart(&a, &a, 0.0).is_zero());
        let odd = apart(&f32s(&[f32::NAN, f32::INFINITY, 1.0]), &f32s(&[f32::NAN, f32::INFINITY, f32::NAN]), 9.0);
        assert_eq!((odd.max_abs, odd.max_rel, odd.first), (f64::INFINITY, 2.0, Some(2)));
        assert_eq!(apart(&f32s(&[0.0]), &f32s(&[-0.0]), 0.0), Distance::default());
    }

    #[test]
    fn stretches_and_single_numbers_say_the_same() {
        // Each value of these counts is looked at in a row, in what is left of one, or because something is odd.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 1e6 - 8.0
        };
        for count in [1usize, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let ours: Vec<f32> = (0..count).map(|_| next()).collect();
            let mut theirs: Vec<f32> = ours.iter().map(|a| a * (1.0 + next() / 1e3)).collect();
            for odd in [None, Some(f32::NAN), Some(f32::INFINITY)] {
                theirs[count / 2] = odd.unwrap_or(theirs[count / 2]);
                for tolerance in [0.0, 1e-3, 1.0] {
                    let mut sums = Sums { tolerance, ..Sums::default() };
                    ours.iter().zip(&theirs).for_each(|(&a, &b)| sums.add(f64::from(a), f64::from(b)));
                    let (wanted, seen) = (sums.distance(), apart(&f32s(&ours), &f32s(&theirs), tolerance));
                    let exact = (seen.max_abs, seen.first) == (wanted.max_abs, wanted.first);
                    // A quotient and a product need not agree in the last bit on which of two relations is larger.
                    let near = (seen.max_rel - wanted.max_rel).abs() < 1e-15;
                    assert!(exact && near, "{count} {odd:?} {tolerance}: {seen:?} {wanted:?}");
                    let cosines = seen.cosine.zip(wanted.cosine).map(|(a, b)| (a - b).abs());
                    assert!(cosines.is_none_or(|apart| apart < 1e-12), "{count}");
                }
            }
        }
    }

    #[test]
    fn dtypes_are_compared_as_numbers() {
        let values: Vec<f32> =
            (0..700_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0).collect();
        let wide = f32s(&values);
        let narrow = Recipe { dtype: Dtype::Bf16, shape: wide.shape.clone(), op: Op::Cast(Arc::new(wide.clone())) };
        let seen = apart(&narrow, &wide, 2f64.powi(-8));
        assert!(seen.first.is_none() && seen.max_rel > 0.0 && seen.max_rel <= 2f64.powi(-8), "{seen:?}");
        assert_eq!(seen.max_abs.to_bits(), apart(&wide, &narrow, 1.0).max_abs.to_bits());
        assert!(apart(&narrow, &wide, 1e-4).first.is_some() && seen.cosine.unwrap() > 0.99999);
    }
}
