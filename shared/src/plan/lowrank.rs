//! Adapters merged into the matrices they were trained for, tile by tile, with the arithmetic of the library chosen.
//!
//! An element of the product is one chain of fused multiply-adds in the order of the rank: what the matrix products of
//! MKL and oneDNN do for ranks as small as those of adapters, on any number of threads and any width of vector.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a kernel: check.rs has proved that shapes agree; factors are rounded to F32 on purpose"
)]

use anyhow::{Context, Result, bail};
use half::{bf16, f16};

use super::decode::half;
use super::math::Fetch;
use crate::bytes::{to_u64, to_usize};
use crate::facts::lowrank::{LowRank, MergeMath};
use crate::facts::{Dtype, Finding, Id, Recipe};

/// Columns that are worked on at once: eight vectors of eight numbers.
const LANES: usize = 64;

/// Elements of `a` that are held at once, which is 1 MiB and stays near the processor.
const TILE: usize = 1 << 18;

/// Sums that are held at once, which is 256 KiB.
const SUMS: usize = 1 << 16;

/// Elements of `b` that are held at once, which is 4 MiB.
const HELD: u64 = 1 << 20;

/// Makes a box of rows by columns of the merged matrix.
pub(super) fn merge(
    fetch: Fetch<'_>,
    low: &LowRank,
    dtype: Dtype,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    let (&[top, left], &[rows, columns]) = (start, size) else {
        bail!(Finding::new(Id::Unsupported, "a merge of what is no matrix"));
    };
    let rank = low.a.shape.first().copied().unwrap_or(0);
    let high = (HELD / rank.max(1)).clamp(1, rows.max(1));
    let bytes = to_usize(high * columns) * item(dtype)?;
    for (number, piece) in out.chunks_mut(bytes.max(1)).enumerate() {
        let first = to_u64(number) * high;
        let place = Place { top: top + first, left, rows: high.min(rows - first), columns };
        Merge::new(fetch, low, place)?.fill(dtype, piece)?;
    }
    Ok(())
}

fn item(dtype: Dtype) -> Result<usize> {
    dtype.item_bytes().map(to_usize).context("a merge of packed values")
}

/// Takes a row, the first of its columns at hand, their sums, which are yet to be rounded, and the base's bytes of them.
type Sink<'a> = &'a mut dyn FnMut(usize, usize, &mut [f32], &mut [u8]) -> Result<()>;

/// A box of a merge.
struct Place {
    top: u64,
    left: u64,
    rows: u64,
    columns: u64,
}

/// A box of a merge, and the rows of `b` for it.
struct Merge<'a> {
    fetch: Fetch<'a>,
    low: &'a LowRank,
    place: Place,
    rank: usize,
    /// Rows by rank, scaled already where torchtune does so first.
    b: Vec<f32>,
    /// What the product is multiplied by.
    scale: f32,
}

impl<'a> Merge<'a> {
    fn new(fetch: Fetch<'a>, low: &'a LowRank, place: Place) -> Result<Merge<'a>> {
        let rank = low.a.shape.first().copied().unwrap_or(0);
        let mut b = values(fetch, &low.b, &[place.top, 0], &[place.rows, rank])?;
        let mut scale = low.scale.value() as f32;
        if low.math == MergeMath::Torchtune {
            for value in &mut b {
                *value *= scale;
            }
            round(low.b.dtype, &mut b);
            scale = 1.0;
        }
        Ok(Merge { fetch, low, place, rank: to_usize(rank), b, scale })
    }

    /// Makes the box.
    fn fill(&self, dtype: Dtype, out: &mut [u8]) -> Result<()> {
        let (low, Place { top, left, rows, columns }) = (self.low, &self.place);
        let factors = low.magnitude.as_ref().map(|magnitude| self.factors(magnitude)).transpose()?;
        let finish = |row: usize, line: &mut [f32], out: &mut [u8]| {
            if let Some(factor) = factors.as_ref().map(|factors| factors[row]) {
                for value in &mut *line {
                    *value *= factor;
                }
            }
            store(dtype, line, out)
        };
        let (start, size) = ([*top, *left], [*rows, *columns]);
        if dtype.item_bytes() == low.base.dtype.item_bytes() {
            // The base's bytes give way to the sums.
            (self.fetch)(&low.base, &start, &size, out)?;
            return self.lines(*left, *columns, out, &mut |row, _, line, piece| finish(row, line, piece));
        }
        let (item, width) = (item(dtype)?, to_usize(*columns));
        let mut base = vec![0; to_usize(rows * columns) * self::item(low.base.dtype)?];
        (self.fetch)(&low.base, &start, &size, &mut base)?;
        self.lines(*left, *columns, &mut base, &mut |row, at, line, _| {
            let begin = (row * width + at) * item;
            finish(row, line, &mut out[begin..][..line.len() * item])
        })
    }

    /// Columns that are worked on at once. They depend on the rank alone, so that sums over a row are the same in every box.
    fn strip(&self) -> usize {
        (TILE / self.rank.max(1)).max(LANES)
    }

    /// Hands over base plus product of some columns, whose bytes in the base are given, in pieces of rows.
    fn lines(&self, left: u64, columns: u64, base: &mut [u8], sink: Sink<'_>) -> Result<()> {
        let (rows, width, item) = (to_usize(self.place.rows), to_usize(columns), item(self.low.base.dtype)?);
        let most = self.strip();
        let (mut at, mut sums) = (0, Vec::new());
        while at < width {
            let wide = most.min(width - at);
            let size = [to_u64(self.rank), to_u64(wide)];
            let a = packed(&values(self.fetch, &self.low.a, &[0, left + to_u64(at)], &size)?, wide);
            let high = (SUMS / wide).max(1);
            for first in (0..rows).step_by(high) {
                let count = high.min(rows - first);
                sums.clear();
                sums.resize(count * wide, 0.0f32);
                let b = &self.b[first * self.rank..][..count * self.rank];
                pulp::Arch::new().dispatch(Product { rank: self.rank, wide, b, a: &a, out: &mut sums });
                for (row, line) in sums.chunks_exact_mut(wide).enumerate() {
                    let piece = &mut base[((first + row) * width + at) * item..][..wide * item];
                    self.plus(line, piece)?;
                    sink(first + row, at, line, piece)?;
                }
            }
            at += wide;
        }
        Ok(())
    }

    /// Adds the base to a row of the product.
    fn plus(&self, line: &mut [f32], base: &[u8]) -> Result<()> {
        let low = self.low;
        match low.math {
            MergeMath::Peft | MergeMath::PeftEmbedding => {
                for value in &mut *line {
                    *value *= self.scale;
                }
                if low.math == MergeMath::PeftEmbedding {
                    round(low.base.dtype, line);
                }
            }
            MergeMath::Torchtune => round(low.a.dtype, line),
        }
        if low.math == MergeMath::Torchtune && low.magnitude.is_some() {
            // The base itself takes the adapter's dtype there.
            let mut own = vec![0.0; line.len()];
            each(low.base.dtype, base, &mut own, |to, value| *to = value)?;
            round(low.a.dtype, &mut own);
            line.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            round(low.a.dtype, line);
            return Ok(());
        }
        each(low.base.dtype, base, line, |sum, value| *sum += value)
    }

    /// What each row is multiplied by, so that it gets its magnitude: over its length, the root of the sum of squares,
    /// which is summed in F64.
    fn factors(&self, magnitude: &Recipe) -> Result<Vec<f32>> {
        let (top, rows) = (self.place.top, self.place.rows);
        let columns = self.low.base.shape.get(1).copied().unwrap_or(0);
        let mut squares = vec![0.0f64; to_usize(rows)];
        let mut base = Vec::new();
        let mut left = 0;
        while left < columns {
            let wide = to_u64(self.strip()).min(columns - left);
            base.resize(to_usize(rows * wide) * item(self.low.base.dtype)?, 0);
            (self.fetch)(&self.low.base, &[top, left], &[rows, wide], &mut base)?;
            self.lines(left, wide, &mut base, &mut |row, _, line, _| {
                squares[row] += line.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
                Ok(())
            })?;
            left += wide;
        }
        let mut lengths: Vec<f32> = squares.into_iter().map(|square| square.sqrt() as f32).collect();
        let mut factors = values(self.fetch, magnitude, &[top], &[rows])?;
        let stepwise = self.low.math == MergeMath::Torchtune;
        if stepwise {
            round(self.low.a.dtype, &mut lengths);
        }
        factors.iter_mut().zip(lengths).for_each(|(factor, length)| *factor /= length);
        if stepwise {
            round(self.low.a.dtype, &mut factors);
        }
        Ok(factors)
    }
}

/// The rows of `a` in strips of [`LANES`] columns, one row of a strip after the other; what lies beyond the last column
/// is zero.
fn packed(a: &[f32], wide: usize) -> Vec<[f32; LANES]> {
    let strips = wide.div_ceil(LANES);
    let rank = a.len().checked_div(wide).unwrap_or(0);
    let mut strip = vec![[0.0; LANES]; strips * rank];
    for (row, line) in a.chunks_exact(wide.max(1)).enumerate() {
        for (number, piece) in line.chunks(LANES).enumerate() {
            strip[number * rank + row][..piece.len()].copy_from_slice(piece);
        }
    }
    strip
}

/// A product of rows by rank and rank by columns.
struct Product<'a> {
    rank: usize,
    wide: usize,
    b: &'a [f32],
    a: &'a [[f32; LANES]],
    out: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Product<'_> {
    type Output = ();

    // Inlined into what is compiled for the processor at hand, where a fused multiply-add is one instruction.
    #[expect(clippy::inline_always, reason = "what is not inlined is compiled for the oldest processor")]
    #[inline(always)]
    fn call(self) {
        let Product { rank, wide, b, a, out } = self;
        if rank == 0 {
            return;
        }
        for (factors, line) in b.chunks_exact(rank).zip(out.chunks_exact_mut(wide.max(1))) {
            for (strip, piece) in a.chunks_exact(rank).zip(line.chunks_mut(LANES)) {
                let mut sums = [0.0f32; LANES];
                for (factor, row) in factors.iter().zip(strip) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum = factor.mul_add(*value, *sum);
                    }
                }
                let count = piece.len();
                piece.copy_from_slice(&sums[..count]);
            }
        }
    }
}

/// A box of a value as F32, which all of its numbers are exact in.
fn values(fetch: Fetch<'_>, of: &Recipe, start: &[u64], size: &[u64]) -> Result<Vec<f32>> {
    let count = to_usize(size.iter().product::<u64>());
    let mut bytes = vec![0; count * item(of.dtype)?];
    fetch(of, start, size, &mut bytes)?;
    let mut values = vec![0.0; count];
    each(of.dtype, &bytes, &mut values, |to, value| *to = value)?;
    Ok(values)
}

/// Does something to every number of a line with the number of a dtype that stands at its place.
fn each(dtype: Dtype, bytes: &[u8], line: &mut [f32], change: impl Fn(&mut f32, f32)) -> Result<()> {
    let two = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => {
            let four = bytes.as_chunks::<4>().0.iter();
            line.iter_mut().zip(four).for_each(|(to, value)| change(to, f32::from_le_bytes(*value)));
        }
        Dtype::F16 => line.iter_mut().zip(two()).for_each(|(to, value)| change(to, half(u16::from_le_bytes(*value)))),
        Dtype::Bf16 => {
            line.iter_mut()
                .zip(two())
                .for_each(|(to, value)| change(to, f32::from_bits(u32::from(u16::from_le_bytes(*value)) << 16)));
        }
        other => bail!(Finding::new(Id::Unsupported, format!("a merge of {other} values"))),
    }
    Ok(())
}

/// Rounds numbers to those of a dtype, ties to even.
fn round(dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F16 => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        Dtype::Bf16 => values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32()),
        _ => {}
    }
}

/// Writes numbers in a dtype, rounded to nearest, ties to even.
fn store(dtype: Dtype, values: &[f32], out: &mut [u8]) -> Result<()> {
    match dtype {
        Dtype::F32 => {
            let four = out.as_chunks_mut::<4>().0.iter_mut();
            four.zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
        }
        Dtype::F16 => {
            let two = out.as_chunks_mut::<2>().0.iter_mut();
            two.zip(values).for_each(|(to, value)| *to = f16::from_f32(*value).to_le_bytes());
        }
        Dtype::Bf16 => {
            let two = out.as_chunks_mut::<2>().0.iter_mut();
            two.zip(values).for_each(|(to, value)| *to = brief(*value).to_le_bytes());
        }
        other => bail!(Finding::new(Id::Unsupported, format!("a merge of {other} values"))),
    }
    Ok(())
}

/// The nearest BF16, ties to even, without a branch that a vector could not take; the bits of NaN stay those of one.
fn brief(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add((bits >> 16) & 1) >> 16;
    let kept = if value.is_nan() { (bits >> 16) | 0x40 } else { rounded };
    kept as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_bf16_is_that_of_the_half_crate(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assert_eq!(brief(value), bf16::from_f32(value).to_bits());
        }

        /// Any cut of the columns and rows gives the same sums.
        #[test]
        fn a_box_of_a_merge_is_a_part_of_the_whole(rank in 1usize..9, top in 0u64..5, left in 0u64..70, dora in any::<bool>()) {
            use std::sync::Arc;

            use crate::facts::lowrank::Factor;

            let literal = |shape: &[u64], seed: u64| {
                let count = shape.iter().product::<u64>();
                let number = |at: u64| ((at * 2_654_435_761 + seed) % 1000) as f32 / 500.0 - 1.0;
                let bytes: Vec<u8> = (0..count).flat_map(|at| number(at).to_le_bytes()).collect();
                Arc::new(Recipe { dtype: Dtype::F32, shape: shape.to_vec(), op: crate::facts::Op::Literal(bytes.into()) })
            };
            let (rows, columns) = (7, 150);
            let low = LowRank {
                base: literal(&[rows, columns], 1),
                a: literal(&[rank as u64, columns], 2),
                b: literal(&[rows, rank as u64], 3),
                magnitude: dora.then(|| literal(&[rows], 4)),
                scale: Factor::new(1.5),
                math: MergeMath::Peft,
            };
            let fetch = |of: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]| {
                let crate::facts::Op::Literal(bytes) = &of.op else { unreachable!() };
                let width = of.shape[1..].iter().product::<u64>();
                let (first, wide) = if start.len() == 2 { (start[1], size[1]) } else { (0, 1) };
                for (row, line) in out.chunks_exact_mut(to_usize(wide * 4)).enumerate() {
                    let at = to_usize(((start[0] + row as u64) * width + first) * 4);
                    line.copy_from_slice(&bytes[at..][..line.len()]);
                }
                Ok(())
            };
            let make = |start: [u64; 2], size: [u64; 2]| {
                let mut out = vec![0; to_usize(size[0] * size[1] * 4)];
                merge(&fetch, &low, Dtype::F32, &start, &size, &mut out).unwrap();
                out
            };
            let whole = make([0, 0], [rows, columns]);
            let part = make([top, left], [2, 80]);
            for row in 0..2 {
                let at = to_usize(((top + row) * columns + left) * 4);
                prop_assert_eq!(&part[to_usize(row * 320)..][..320], &whole[at..][..320]);
            }
        }
    }
}
