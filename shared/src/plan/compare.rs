//! The comparing sink: where two values first differ, and by how much.
#![expect(clippy::float_cmp, reason = "equal numbers are what is looked for")]

use anyhow::Result;

use super::blocks::{BLOCK, Block, Blocks};
use super::decode::numbers;
use super::read::Reader;
use crate::bytes::{to_u64, to_usize};
use crate::facts::dtype::Kind;
use crate::facts::{Progress, Recipe};

/// The first element, in row-major order, at which two values of one dtype and shape differ in a bit; `None` if they
/// are equal. A dtype of less than a byte an element is counted in bytes.
///
/// # Errors
/// Those of reading either value.
pub fn first_difference(
    a: (&Reader<'_>, &Recipe),
    b: (&Reader<'_>, &Recipe),
    progress: &Progress,
) -> Result<Option<u64>> {
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
    let mut sums = Sums::default();
    // Small blocks: the numbers are wider than the elements, and those of the other value may be as well.
    for block in Blocks::new(a.1, BLOCK / 8).iter() {
        let other = in_dtype_of(&block, a.1, b.1);
        left.resize(to_usize(block.bytes), 0);
        right.resize(to_usize(other.bytes), 0);
        a.0.block(a.1, &block, &mut left)?;
        b.0.block(b.1, &other, &mut right)?;
        progress.advance(block.bytes.saturating_add(other.bytes))?;
        let (ours, theirs) = (numbers(a.1.dtype, &left), numbers(b.1.dtype, &right));
        for (&a, &b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            sums.add(a, b, tolerance);
        }
    }
    Ok(sums.distance())
}

/// The same box of a value of another dtype.
fn in_dtype_of(block: &Block, a: &Recipe, b: &Recipe) -> Block {
    let (from, to) = (a.dtype.item_bytes().unwrap_or(1), b.dtype.item_bytes().unwrap_or(1));
    let scaled = |bytes: u64| bytes.checked_div(from).unwrap_or(0).saturating_mul(to);
    Block { offset: scaled(block.offset), bytes: scaled(block.bytes), ..block.clone() }
}

#[derive(Default)]
struct Sums {
    seen: u64,
    so_far: Distance,
    product: f64,
    ours: f64,
    theirs: f64,
}

impl Sums {
    fn add(&mut self, a: f64, b: f64, tolerance: f64) {
        let same = a == b || (a.is_nan() && b.is_nan());
        let apart = if same { 0.0 } else { (a - b).abs() };
        // What only one of them has is infinitely far away.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        if a.is_finite() && b.is_finite() {
            self.product += a * b;
            self.ours += a * a;
            self.theirs += b * b;
        }
        if apart > 0.0 {
            let rel = apart / a.abs().max(b.abs());
            self.so_far.max_abs = self.so_far.max_abs.max(apart);
            self.so_far.max_rel = self.so_far.max_rel.max(if rel.is_finite() { rel } else { 2.0 });
            let allowed = tolerance * b.abs().max(1.0);
            // Nothing is near to an infinity but itself.
            if apart > allowed || apart.is_infinite() {
                self.so_far.first.get_or_insert(self.seen);
            }
        }
        self.seen = self.seen.saturating_add(1);
    }

    fn distance(self) -> Distance {
        let lengths = self.ours.sqrt() * self.theirs.sqrt();
        let cosine = (lengths > 0.0).then(|| (self.product / lengths).clamp(-1.0, 1.0));
        Distance { cosine: cosine.filter(|cosine| cosine.is_finite()), ..self.so_far }
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
