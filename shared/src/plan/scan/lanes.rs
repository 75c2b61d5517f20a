//! What is odd about numbers can be seen in their bit patterns: kernels over pages of equally wide numbers.
//!
//! Every loop here is free of branches and of dependencies between its steps, so that the compiler makes vector
//! instructions of it: of the widest that the processor has, where it is inlined into a function made for those.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::inline_always,
    reason = "kernels over bit patterns: widths are those of the patterns"
)]

use crate::bytes::to_u64;
use crate::facts::Dtype;
use crate::facts::dtype::Kind;

/// Bytes looked at together. Runs of zero bytes are found by whole pages, and a count within one fits 16 bits.
pub(super) const PAGE: usize = 4096;

/// How the numbers of a dtype are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    /// Bytes of one number: 1, 2, 4 or 8.
    pub(super) width: u64,
    /// Numbers an element: two for complex ones.
    pub(super) numbers: u64,
    /// Whether NaN or the infinities are among the patterns.
    pub(super) checked: bool,
    /// Bits that count for the magnitude.
    magnitude: u64,
    /// The least magnitude that is no finite number.
    limit: u64,
    /// How many magnitudes are no finite numbers, less one.
    span: u64,
    /// The magnitude of the infinities, if there are some.
    infinity: Option<u64>,
    /// The least magnitude that is normal; 0 where subnormal numbers are of no interest.
    normal: u64,
}

/// What a page showed.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four questions with yes or no for an answer")]
pub(super) struct Page {
    /// Some bit is set.
    pub(super) bits: bool,
    /// Some bit of a magnitude is set.
    pub(super) nonzero: bool,
    /// Some number is not finite.
    pub(super) odd: bool,
    /// Some number is not the one given.
    pub(super) differs: bool,
    /// Numbers that are subnormal.
    pub(super) subnormal: u64,
}

impl Lane {
    /// The lanes of a dtype.
    pub(super) fn of(dtype: Dtype) -> Lane {
        use Dtype::{Bc32, Bf16, C32, C64, C128, F8E4M3, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0, F16, F32, F64};
        let float = |width: u64, exponent: u32, mantissa: u32| {
            let magnitude = (1u64 << (exponent + mantissa)) - 1;
            let infinity = magnitude >> mantissa << mantissa;
            let span = magnitude - infinity;
            let normal = 1 << mantissa;
            Lane {
                width,
                numbers: 1,
                checked: true,
                magnitude,
                limit: infinity,
                span,
                infinity: Some(infinity),
                normal,
            }
        };
        // Without subnormal numbers: with so few exponents they are as ordinary as any.
        let byte = |magnitude, limit, span, infinity| Lane {
            width: 1,
            numbers: 1,
            checked: true,
            magnitude,
            limit,
            span,
            infinity,
            normal: 0,
        };
        let complex = |lane: Lane| Lane { numbers: 2, ..lane };
        match dtype {
            F64 => float(8, 11, 52),
            F32 => float(4, 8, 23),
            F16 => float(2, 5, 10),
            Bf16 => float(2, 8, 7),
            C128 => complex(float(8, 11, 52)),
            C64 => complex(float(4, 8, 23)),
            C32 => complex(float(2, 5, 10)),
            Bc32 => complex(float(2, 8, 7)),
            F8E5M2 => byte(0x7f, 0x7c, 3, Some(0x7c)),
            // "fn": no infinities, and one NaN of each sign (ONNX operators, "Float stored in 8 bits").
            F8E4M3 => byte(0x7f, 0x7f, 0, None),
            // "uz": no negative zero, whose pattern is the NaN.
            F8E4M3Fnuz | F8E5M2Fnuz => byte(0xff, 0x80, 0, None),
            F8E8M0 => byte(0xff, 0xff, 0, None),
            _ => {
                let item = dtype.item_bytes().unwrap_or(1);
                // Wider elements of no number of ours are looked at as bytes.
                let width = if item <= 8 && item.is_power_of_two() && dtype.kind() != Kind::Opaque { item } else { 1 };
                let magnitude = u64::MAX;
                let (limit, span, infinity) = (0, 0, None);
                Lane { width, numbers: item / width, checked: false, magnitude, limit, span, infinity, normal: 0 }
            }
        }
    }

    /// The first number of some bytes.
    pub(super) fn first(&self, bytes: &[u8]) -> u64 {
        let mut number = [0; 8];
        for (to, from) in number.iter_mut().zip(bytes.iter().take(self.width as usize)) {
            *to = *from;
        }
        u64::from_le_bytes(number)
    }

    /// Looks at a page: whole numbers, at most [`PAGE`] bytes of them.
    #[inline(always)]
    pub(super) fn page(&self, bytes: &[u8], first: u64) -> Page {
        match self.width {
            2 => self.page16(bytes.as_chunks().0, first as u16),
            4 => self.page32(bytes.as_chunks().0, first as u32),
            8 => self.page64(bytes.as_chunks().0, first),
            _ => self.page8(bytes, first as u8),
        }
    }

    /// Goes through a page number by number: calls `odd` with the place of every number that is not finite, and
    /// whether it is an infinity.
    pub(super) fn odd(&self, bytes: &[u8], mut odd: impl FnMut(u64, bool)) {
        for (place, number) in bytes.chunks_exact(self.width as usize).enumerate() {
            let magnitude = self.first(number) & self.magnitude;
            if self.is_odd(magnitude) {
                odd(to_u64(place), Some(magnitude) == self.infinity);
            }
        }
    }

    fn is_odd(&self, magnitude: u64) -> bool {
        self.checked && magnitude.wrapping_sub(self.limit) <= self.span
    }

    #[inline(always)]
    fn page8(&self, numbers: &[u8], first: u8) -> Page {
        let (mask, limit, span) = (self.magnitude as u8, self.limit as u8, self.span as u8);
        let (mut bits, mut odd, mut differs) = (0u8, 0u8, 0u8);
        for &number in numbers {
            bits |= number;
            odd |= u8::from((number & mask).wrapping_sub(limit) <= span);
            differs |= number ^ first;
        }
        Page {
            bits: bits != 0,
            nonzero: bits & mask != 0,
            odd: self.checked && odd != 0,
            differs: differs != 0,
            subnormal: 0,
        }
    }
}

/// The same for wider numbers. What is added to a magnitude carries into the sign bit if it is not finite; and
/// comparisons are of signed numbers, which is what the oldest vector instructions have.
macro_rules! kernels {
    ($($name:ident $unsigned:ident $signed:ident $bytes:literal;)*) => {
        impl Lane {
            $(#[inline(always)]
            fn $name(&self, numbers: &[[u8; $bytes]], first: $unsigned) -> Page {
                let mask = self.magnitude as $unsigned;
                let normal = self.normal as $signed;
                let carry = ($unsigned::MAX / 2 + 1).wrapping_sub(self.limit as $unsigned);
                let (mut bits, mut odd, mut differs) = (0 as $unsigned, 0 as $unsigned, 0 as $unsigned);
                let (mut small, mut zero) = (0 as $unsigned, 0 as $unsigned);
                for number in numbers {
                    let number = $unsigned::from_le_bytes(*number);
                    let magnitude = number & mask;
                    bits |= number;
                    odd |= magnitude.wrapping_add(carry);
                    differs |= number ^ first;
                    small = small.wrapping_add($unsigned::from((magnitude as $signed) < normal));
                    zero = zero.wrapping_add($unsigned::from(magnitude == 0));
                }
                let subnormal = if normal > 0 { u64::from(small.wrapping_sub(zero)) } else { 0 };
                let odd = self.checked && odd >> ($unsigned::BITS - 1) != 0;
                Page { bits: bits != 0, nonzero: bits & mask != 0, odd, differs: differs != 0, subnormal }
            })*
        }
    };
}

kernels! {
    page16 u16 i16 2;
    page32 u32 i32 4;
    page64 u64 i64 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pattern of the narrow floats against what the `half` crate and the definitions say.
    #[test]
    fn every_pattern_of_sixteen_bits_is_known() {
        let (bf16, f16) = (Lane::of(Dtype::Bf16), Lane::of(Dtype::F16));
        for pattern in 0..=u16::MAX {
            let bytes = pattern.to_le_bytes();
            let (b, h) = (half::bf16::from_bits(pattern), half::f16::from_bits(pattern));
            for (lane, finite, infinite, subnormal) in [
                (&bf16, b.is_finite(), b.is_infinite(), b.classify() == std::num::FpCategory::Subnormal),
                (&f16, h.is_finite(), h.is_infinite(), h.classify() == std::num::FpCategory::Subnormal),
            ] {
                let page = lane.page(&bytes, 0);
                assert_eq!((page.odd, page.subnormal), (!finite, u64::from(subnormal)), "{pattern:04x}");
                assert_eq!((page.nonzero, page.differs), (pattern & 0x7fff != 0, pattern != 0));
                let mut seen = Vec::new();
                lane.odd(&bytes, |place, infinity| seen.push((place, infinity)));
                assert_eq!(seen, if finite { vec![] } else { vec![(0, infinite)] });
            }
        }
    }

    #[test]
    fn every_pattern_of_eight_bits_is_known() {
        type Odd = fn(u8) -> bool;
        let rows: [(Dtype, Odd); 6] = [
            (Dtype::F8E5M2, |p| p & 0x7f >= 0x7c),
            (Dtype::F8E4M3, |p| p & 0x7f == 0x7f),
            (Dtype::F8E4M3Fnuz, |p| p == 0x80),
            (Dtype::F8E5M2Fnuz, |p| p == 0x80),
            (Dtype::F8E8M0, |p| p == 0xff),
            (Dtype::U8, |_| false),
        ];
        for (dtype, odd) in rows {
            for pattern in 0..=u8::MAX {
                assert_eq!(Lane::of(dtype).page(&[pattern], 0).odd, odd(pattern), "{dtype} {pattern:02x}");
            }
        }
    }

    #[test]
    fn the_wide_floats_are_known() {
        for value in [0.0, -0.0, 1.5, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let page = Lane::of(Dtype::F32).page(&value.to_le_bytes(), 0);
            assert_eq!((page.odd, page.subnormal), (!value.is_finite(), u64::from(value.is_subnormal())));
            let wide = f64::from(value);
            assert_eq!(Lane::of(Dtype::F64).page(&wide.to_le_bytes(), 0).odd, !wide.is_finite());
        }
        let page = Lane::of(Dtype::F64).page(&5e-324f64.to_le_bytes(), 0);
        assert_eq!((page.odd, page.subnormal), (false, 1));
        assert_eq!(Lane::of(Dtype::C128).numbers, 2);
        assert!(!Lane::of(Dtype::I64).page(&i64::MIN.to_le_bytes(), 0).odd);
    }
}
