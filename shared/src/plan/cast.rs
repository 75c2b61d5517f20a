//! Changes of values: another dtype rounded to nearest even, reversed bytes, conjugates, negatives.
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    clippy::inline_always,
    reason = "numeric kernels, compiled anew for the widest vectors of the processor at hand"
)]

use anyhow::{Context, Result, bail};

use super::decode::half;
use crate::bytes::to_usize;
use crate::facts::dtype::Kind;
use crate::facts::{Dtype, Finding, Id};

/// Numbers whose overflows are counted in one counter of 32 bits, which is as wide as most of the numbers.
const RUN: usize = 1 << 16;

/// Rounds every value of `from` to the nearest value of `to`, ties to even, and says how many finite ones became
/// infinite. The pairs are those of [`crate::facts::check::castable`].
///
/// # Errors
/// A finding for a pair of dtypes that is not known.
pub(super) fn cast(from: Dtype, values: &[u8], to: Dtype, out: &mut [u8]) -> Result<u64> {
    if from == to {
        out.copy_from_slice(values);
        return Ok(0);
    }
    let done = pulp::Arch::new().dispatch(Cast { from, values, to, out });
    done.with_context(|| Finding::new(Id::Unsupported, format!("there is no cast from {from} to {to}")))
}

/// A cast as what `pulp` compiles for each set of vector instructions.
struct Cast<'a> {
    from: Dtype,
    values: &'a [u8],
    to: Dtype,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Cast<'_> {
    /// Finite values that became infinite; `None` for a pair that is not known.
    type Output = Option<u64>;

    #[inline(always)]
    fn call(self) -> Option<u64> {
        use Dtype::{Bf16, F16, F32, F64};
        let Cast { from, values, to, out } = self;
        let f32_of = f32::from_le_bytes;
        let f64_of = f64::from_le_bytes;
        let f16_of = |v| quiet(half(u16::from_le_bytes(v)));
        let bf16_of = |v| quiet(f32::from_bits(u32::from(u16::from_le_bytes(v)) << 16));
        Some(match (from, to) {
            (F32, Bf16) => each(values, out, |v| rounded(f32_of(v), to_bf16, 0x7f80)),
            (F32, F16) => each(values, out, |v| rounded(f32_of(v), to_half, 0x7c00)),
            (F32, F64) => each(values, out, |v| (f64::from(f32_of(v)).to_le_bytes(), false)),
            (F16, F32) => each(values, out, |v| (f16_of(v).to_le_bytes(), false)),
            (F16, F64) => each(values, out, |v| (f64::from(f16_of(v)).to_le_bytes(), false)),
            // Exact in f32, so that only one rounding happens.
            (F16, Bf16) => each(values, out, |v| rounded(f16_of(v), to_bf16, 0x7f80)),
            (Bf16, F32) => each(values, out, |v| (bf16_of(v).to_le_bytes(), false)),
            (Bf16, F64) => each(values, out, |v| (f64::from(bf16_of(v)).to_le_bytes(), false)),
            (Bf16, F16) => each(values, out, |v| rounded(bf16_of(v), to_half, 0x7c00)),
            (F64, F32) => each(values, out, |v| {
                let (value, near) = (f64_of(v), f64_of(v) as f32);
                (near.to_le_bytes(), value.is_finite() && near.is_infinite())
            }),
            // Through f32 rounded to nearest there would be two roundings, as torch has (`c10::convert<BFloat16, double>`).
            (F64, F16) => each(values, out, |v| rounded(to_odd(f64_of(v)), to_half, 0x7c00)),
            (F64, Bf16) => each(values, out, |v| rounded(to_odd(f64_of(v)), to_bf16, 0x7f80)),
            _ => return None,
        })
    }
}

/// Converts every number, and counts those that `convert` marks.
#[inline(always)]
fn each<const A: usize, const B: usize>(
    values: &[u8],
    out: &mut [u8],
    convert: impl Fn([u8; A]) -> ([u8; B], bool),
) -> u64 {
    let (values, out) = (values.as_chunks::<A>().0, out.as_chunks_mut::<B>().0);
    let mut marked = 0u64;
    for (out, values) in out.chunks_mut(RUN).zip(values.chunks(RUN)) {
        let mut count = 0u32;
        for (to, from) in out.iter_mut().zip(values) {
            let (bytes, mark) = convert(*from);
            *to = bytes;
            count = count.wrapping_add(u32::from(mark));
        }
        marked = marked.wrapping_add(u64::from(count));
    }
    marked
}

/// A number in sixteen bits, and whether it was finite and became `infinity`.
#[inline(always)]
fn rounded(value: f32, narrow: impl Fn(f32) -> u16, infinity: u16) -> ([u8; 2], bool) {
    let bits = narrow(value);
    (bits.to_le_bytes(), value.is_finite() && bits & 0x7fff == infinity)
}

/// What a processor makes of a number that it converts: one that is not a number no longer signals.
#[inline(always)]
fn quiet(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(value.to_bits() | 0x0040_0000) } else { value }
}

/// The nearest bfloat16, ties to even, in its bits.
#[inline(always)]
pub(super) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let near = bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1) >> 16;
    if value.is_nan() { (bits >> 16) as u16 | 0x0040 } else { near as u16 }
}

/// The nearest number in half precision, ties to even, in its bits; without a branch a vector could not take.
#[inline(always)]
pub(super) fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // The biases are 127 and 15; what is rounded up to 2^16 has become the infinity.
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff).wrapping_add(magnitude >> 13 & 1) >> 13;
    // Subnormal numbers are multiples of 2^-24, and so are the numbers of single precision around one half.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = if magnitude > 0x7f80_0000 { magnitude >> 13 & 0x3ff | 0x7e00 } else { 0x7c00 };
    let finite = if magnitude < 113 << 23 { small } else { normal };
    (if magnitude >= 143 << 23 { odd } else { finite } | sign) as u16
}

/// A value as f32, rounded to odd: what is lost leaves its trace in the last bit, so that rounding the result to
/// nearest in a dtype of at least two bits less rounds the value itself (Boldo and Melquiond, "Emulation of FMA and
/// correctly rounded sums", 2008).
#[inline(always)]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    if back == value || value.is_nan() {
        return near;
    }
    // Rounded away from zero: the neighbour towards it is one less in bits, for infinity the largest finite value.
    let away = back.abs() > value.abs();
    f32::from_bits(near.to_bits().saturating_sub(u32::from(away)) | 1)
}

/// Bytes of one number: a complex element is two.
fn number(dtype: Dtype) -> usize {
    let item = crate::bytes::to_usize(dtype.item_bytes().unwrap_or(1));
    if dtype.kind() == Kind::Complex { item >> 1 } else { item }
}

/// Reverses the bytes of every number.
pub(super) fn swap(dtype: Dtype, values: &mut [u8]) {
    values.chunks_exact_mut(number(dtype).max(1)).for_each(<[u8]>::reverse);
}

/// Reverses the bytes of the numbers of two bytes in every block.
pub(super) fn swap_blocks(dtype: Dtype, blocks: &mut [u8]) {
    let size = to_usize(dtype.block().1).max(1);
    for block in blocks.chunks_exact_mut(size) {
        for &at in dtype.halves().into_iter().flatten() {
            if let Some(half) = block.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
                half.swap(0, 1);
            }
        }
    }
}

/// Flips the sign of every imaginary part; a real value is its own conjugate.
pub(super) fn conjugate(dtype: Dtype, values: &mut [u8]) {
    if dtype.kind() == Kind::Complex {
        flip(values.chunks_exact_mut(number(dtype).max(1)).skip(1).step_by(2));
    }
}

/// Flips the sign of every value.
///
/// # Errors
/// A finding for integers, which torch never marks so.
pub(super) fn negate(dtype: Dtype, values: &mut [u8]) -> Result<()> {
    if !matches!(dtype.kind(), Kind::Complex | Kind::Float) {
        bail!(Finding::new(Id::Unsupported, format!("a lazily negated {dtype} tensor")));
    }
    let number = number(dtype).max(1);
    flip(values.chunks_exact_mut(number));
    Ok(())
}

/// The sign is the highest bit of the last byte of every little-endian float.
fn flip<'a>(numbers: impl Iterator<Item = &'a mut [u8]>) {
    for number in numbers {
        if let Some(last) = number.last_mut() {
            *last ^= 0x80;
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;

    fn made(from: Dtype, value: &[u8], to: Dtype) -> (Vec<u8>, u64) {
        let mut out = vec![0; to_usize(to.item_bytes().unwrap())];
        let lost = cast(from, value, to, &mut out).unwrap();
        (out, lost)
    }

    #[test]
    fn every_number_of_sixteen_bits_becomes_what_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            let stored = bits.to_le_bytes();
            let lost = u64::from(b.is_finite() && f16::from_f32(b.to_f32()).is_infinite());
            for (from, to, wanted, lost) in [
                (Dtype::F16, Dtype::F32, h.to_f32().to_le_bytes().to_vec(), 0),
                (Dtype::F16, Dtype::F64, h.to_f64().to_le_bytes().to_vec(), 0),
                (Dtype::F16, Dtype::Bf16, bf16::from_f32(h.to_f32()).to_le_bytes().to_vec(), 0),
                (Dtype::Bf16, Dtype::F32, b.to_f32().to_le_bytes().to_vec(), 0),
                (Dtype::Bf16, Dtype::F64, b.to_f64().to_le_bytes().to_vec(), 0),
                (Dtype::Bf16, Dtype::F16, f16::from_f32(b.to_f32()).to_le_bytes().to_vec(), lost),
            ] {
                assert_eq!(made(from, &stored, to), (wanted, lost), "{from} {bits:04x} to {to}");
            }
        }
    }

    #[test]
    fn singles_around_every_number_of_sixteen_bits_are_rounded_as_the_half_crate_does() {
        // Each number, the middle to the next, and a hair beside both.
        for bits in 0..=u16::MAX {
            for number in [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()] {
                for change in [0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, u32::MAX] {
                    let value = f32::from_bits(number.to_bits().wrapping_add(change));
                    let (half, brain) = (f16::from_f32(value), bf16::from_f32(value));
                    assert_eq!(to_half(value), half.to_bits(), "{value:e}");
                    assert_eq!(to_bf16(value), brain.to_bits(), "{value:e}");
                    let lost = |infinite| u64::from(value.is_finite() && infinite);
                    assert_eq!(made(Dtype::F32, &value.to_le_bytes(), Dtype::F16).1, lost(half.is_infinite()));
                    assert_eq!(made(Dtype::F32, &value.to_le_bytes(), Dtype::Bf16).1, lost(brain.is_infinite()));
                }
            }
        }
    }

    #[test]
    fn a_long_run_is_cast_and_counted_like_its_numbers() {
        let values: Vec<f32> = (0..200_001u32).map(|n| f32::from_bits(n.wrapping_mul(0x9e37_79b9))).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut out = vec![0; values.len() * 2];
        let lost = cast(Dtype::F32, &bytes, Dtype::F16, &mut out).unwrap();
        let wanted: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
        let made: Vec<u16> = out.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
        assert_eq!(made, wanted.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let infinite = |(value, half): &(&f32, &f16)| value.is_finite() && half.is_infinite();
        assert_eq!(lost, values.iter().zip(&wanted).filter(infinite).count() as u64);
        assert!(lost > 10_000);
    }

    proptest! {
        #[test]
        fn a_double_becomes_the_nearest_value_ties_to_even(fraction in any::<u64>(), exponent in -30i32..17, near in any::<bool>()) {
            // Half of them lie a hair beside the middle between two values, where two roundings go wrong.
            let fraction = if near { (fraction & !((1 << 42) - 1)) | (1 << 41) | (fraction & 1) } else { fraction };
            let value = f64::from_bits(1.0f64.to_bits() | (fraction >> 12)) * 2f64.powi(exponent);
            let mut out = [0; 2];
            cast(Dtype::F64, &value.to_le_bytes(), Dtype::F16, &mut out).unwrap();
            let bits = u16::from_le_bytes(out);
            // What lies beyond the largest value counts as the next power of two.
            let at = |bits: u16| if bits == 0x7c00 { 65536.0 } else { f16::from_bits(bits).to_f64() };
            let distance = |bits: u16| (at(bits) - value).abs();
            for other in [bits.saturating_sub(1), bits + 1] {
                let further = distance(other) > distance(bits) || (distance(other) == distance(bits) && bits & 1 == 0);
                prop_assert!(further || other == bits || bits == 0x7c00 && other > bits, "{value:e} became {:e}", at(bits));
            }
        }
    }
}
