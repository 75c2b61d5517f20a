//! Changes of values: another dtype rounded to nearest even, reversed bytes, conjugates, negatives.
#![expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::float_cmp, reason = "numeric kernels")]

use anyhow::{Result, bail};
use half::{bf16, f16};

use crate::bytes::to_usize;
use crate::facts::dtype::Kind;
use crate::facts::{Dtype, Finding, Id};

/// Rounds every value of `from` to the nearest value of `to`, ties to even. The pairs are those of
/// [`crate::facts::check::castable`].
///
/// # Errors
/// A finding for a pair of dtypes that is not known.
pub(super) fn cast(from: Dtype, values: &[u8], to: Dtype, out: &mut [u8]) -> Result<()> {
    use Dtype::{Bf16, F16, F32, F64};
    match (from, to) {
        (F32, Bf16) => each(values, out, |v| bf16::from_f32(f32::from_le_bytes(v)).to_le_bytes()),
        (F32, F16) => each(values, out, |v| f16::from_f32(f32::from_le_bytes(v)).to_le_bytes()),
        (F32, F64) => each(values, out, |v| f64::from(f32::from_le_bytes(v)).to_le_bytes()),
        (F16, F32) => each(values, out, |v| f16::from_le_bytes(v).to_f32().to_le_bytes()),
        (F16, F64) => each(values, out, |v| f16::from_le_bytes(v).to_f64().to_le_bytes()),
        // Exact in f32, so that only one rounding happens.
        (F16, Bf16) => each(values, out, |v| bf16::from_f32(f16::from_le_bytes(v).to_f32()).to_le_bytes()),
        (Bf16, F32) => each(values, out, |v| bf16::from_le_bytes(v).to_f32().to_le_bytes()),
        (Bf16, F64) => each(values, out, |v| bf16::from_le_bytes(v).to_f64().to_le_bytes()),
        (Bf16, F16) => each(values, out, |v| f16::from_f32(bf16::from_le_bytes(v).to_f32()).to_le_bytes()),
        (F64, F32) => each(values, out, |v| (f64::from_le_bytes(v) as f32).to_le_bytes()),
        // Through f32 rounded to nearest there would be two roundings, as torch has (`c10::convert<BFloat16, double>`).
        (F64, F16) => each(values, out, |v| f16::from_f32(to_odd(f64::from_le_bytes(v))).to_le_bytes()),
        (F64, Bf16) => each(values, out, |v| bf16::from_f32(to_odd(f64::from_le_bytes(v))).to_le_bytes()),
        (a, b) if a == b => out.copy_from_slice(values),
        _ => bail!(Finding::new(Id::Unsupported, format!("there is no cast from {from} to {to}"))),
    }
    Ok(())
}

/// A value as f32, rounded to odd: what is lost leaves its trace in the last bit, so that rounding the result to
/// nearest in a dtype of at least two bits less rounds the value itself (Boldo and Melquiond, "Emulation of FMA and
/// correctly rounded sums", 2008).
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

fn each<const A: usize, const B: usize>(values: &[u8], out: &mut [u8], convert: impl Fn([u8; A]) -> [u8; B]) {
    let (values, _) = values.as_chunks::<A>();
    let (out, _) = out.as_chunks_mut::<B>();
    for (to, from) in out.iter_mut().zip(values) {
        *to = convert(*from);
    }
}

/// Number of finite values that became infinite by a cast.
pub(super) fn overflows(from: Dtype, values: &[u8], to: Dtype, cast: &[u8]) -> u64 {
    // Only a dtype with a smaller exponent can overflow; the common casts are not scanned.
    if matches!((from, to), (_, Dtype::F64) | (Dtype::F16 | Dtype::Bf16, Dtype::F32) | (Dtype::F16, Dtype::Bf16)) {
        return 0;
    }
    let pairs = finite(from, values).zip(finite(to, cast));
    pairs.filter(|&(before, after)| before && !after).count() as u64
}

fn finite(dtype: Dtype, values: &[u8]) -> Box<dyn Iterator<Item = bool> + '_> {
    match dtype {
        Dtype::F64 => Box::new(values.as_chunks().0.iter().map(|v| f64::from_le_bytes(*v).is_finite())),
        Dtype::F32 => Box::new(values.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v).is_finite())),
        Dtype::F16 => Box::new(values.as_chunks().0.iter().map(|v| f16::from_le_bytes(*v).is_finite())),
        Dtype::Bf16 => Box::new(values.as_chunks().0.iter().map(|v| bf16::from_le_bytes(*v).is_finite())),
        _ => Box::new(std::iter::empty()),
    }
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
    use proptest::prelude::*;

    use super::*;

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
