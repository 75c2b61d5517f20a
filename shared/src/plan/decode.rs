//! Bytes as numbers of 64 bits, for the dtypes whose elements are numbers by themselves.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::inline_always,
    reason = "numeric kernels; 64-bit integers are rounded"
)]

use crate::facts::Dtype;

/// What is done with numbers of a dtype, written once for all dtypes.
pub(super) trait Visit {
    /// What comes of it.
    type Output;
    /// Given how the bytes of an element become a number.
    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) -> Self::Output;
}

/// The narrower of the two floating types that holds every number of a dtype.
pub(super) trait Number: Copy + PartialOrd + Into<f64> {
    const ZERO: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    const INFINITY: f32 = f32::INFINITY;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const INFINITY: f64 = f64::INFINITY;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
}

/// Lets `visit` work with the numbers of a dtype; none for a dtype without numbers of its own: complex, of less than
/// a byte an element, or with a scale that stands elsewhere.
#[inline(always)]
pub(super) fn decoder<V: Visit>(dtype: Dtype, visit: V) -> Option<V::Output> {
    let out = match dtype {
        Dtype::F64 => visit.visit(f64::from_le_bytes),
        Dtype::F32 => visit.visit(f32::from_le_bytes),
        Dtype::F16 => visit.visit(|b| half(u16::from_le_bytes(b))),
        Dtype::Bf16 => visit.visit(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        Dtype::I64 => visit.visit(|b| i64::from_le_bytes(b) as f64),
        Dtype::U64 => visit.visit(|b| u64::from_le_bytes(b) as f64),
        Dtype::I32 => visit.visit(|b| f64::from(i32::from_le_bytes(b))),
        Dtype::U32 => visit.visit(|b| f64::from(u32::from_le_bytes(b))),
        Dtype::I16 => visit.visit(|b| f32::from(i16::from_le_bytes(b))),
        Dtype::U16 => visit.visit(|b| f32::from(u16::from_le_bytes(b))),
        Dtype::I8 => visit.visit(|b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 | Dtype::Bool => visit.visit(|[b]: [u8; 1]| f32::from(b)),
        Dtype::F8E4M3 => visit.visit(|[b]: [u8; 1]| byte(b, 3, 7, b & 0x7f == 0x7f)),
        Dtype::F8E5M2 => visit.visit(|[b]: [u8; 1]| half(u16::from(b) << 8)),
        // The exponents of these are one smaller than those of their namesakes.
        Dtype::F8E4M3Fnuz => visit.visit(|[b]: [u8; 1]| byte(b, 3, 8, b == 0x80)),
        Dtype::F8E5M2Fnuz => visit.visit(|[b]: [u8; 1]| byte(b, 2, 16, b == 0x80)),
        Dtype::F8E8M0 => visit.visit(|[b]: [u8; 1]| scale(b)),
        _ => return None,
    };
    Some(out)
}

/// All numbers in some bytes; none for a dtype without numbers of its own.
pub fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    decoder(dtype, All(bytes))
}

struct All<'a>(&'a [u8]);

impl Visit for All<'_> {
    type Output = Vec<f64>;

    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) -> Vec<f64> {
        self.0.as_chunks::<N>().0.iter().map(|bytes| decode(*bytes).into()).collect()
    }
}

/// A half-precision number without a branch a vector could not take: its bits where a single-precision number has
/// them, the difference of the exponents' biases made good by a multiplication, which is exact.
#[inline(always)]
pub(super) fn half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // 2^112: the biases are 127 and 15.
    let finite = f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23);
    // The largest exponent stays the largest.
    let odd = f32::from_bits(magnitude | 0x7f80_0000);
    let value = if magnitude >= 0x7c00 << 13 { odd } else { finite };
    f32::from_bits(value.to_bits() | sign)
}

/// A number of eight bits with that many of mantissa and that bias, unless it is NaN; by the same trick.
#[inline(always)]
fn byte(bits: u8, mantissa: u32, bias: u32, nan: bool) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7f) << (23 - mantissa)) * f32::from_bits((254 - bias) << 23);
    let value = f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x80) << 24);
    if nan { f32::NAN } else { value }
}

/// A power of two: nothing but an exponent, with a bias of 127.
#[inline(always)]
fn scale(bits: u8) -> f64 {
    let value = f64::from_bits((u64::from(bits) + 1023 - 127) << 52);
    if bits == 0xff { f64::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(dtype: Dtype, bytes: &[u8]) -> f64 {
        numbers(dtype, bytes).unwrap()[0]
    }

    #[test]
    fn every_half_is_what_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            for (dtype, wanted) in
                [(Dtype::F16, half::f16::from_bits(bits).to_f64()), (Dtype::Bf16, half::bf16::from_bits(bits).to_f64())]
            {
                let value = number(dtype, &bits.to_le_bytes());
                assert!(value.to_bits() == wanted.to_bits() || (value.is_nan() && wanted.is_nan()), "{bits:04x}");
            }
        }
    }

    #[test]
    fn bytes_are_what_their_definitions_say() {
        // Largest, smallest normal and smallest numbers of Micikevicius et al. 2022 (E4M3, E5M2), and of the ONNX
        // operators' page for the two without a negative zero.
        for (dtype, bits, value) in [
            (Dtype::F8E4M3, 0x7e, 448.0f64),
            (Dtype::F8E4M3, 0x08, 0.015_625),
            (Dtype::F8E4M3, 0x81, -0.001_953_125),
            (Dtype::F8E5M2, 0x7b, 57344.0),
            (Dtype::F8E5M2, 0x01, 1.525_878_906_25e-5),
            (Dtype::F8E5M2, 0xfc, f64::NEG_INFINITY),
            (Dtype::F8E4M3Fnuz, 0x7f, 240.0),
            (Dtype::F8E5M2Fnuz, 0x7f, 57344.0),
            (Dtype::F8E5M2Fnuz, 0x01, 7.629_394_531_25e-6),
            (Dtype::F8E8M0, 0x80, 2.0),
            (Dtype::I8, 0xff, -1.0),
            (Dtype::Bool, 0x01, 1.0),
        ] {
            assert!(number(dtype, &[bits]).to_bits() == value.to_bits(), "{dtype} {bits:02x}");
        }
        assert!(number(Dtype::F8E4M3, &[0xff]).is_nan() && number(Dtype::F8E4M3Fnuz, &[0x80]).is_nan());
        assert!(numbers(Dtype::C64, &[0; 8]).is_none());
    }
}
