//! The K types: blocks of 256 values in groups with scales of their own.

use super::{half, nibble};

/// Two bits of a value: a run of 32 bytes holds four groups of 32 values, one a pair of bits.
fn pair(bytes: &[u8], place: usize) -> u8 {
    (bytes[place / 128 * 32 + place % 32] >> (place / 32 % 4 * 2)) & 3
}

/// One bit of a value: 32 bytes hold eight groups of 32, one a bit.
fn bit(bytes: &[u8], place: usize) -> u8 {
    (bytes[place % 32] >> (place / 32)) & 1
}

/// Four bits of a value: a run of 32 bytes holds two groups of 32.
fn quad(bytes: &[u8], place: usize) -> u8 {
    nibble(bytes[place / 64 * 32 + place % 32], place / 32 % 2)
}

pub(super) fn q2(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, least) = (half(block, 80), half(block, 82));
    for (place, out) in out.iter_mut().enumerate() {
        let scale = block[place / 16];
        let value = f32::from(pair(&block[16..80], place));
        *out = d * f32::from(scale & 15) * value - least * f32::from(scale >> 4);
    }
}

pub(super) fn q3(block: &[u8; 110], out: &mut [f32; 256]) {
    let (scales, d) = (&block[96..108], half(block, 108));
    for (place, out) in out.iter_mut().enumerate() {
        // Sixteen scales of six bits: the lower four in eight bytes, the upper two in four.
        let group = place / 16;
        let low = nibble(scales[group % 8], group / 8);
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        let scale = (low | high << 4) as i8 - 32;
        // A bit that is set adds nothing, one that is not takes four away.
        let value = pair(&block[32..96], place) as i8 - ((bit(&block[..32], place) ^ 1) << 2) as i8;
        *out = d * f32::from(scale) * f32::from(value);
    }
}

/// Scale and minimum of one of the eight groups of Q4_K and Q5_K, six bits each in twelve bytes.
fn scale_and_least(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (scales[group] & 63, scales[4 + group] & 63);
    }
    let (low, high) = (scales[group + 4], |at: usize| (scales[at] >> 2) & 0x30);
    ((low & 15) | high(group - 4), (low >> 4) | high(group))
}

pub(super) fn q4(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, least) = (half(block, 0), half(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_least(&block[4..16], group);
        let (d, least) = (d * f32::from(scale), least * f32::from(minimum));
        for (place, out) in out.iter_mut().enumerate() {
            *out = d * f32::from(quad(&block[16..], group * 32 + place)) - least;
        }
    }
}

pub(super) fn q5(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, least) = (half(block, 0), half(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_least(&block[4..16], group);
        let (d, least) = (d * f32::from(scale), least * f32::from(minimum));
        for (place, out) in out.iter_mut().enumerate() {
            let place = group * 32 + place;
            *out = d * f32::from(quad(&block[48..], place) | bit(&block[16..48], place) << 4) - least;
        }
    }
}

pub(super) fn q6(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half(block, 208);
    for (place, out) in out.iter_mut().enumerate() {
        let low = nibble(block[place / 128 * 64 + place % 64], place / 64 % 2);
        let value = (low | pair(&block[128..192], place) << 4) as i8 - 32;
        *out = d * f32::from(block[192 + place / 16] as i8) * f32::from(value);
    }
}

pub(super) fn q8(block: &[u8; 292], out: &mut [f32; 256]) {
    let d = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (out, value) in out.iter_mut().zip(&block[4..260]) {
        *out = d * f32::from(*value as i8);
    }
}
