//! Blocks of one scale: ggml's first types, the float of four bits, and the ternary ones.

use super::{half, nibble, u32_at};

/// The values of IQ4_NL and IQ4_XS, by their four bits (`kvalues_iq4nl`).
pub(super) const NON_LINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of a float of four bits, E2M1 (`kvalues_mxfp4`).
const TWICE_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Torch's `float4_e2m1fn_x2`: the first of the two stands in the lower bits.
pub(super) fn f4(byte: u8, out: &mut [f32; 2]) {
    for (which, out) in out.iter_mut().enumerate() {
        let code = nibble(byte, which);
        let size = f32::from(TWICE_E2M1[usize::from(code & 7)]) / 2.0;
        *out = if code & 8 == 0 { size } else { -size };
    }
}

/// One bit a value, the lowest first: the scale, or where it is not set its negative.
pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half(block, 0);
    for (place, out) in out.iter_mut().enumerate() {
        *out = if block[2 + place / 8] >> (place % 8) & 1 == 1 { d } else { -d };
    }
}

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (place, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(block[2 + place % 16], place / 16) as i8 - 8);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, least) = (half(block, 0), half(block, 2));
    for (place, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(block[4 + place % 16], place / 16)) + least;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, high) = (half(block, 0), u32_at(block, 2));
    for (place, out) in out.iter_mut().enumerate() {
        let value = nibble(block[6 + place % 16], place / 16) | (((high >> place) & 1) as u8) << 4;
        *out = d * f32::from(value as i8 - 16);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, least, high) = (half(block, 0), half(block, 2), u32_at(block, 4));
    for (place, out) in out.iter_mut().enumerate() {
        let value = nibble(block[8 + place % 16], place / 16) | (((high >> place) & 1) as u8) << 4;
        *out = d * f32::from(value) + least;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (out, value) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(*value as i8) * d;
    }
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (place, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(NON_LINEAR[usize::from(nibble(block[2 + place % 16], place / 16))]);
    }
}

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    // Half of 2^(e - 127): the table holds twice the values. The two smallest are subnormal.
    let exponent = u32::from(block[0]);
    let d = f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 });
    for (place, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(TWICE_E2M1[usize::from(nibble(block[1 + place % 16], place / 16))]);
    }
}

pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (place, out) in out.iter_mut().enumerate() {
        let (group, within) = (place / 16, place % 16);
        let value = TWICE_E2M1[usize::from(nibble(block[4 + 8 * group + within % 8], within / 8))];
        *out = half_e4m3(block[group]) * f32::from(value);
    }
}

/// Half of an unsigned E4M3; its not-a-number counts as zero (`ggml_ue4m3_to_fp32`).
fn half_e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (i32::from((bits >> 3) & 15), f32::from(bits & 7));
    match (bits, exponent) {
        (0 | 0x7F, _) => 0.0,
        (_, 0) => mantissa * 2f32.powi(-10),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 8),
    }
}

/// Five digits of base three a byte, as a fraction of 256: multiplied by a power of three, the digit is on top.
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half(block, 52);
    // Runs of bytes that share a digit: where they begin, how many there are, where their values begin.
    for (first, count, digits, values) in [(0, 32, 5, 0), (32, 16, 5, 160), (48, 4, 4, 240)] {
        for digit in 0..digits {
            for place in 0..count {
                let shifted = block[first + place].wrapping_mul(POWERS[digit]);
                let value = ((u16::from(shifted) * 3) >> 8) as i8 - 1;
                out[values + digit * count + place] = d * f32::from(value);
            }
        }
    }
}

pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 64);
    for (place, out) in out.iter_mut().enumerate() {
        let byte = block[place / 128 * 32 + place % 32];
        *out = d * f32::from(((byte >> (place / 32 % 4 * 2)) & 3) as i8 - 1);
    }
}
