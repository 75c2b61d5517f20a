//! The F32 values that packed or scaled weights stand for, bit for bit as the libraries that define the schemes have it.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "a kernel: check.rs has proved that shapes agree; integers of at most 8 bits are exact in F32"
)]

use anyhow::{Result, bail};
use half::{bf16, f16};

use crate::bytes::to_usize;
use crate::facts::recipe::Scheme;
use crate::facts::{Dtype, Finding, Id, Recipe};

/// Makes a box of a value, contiguous.
type Fetch<'a> = &'a dyn Fn(&Recipe, &[u64], &[u64], &mut [u8]) -> Result<()>;

/// Makes a box of rows by columns of the weight.
pub(super) fn unpack(
    fetch: Fetch<'_>,
    scheme: Scheme,
    stored: &Recipe,
    scale: &Recipe,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    // Rows and columns of one scale, and columns of one stored element.
    let (high, wide, each) = match scheme {
        Scheme::Scaled { rows, columns } => (rows, columns, 1),
        Scheme::Packed { bits, group } => (1, group, u64::from(32 / bits)),
        Scheme::Mxfp4 => (1, 32, 2),
    };
    let values = Part::read(fetch, stored, start, size, (1, each))?;
    let scales = Part::read(fetch, scale, start, size, (high, wide))?.floats()?;
    let table = decoded(stored.dtype);
    let (out, _) = out.as_chunks_mut::<4>();
    let columns = to_usize(size[1]);
    for row in 0..to_usize(size[0]) {
        let line = values.row(row, start[0], 1);
        let factors = &scales.values[scales.place(row, start[0], high)..];
        for column in 0..columns {
            let at = to_usize(start[1]) + column;
            let factor = factors[at / to_usize(wide) - scales.first];
            let unit = at / to_usize(each) - values.first;
            let value = match scheme {
                Scheme::Scaled { .. } => table[usize::from(line[unit])],
                Scheme::Packed { bits, .. } => {
                    let word = u32::from_le_bytes([
                        line[4 * unit],
                        line[4 * unit + 1],
                        line[4 * unit + 2],
                        line[4 * unit + 3],
                    ]);
                    let bits = to_usize(bits.into());
                    let shift = at % to_usize(each) * bits;
                    let mask = (1u32 << bits) - 1;
                    (((word >> shift) & mask) as i32 - (1 << (bits - 1))) as f32
                }
                Scheme::Mxfp4 => E2M1[usize::from(line[unit] >> (at % 2 * 4) & 15)],
            };
            out[row * columns + column] = (value * factor).to_le_bytes();
        }
    }
    Ok(())
}

/// The values of a 4-bit float: two bits of exponent, one of mantissa (OCP MX 1.0, table 5).
const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The part of a stored tensor that a box of the weight needs.
struct Part {
    dtype: Dtype,
    bytes: Vec<u8>,
    /// Bytes of a row.
    width: usize,
    /// First column, in elements of the stored tensor.
    first: usize,
}

impl Part {
    /// Reads it: each of its elements stands for `unit` rows and columns of the weight.
    fn read(fetch: Fetch<'_>, of: &Recipe, start: &[u64], size: &[u64], unit: (u64, u64)) -> Result<Part> {
        let span = |axis: usize, unit: u64| {
            let first = start[axis] / unit;
            (first, (start[axis] + size[axis]).div_ceil(unit) - first)
        };
        let ((row, rows), (column, columns)) = (span(0, unit.0), span(1, unit.1));
        let item = of.dtype.item_bytes().unwrap_or(1);
        let mut bytes = vec![0; to_usize(rows * columns * item)];
        fetch(of, &[row, column], &[rows, columns], &mut bytes)?;
        Ok(Part { dtype: of.dtype, bytes, width: to_usize(columns * item), first: to_usize(column) })
    }

    /// The bytes that stand for row `row` of the box, which begins at row `start` of the weight.
    fn row(&self, row: usize, start: u64, high: u64) -> &[u8] {
        let row = (to_usize(start) + row) / to_usize(high) - to_usize(start / high);
        &self.bytes[row * self.width..][..self.width]
    }

    /// The same as numbers.
    fn floats(self) -> Result<Floats> {
        let bytes = &self.bytes;
        let values: Vec<f32> = match self.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|v| f16::from_le_bytes(*v).to_f32()).collect(),
            Dtype::Bf16 => bytes.as_chunks().0.iter().map(|v| bf16::from_le_bytes(*v).to_f32()).collect(),
            // E8M0: a power of two, its exponent biased by 127; 255 is no number.
            Dtype::U8 => {
                bytes.iter().map(|&v| if v == 255 { f32::NAN } else { 2f32.powi(i32::from(v) - 127) }).collect()
            }
            other => bail!(Finding::new(Id::Unsupported, format!("scales of {other}"))),
        };
        let item = to_usize(self.dtype.item_bytes().unwrap_or(1));
        Ok(Floats { values, width: self.width / item, first: self.first })
    }
}

/// Scales as numbers.
struct Floats {
    values: Vec<f32>,
    /// Scales in a row.
    width: usize,
    /// First column of scales.
    first: usize,
}

impl Floats {
    /// Where the scales of a row begin.
    fn place(&self, row: usize, start: u64, high: u64) -> usize {
        ((to_usize(start) + row) / to_usize(high) - to_usize(start / high)) * self.width
    }
}

/// What each byte stands for in a dtype of one byte.
fn decoded(dtype: Dtype) -> [f32; 256] {
    std::array::from_fn(|byte| {
        let byte = u8::try_from(byte).unwrap_or(0);
        match dtype {
            Dtype::F8E4M3 => e4m3(byte),
            // The upper half of an F16.
            Dtype::F8E5M2 => f16::from_bits(u16::from(byte) << 8).to_f32(),
            _ => f32::from(byte as i8),
        }
    })
}

/// E4M3 without infinities (OCP FP8, as torch's `float8_e4m3fn`): bias 7, the largest pattern is no number.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if byte >> 7 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_have_the_values_of_their_standard() {
        // OCP FP8 1.0, table 1: the largest value is 448, the smallest subnormal 2^-9.
        assert_eq!((e4m3(0x7e), e4m3(0x01), e4m3(0x08)), (448.0, 2f32.powi(-9), 2f32.powi(-6)));
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        assert_eq!((e4m3(0xb8), decoded(Dtype::F8E5M2)[0x7b], decoded(Dtype::I8)[0xff]), (-1.0, 57344.0, -1.0));
    }
}
