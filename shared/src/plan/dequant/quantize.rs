//! Blocks made of values.
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for wider vectors")]

use crate::bytes::to_usize;
use crate::facts::Dtype;
use crate::plan::cast::to_half;

/// Values of a Q8_0 block, and its bytes: a scale in half precision and one byte a value.
const VALUES: usize = 32;
const BYTES: usize = 34;

/// Blocks whose scales are made together.
const GROUP: usize = 64;

/// Numbers of which the largest magnitude is found side by side.
const LANES: usize = 8;

/// Makes Q8_0 blocks of F32 values: the nearest, as ggml's quantiser rounds (`quantize_row_q8_0_ref`), by the reciprocal
/// of the scale before it is cut to half precision, halves away from zero.
pub(in crate::plan) fn to_q8_0(values: &[u8], out: &mut [u8]) {
    let width = to_usize(Dtype::Q8_0.block().0);
    pulp::Arch::new().dispatch(Quantize { values, width, out });
}

/// Quantising as what `pulp` compiles for each set of vector instructions.
struct Quantize<'a> {
    values: &'a [u8],
    /// Values of a block. Where the compiler knew their number, it would gather the first values of many blocks, then
    /// the second ones, which takes three times as long.
    width: usize,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (blocks, outs) = (self.values.as_chunks().0, self.out.as_chunks_mut::<BYTES>().0);
        let (mut factors, mut scales) = ([0.0f32; GROUP], [[0; 2]; GROUP]);
        for (blocks, outs) in blocks.chunks(GROUP * VALUES).zip(outs.chunks_mut(GROUP)) {
            for (factor, block) in factors.iter_mut().zip(blocks.chunks_exact(self.width)) {
                *factor = largest(block);
            }
            for (factor, scale) in factors.iter_mut().zip(&mut scales) {
                let d = *factor / 127.0;
                *scale = to_half(d).to_le_bytes();
                *factor = if d == 0.0 { 0.0 } else { 1.0 / d };
            }
            let blocks = blocks.as_chunks::<VALUES>().0.iter().zip(outs);
            for ((block, out), (factor, scale)) in blocks.zip(factors.iter().zip(&scales)) {
                let (first, bytes) = out.split_at_mut(2);
                first.copy_from_slice(scale);
                for (byte, value) in bytes.iter_mut().zip(block) {
                    *byte = rounded(f32::from_le_bytes(*value) * factor);
                }
            }
        }
    }
}

/// The largest magnitude; what is not a number counts for nothing.
#[inline(always)]
fn largest(block: &[[u8; 4]]) -> f32 {
    let mut most = [0; LANES];
    for values in block.as_chunks::<LANES>().0 {
        for (most, value) in most.iter_mut().zip(values) {
            let value = f32::from_le_bytes(*value);
            // Magnitudes are in the order of their bits.
            let magnitude = if value.is_nan() { 0 } else { value.to_bits() & 0x7fff_ffff };
            *most = magnitude.max(*most);
        }
    }
    f32::from_bits(most.into_iter().fold(0, u32::max))
}

/// The nearest integer of eight bits, in two's complement; 0 for what is not a number.
#[inline(always)]
fn rounded(value: f32) -> u8 {
    let near = value.round();
    let near = if near.is_nan() { 0.0 } else { near.clamp(-128.0, 127.0) };
    // In this sum the last bit counts ones, so that its last byte is that of the integer.
    let [byte, ..] = (near + 12_582_912.0).to_bits().to_le_bytes();
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, block by block.
    fn defined(values: &[f32]) -> Vec<u8> {
        let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let d = most / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let bytes = values.iter().map(|value| ((value * inverse).round() as i8).to_le_bytes()[0]);
        half::f16::from_f32(d).to_le_bytes().into_iter().chain(bytes).collect()
    }

    #[test]
    fn blocks_are_what_their_definition_says() {
        let odd = [0.0, -0.0, 1e-40, -1e-41, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 3e38, 1.0, -127.5];
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let mut values = Vec::new();
        for block in 0..300u32 {
            let scale = f32::from_bits((next() % 254 + 1) << 23);
            for place in 0..32u32 {
                let plain = (next() as i32) as f32 * 4.656_613e-10 * scale;
                // Ties: quotients that end in a half; and blocks with every odd number somewhere.
                let tie = (next() % 256) as f32 - 127.5;
                values.push(match block % 4 {
                    0 => plain,
                    1 => {
                        if place == 0 {
                            127.0
                        } else {
                            tie.clamp(-126.5, 126.5)
                        }
                    }
                    2 => odd[next() as usize % odd.len()],
                    _ => {
                        if place == 7 {
                            odd[block as usize / 4 % odd.len()]
                        } else {
                            plain
                        }
                    }
                });
            }
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut out = vec![0; values.len() / 32 * 34];
        to_q8_0(&bytes, &mut out);
        for (number, (values, out)) in values.chunks(32).zip(out.chunks(34)).enumerate() {
            assert_eq!(out, defined(values), "block {number}: {values:?}");
        }
    }
}
