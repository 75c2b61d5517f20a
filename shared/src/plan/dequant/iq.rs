//! The IQ types: groups of values that stand on the points of a grid, with signs and scales beside.

use super::grids::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use super::small::NON_LINEAR;
use super::{half, nibble, u16_at, u32_at};

/// What the coordinates of the grids stand for (`ggml-common.h`).
const IQ2: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
const IQ3_XXS_STEPS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
const IQ3_S_STEPS: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
const IQ1_STEPS: [f32; 4] = [-1.0, 0.0, 1.0, 0.0];

/// By how much the points of IQ1 are shifted (`IQ1S_DELTA`).
const SHIFT: f32 = 0.125;

/// Eight signs from seven bits: the eighth makes their number even (`ksigns_iq2xs`).
fn signs(index: u32) -> u8 {
    let seven = (index & 127) as u8;
    if seven.count_ones().is_multiple_of(2) { seven } else { seven | 0x80 }
}

fn sign(signs: u8, place: usize) -> f32 {
    if (signs >> place) & 1 == 0 { 1.0 } else { -1.0 }
}

/// Eight values of a point of two bits a coordinate.
fn eight(out: &mut [f32], scale: f32, point: u16, signs: u8) {
    for (place, out) in out.iter_mut().enumerate() {
        *out = scale * IQ2[usize::from((point >> (2 * place)) & 3)] * sign(signs, place);
    }
}

/// Eight values of two points of three bits a coordinate.
fn twice_four(out: &mut [f32], scale: f32, points: [u16; 2], steps: &[f32; 8], signs: u8) {
    for (place, out) in out.iter_mut().enumerate() {
        let step = (points[place / 4] >> (3 * (place % 4))) & 7;
        *out = scale * steps[usize::from(step)] * sign(signs, place);
    }
}

/// Eight values of a point of IQ1.
fn shifted(out: &mut [f32], scale: f32, point: u16, shift: f32) {
    for (place, out) in out.iter_mut().enumerate() {
        *out = scale * (IQ1_STEPS[usize::from((point >> (2 * place)) & 3)] + shift);
    }
}

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let (group, within) = (place / 4, place % 4);
        let beside = u32_at(block, 6 + 8 * group);
        let scale = d * (0.5 + (beside >> 28) as f32) * 0.25;
        let point = IQ2_XXS[usize::from(block[2 + 8 * group + within])];
        eight(out, scale, point, signs(beside >> (7 * within)));
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let stored = u16_at(block, 2 + 2 * place);
        let scale = d * (0.5 + f32::from(nibble(block[66 + place / 4], place / 2 % 2))) * 0.25;
        eight(out, scale, IQ2_XS[usize::from(stored & 511)], signs(u32::from(stored >> 9)));
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let high = (block[66 + place / 4] >> (2 * (place % 4))) & 3;
        let scale = d * (0.5 + f32::from(nibble(block[74 + place / 4], place / 2 % 2))) * 0.25;
        let point = usize::from(block[2 + place]) | usize::from(high) << 8;
        eight(out, scale, IQ2_S[point], block[34 + place]);
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let beside = u32_at(block, 66 + 4 * (place / 4));
        let scale = d * (0.5 + (beside >> 28) as f32) * 0.5;
        let points = [0, 1].map(|which| IQ3_XXS[usize::from(block[2 + 2 * place + which])]);
        twice_four(out, scale, points, &IQ3_XXS_STEPS, signs(beside >> (7 * (place % 4))));
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let scale = d * f32::from(1 + 2 * nibble(block[106 + place / 8], place / 4 % 2));
        let points = [0, 1].map(|which| {
            let place = 2 * place + which;
            let high = (block[66 + place / 8] >> (place % 8)) & 1;
            IQ3_S[usize::from(block[2 + place]) | usize::from(high) << 8]
        });
        twice_four(out, scale, points, &IQ3_S_STEPS, block[74 + place]);
    }
}

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let high = u16_at(block, 34 + 2 * (place / 4));
        let scale = d * f32::from(2 * ((high >> 12) & 7) + 1);
        let shift = if high & 0x8000 == 0 { SHIFT } else { -SHIFT };
        let point = u16::from(block[2 + place]) | ((high >> (3 * (place % 4))) & 7) << 8;
        shifted(out, scale, IQ1[usize::from(point)], shift);
    }
}

/// The one type that keeps its scale in parts: four bits on top of each of the four words of scales.
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let word = |which: usize| u16_at(block, 48 + 2 * which);
    let bits = (0..4).fold(0, |bits, which| bits | (word(which) & 0xF000) >> (12 - 4 * which));
    let d = half::f16::from_bits(bits).to_f32();
    for (place, out) in out.chunks_exact_mut(8).enumerate() {
        let group = place / 2;
        let scale = d * f32::from(2 * ((word(group / 4) >> (3 * (group % 4))) & 7) + 1);
        let high = nibble(block[32 + place / 2], place % 2);
        let shift = if high & 8 == 0 { SHIFT } else { -SHIFT };
        shifted(out, scale, IQ1[usize::from(block[place]) | usize::from(high & 7) << 8], shift);
    }
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (half(block, 0), u16_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let high = ((high >> (2 * group)) & 3) as u8;
        let scale = d * f32::from((nibble(block[4 + group / 2], group % 2) | high << 4) as i8 - 32);
        for (place, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(NON_LINEAR[usize::from(nibble(block[8 + 16 * group + place % 16], place / 16))]);
        }
    }
}
