//! Figures of values: smallest, largest, mean, deviation, norm.
//!
//! Sums are taken page by page, joined to blocks of [`BLOCK`] elements and those to the whole, always in the order of
//! the elements, so that neither the number of threads nor the file's layout changes a bit of the result.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::inline_always,
    reason = "a numeric kernel, made of rows of a constant length; no more is indexed than was filled"
)]

use crate::bytes::to_u64;
use crate::facts::Dtype;
use crate::plan::decode::{Number, Visit, decoder};

/// Elements that are summed up on their own before they are joined to the rest.
pub const BLOCK: u64 = 1 << 20;

/// Sums that run side by side.
const LANES: usize = 32;

/// Numbers that are made at once.
const STRETCH: usize = 1024;

/// Moments of finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// Finite numbers.
    pub finite: u64,
    /// Numbers that are zero.
    pub zeros: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squares of the distances from the mean.
    spread: f64,
    /// Sum of the squares.
    squares: f64,
}

impl Default for Moments {
    fn default() -> Moments {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Moments { finite: 0, zeros: 0, min, max, mean: 0.0, spread: 0.0, squares: 0.0 }
    }
}

/// Numbers below have squares near the smallest that 64 bits hold with all their digits (`f64::MIN_POSITIVE`, 2.2e-308).
const VANISHING: f64 = 1e-150;

impl Moments {
    /// Smallest number; none without a finite one.
    pub fn min(&self) -> Option<f64> {
        (self.finite > 0).then_some(self.min)
    }

    /// Largest number.
    pub fn max(&self) -> Option<f64> {
        (self.finite > 0).then_some(self.max)
    }

    /// Mean; none as well where it is beyond 64 bits.
    pub fn mean(&self) -> Option<f64> {
        (self.finite > 0).then_some(self.mean).filter(|mean| mean.is_finite())
    }

    /// Standard deviation over all finite numbers; none where their squares are beyond 64 bits, at either end.
    pub fn std(&self) -> Option<f64> {
        let known = self.min == self.max || self.norm().is_some();
        (self.finite > 0 && known).then(|| (self.spread / self.finite as f64).sqrt()).filter(|std| std.is_finite())
    }

    /// Euclidean norm; none where the squares are beyond 64 bits, at either end.
    pub fn norm(&self) -> Option<f64> {
        (self.finite > 0 && !self.vanishes()).then(|| self.squares.sqrt()).filter(|norm| norm.is_finite())
    }

    /// Whether the squares of the numbers are too small for 64 bits, so that their sum is 0 or a few bits of itself.
    fn vanishes(&self) -> bool {
        let largest = self.min.abs().max(self.max.abs());
        largest > 0.0 && largest < VANISHING
    }

    /// Takes in the numbers that follow (Chan, Golub and LeVeque's pairwise update of a variance).
    pub(super) fn join(&mut self, next: &Moments) {
        if next.finite == 0 {
            return;
        }
        if self.finite == 0 {
            *self = *next;
            return;
        }
        let (ours, theirs) = (self.finite as f64, next.finite as f64);
        let all = ours + theirs;
        let apart = next.mean - self.mean;
        self.mean += apart * (theirs / all);
        self.spread += next.spread + apart * apart * (ours * (theirs / all));
        self.squares += next.squares;
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.finite += next.finite;
        self.zeros += next.zeros;
    }

    /// The moments of a page of numbers of `dtype`; `odd` says that some of them may not be finite. None for a
    /// dtype without numbers of its own.
    #[inline(always)]
    pub(super) fn of(dtype: Dtype, bytes: &[u8], odd: bool) -> Option<Moments> {
        decoder(dtype, Page(bytes, odd))
    }
}

/// A page, and whether some of its numbers may not be finite.
struct Page<'a>(&'a [u8], bool);

impl Visit for Page<'_> {
    type Output = Moments;

    #[inline(always)]
    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) -> Moments {
        let numbers = self.0.as_chunks::<N>().0;
        if !self.1 {
            return page(numbers, decode);
        }
        let finite = numbers.iter().map(|number| decode(*number).into()).filter(|number: &f64| number.is_finite());
        page(&finite.map(f64::to_le_bytes).collect::<Vec<_>>(), f64::from_le_bytes)
    }
}

/// Every number is added to the sums of its lane, and the lanes are joined in their order. Numbers are made a stretch at
/// a time before that, in a loop of its own that the compiler makes vector instructions of.
#[inline(always)]
fn page<const N: usize, T: Number>(numbers: &[[u8; N]], decode: impl Fn([u8; N]) -> T) -> Moments {
    if numbers.is_empty() {
        return Moments::default();
    }
    let (mut sum, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (mut min, mut max, mut zeros) = ([T::INFINITY; LANES], [T::NEG_INFINITY; LANES], 0u64);
    let mut made = [T::ZERO; STRETCH];
    for stretch in numbers.chunks(STRETCH) {
        for (number, bytes) in made.iter_mut().zip(stretch) {
            *number = decode(*bytes);
        }
        let made = &made[..stretch.len()];
        let (rows, rest) = made.as_chunks::<LANES>();
        for row in rows {
            add(&mut sum, &mut squares, row);
        }
        add(&mut sum, &mut squares, rest);
        for row in rows {
            bound(&mut min, &mut max, row);
        }
        bound(&mut min, &mut max, rest);
        // Fewer than 2^32 in a stretch; a checked sum would not be one of vectors.
        zeros += u64::from(made.iter().fold(0u32, |zeros, number| zeros.wrapping_add(u32::from(*number == T::ZERO))));
    }
    let finite = to_u64(numbers.len());
    let (sum, squares) = (sum.iter().sum::<f64>(), squares.iter().sum::<f64>());
    let min = min.iter().fold(f64::INFINITY, |min, &lane| min.min(lane.into()));
    let max = max.iter().fold(f64::NEG_INFINITY, |max, &lane| max.max(lane.into()));
    let mean = sum / finite as f64;
    // Equal numbers have no spread, whatever rounding says.
    let spread = if min == max { 0.0 } else { (squares - sum * mean).max(0.0) };
    let mean = if min == max { min } else { mean };
    Moments { finite, zeros, min, max, mean, spread, squares }
}

/// Adds a row of at most as many numbers as there are lanes.
#[inline(always)]
fn add<T: Number>(sum: &mut [f64; LANES], squares: &mut [f64; LANES], row: &[T]) {
    for ((sum, squares), &number) in sum.iter_mut().zip(squares).zip(row) {
        let number: f64 = number.into();
        *sum += number;
        *squares += number * number;
    }
}

/// Widens the bounds of every lane.
#[inline(always)]
fn bound<T: Number>(min: &mut [T; LANES], max: &mut [T; LANES], row: &[T]) {
    for ((min, max), &number) in min.iter_mut().zip(max).zip(row) {
        *min = if number < *min { number } else { *min };
        *max = if number > *max { number } else { *max };
    }
}
