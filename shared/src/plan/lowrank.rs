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

use super::math::Fetch;
use crate::bytes::{to_u64, to_usize};
use crate::facts::lowrank::{LowRank, MergeMath};
use crate::facts::{Dtype, Finding, Id, Recipe};

/// Columns that are worked on at once: eight vectors of eight numbers.
const LANES: usize = 64;

/// Elements of `a` that are held at once, which is 1 MiB and stays near the processor.
const TILE: usize = 1 << 18;

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
    let merge = Merge::new(fetch, low, top, rows)?;
    let factors = match &low.magnitude {
        Some(magnitude) => Some(merge.factors(magnitude)?),
        None => None,
    };
    let (item, width) = (to_usize(dtype.item_bytes().context("a merge of packed values")?), to_usize(columns));
    merge.tiles(left, columns, &mut |at, wide, sums| {
        for (row, line) in sums.chunks_exact_mut(wide).enumerate() {
            if let Some(factors) = &factors {
                let factor = factors[row];
                for value in line.iter_mut() {
                    *value *= factor;
                }
            }
            let begin = (row * width + at) * item;
            store(dtype, line, &mut out[begin..begin + wide * item])?;
        }
        Ok(())
    })
}

/// Takes the first column of a tile, how many it has, and its sums row by row, which are yet to be rounded.
type Sink<'a> = &'a mut dyn FnMut(usize, usize, &mut [f32]) -> Result<()>;

/// Some rows of a merge.
struct Merge<'a> {
    fetch: Fetch<'a>,
    low: &'a LowRank,
    top: u64,
    rows: u64,
    rank: usize,
    /// Rows by rank, scaled already where torchtune does so first.
    b: Vec<f32>,
    /// What the product is multiplied by.
    scale: f32,
}

impl<'a> Merge<'a> {
    fn new(fetch: Fetch<'a>, low: &'a LowRank, top: u64, rows: u64) -> Result<Merge<'a>> {
        let rank = low.a.shape.first().copied().unwrap_or(0);
        let mut b = values(fetch, &low.b, &[top, 0], &[rows, rank])?;
        let mut scale = low.scale.value() as f32;
        if low.math == MergeMath::Torchtune {
            for value in &mut b {
                *value *= scale;
            }
            round(low.b.dtype, &mut b);
            scale = 1.0;
        }
        Ok(Merge { fetch, low, top, rows, rank: to_usize(rank), b, scale })
    }

    /// Hands over base plus product of some columns, tile by tile.
    fn tiles(&self, left: u64, columns: u64, sink: Sink<'_>) -> Result<()> {
        let low = self.low;
        let most = (TILE / self.rank.max(1)).max(LANES);
        let (mut at, end) = (0, to_usize(columns));
        let mut sums = Vec::new();
        while at < end {
            let wide = most.min(end - at);
            let start = left + to_u64(at);
            let a = values(self.fetch, &low.a, &[0, start], &[to_u64(self.rank), to_u64(wide)])?;
            sums.clear();
            sums.resize(to_usize(self.rows) * wide, 0.0f32);
            pulp::Arch::new().dispatch(Product {
                rank: self.rank,
                wide,
                b: &self.b,
                a: &packed(&a, wide),
                out: &mut sums,
            });
            let mut base = values(self.fetch, &low.base, &[self.top, start], &[self.rows, to_u64(wide)])?;
            match low.math {
                MergeMath::Peft => sums.iter_mut().for_each(|value| *value *= self.scale),
                MergeMath::Torchtune => round(low.a.dtype, &mut sums),
            }
            let whole = low.math == MergeMath::Torchtune && low.magnitude.is_some();
            if whole {
                round(low.a.dtype, &mut base);
            }
            sums.iter_mut().zip(&base).for_each(|(sum, base)| *sum += base);
            if whole {
                round(low.a.dtype, &mut sums);
            }
            sink(at, wide, &mut sums)?;
            at += wide;
        }
        Ok(())
    }

    /// What each row is multiplied by, so that it gets its magnitude: over its length, the root of the sum of squares,
    /// which is summed in F64.
    fn factors(&self, magnitude: &Recipe) -> Result<Vec<f32>> {
        let columns = self.low.base.shape.get(1).copied().unwrap_or(0);
        let mut squares = vec![0.0f64; to_usize(self.rows)];
        self.tiles(0, columns, &mut |_, wide, sums| {
            for (square, line) in squares.iter_mut().zip(sums.chunks_exact(wide)) {
                *square += line.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
            }
            Ok(())
        })?;
        let mut lengths: Vec<f32> = squares.into_iter().map(|square| square.sqrt() as f32).collect();
        let mut factors = values(self.fetch, magnitude, &[self.top], &[self.rows])?;
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
    let item = of.dtype.item_bytes().context("a merge of packed values")?;
    let mut bytes = vec![0; to_usize(size.iter().product::<u64>() * item)];
    fetch(of, start, size, &mut bytes)?;
    let two = || bytes.as_chunks::<2>().0.iter();
    Ok(match of.dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
        Dtype::F16 => two().map(|value| f16::from_le_bytes(*value).to_f32()).collect(),
        Dtype::Bf16 => two().map(|value| bf16::from_le_bytes(*value).to_f32()).collect(),
        other => bail!(Finding::new(Id::Unsupported, format!("a merge of {other} values"))),
    })
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
    let two = out.len() / 2;
    match dtype {
        Dtype::F32 => {
            for (to, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *to = value.to_le_bytes();
            }
        }
        Dtype::F16 | Dtype::Bf16 if two == values.len() => {
            for (to, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *to = if dtype == Dtype::F16 {
                    f16::from_f32(*value).to_le_bytes()
                } else {
                    bf16::from_f32(*value).to_le_bytes()
                };
            }
        }
        other => bail!(Finding::new(Id::Unsupported, format!("a merge of {other} values"))),
    }
    Ok(())
}
