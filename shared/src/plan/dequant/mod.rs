//! The values that ggml's blocks stand for, in F32: bit for bit what its reference reader (gguf-py 0.19,
//! `quants.py`) makes of them, and for Q1_0 and Q8_K, which that leaves out, ggml itself (`ggml-quants.c`). And those of
//! floats of four bits, two a byte.
#![expect(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numeric kernels over blocks whose sizes are types; integers have at most sixteen bits"
)]

mod grids;
mod iq;
mod k;
mod quantize;
mod small;

use anyhow::{Result, bail};
use half::f16;

pub(super) use quantize::to_q8_0;

use crate::facts::Dtype;
use crate::facts::check::{dequantizable, unknown_blocks};

/// Makes F32 values of whole blocks. `out` has four bytes for each element of `blocks`.
///
/// # Errors
/// A finding for a dtype whose values are not known.
pub(super) fn dequantize(dtype: Dtype, blocks: &[u8], out: &mut [u8]) -> Result<()> {
    match dtype {
        Dtype::F4 => each(blocks, out, |&[byte], out| small::f4(byte, out)),
        Dtype::Q1_0 => each(blocks, out, small::q1_0),
        Dtype::Q4_0 => each(blocks, out, small::q4_0),
        Dtype::Q4_1 => each(blocks, out, small::q4_1),
        Dtype::Q5_0 => each(blocks, out, small::q5_0),
        Dtype::Q5_1 => each(blocks, out, small::q5_1),
        Dtype::Q8_0 => each(blocks, out, small::q8_0),
        Dtype::Iq4Nl => each(blocks, out, small::iq4_nl),
        Dtype::Mxfp4 => each(blocks, out, small::mxfp4),
        Dtype::Nvfp4 => each(blocks, out, small::nvfp4),
        Dtype::Tq1_0 => each(blocks, out, small::tq1_0),
        Dtype::Tq2_0 => each(blocks, out, small::tq2_0),
        Dtype::Q2K => each(blocks, out, k::q2),
        Dtype::Q3K => each(blocks, out, k::q3),
        Dtype::Q4K => each(blocks, out, k::q4),
        Dtype::Q5K => each(blocks, out, k::q5),
        Dtype::Q6K => each(blocks, out, k::q6),
        Dtype::Q8K => each(blocks, out, k::q8),
        Dtype::Iq4Xs => each(blocks, out, iq::iq4_xs),
        Dtype::Iq2Xxs => each(blocks, out, iq::iq2_xxs),
        Dtype::Iq2Xs => each(blocks, out, iq::iq2_xs),
        Dtype::Iq2S => each(blocks, out, iq::iq2_s),
        Dtype::Iq3Xxs => each(blocks, out, iq::iq3_xxs),
        Dtype::Iq3S => each(blocks, out, iq::iq3_s),
        Dtype::Iq1S => each(blocks, out, iq::iq1_s),
        Dtype::Iq1M => each(blocks, out, iq::iq1_m),
        _ => bail!(unknown_blocks(dtype)),
    }
    Ok(())
}

/// Whether [`dequantize`] knows the values of a dtype.
pub(super) fn knows(dtype: Dtype) -> bool {
    dtype == Dtype::F4 || dequantizable(dtype)
}

/// Whether the scales of some blocks are halves and finite, and with them all values: an F32 holds a half times
/// whatever else stands in a block. False where scales have another form.
pub(super) fn is_finite(dtype: Dtype, blocks: &[u8]) -> bool {
    let scales: &[usize] = match dtype {
        Dtype::F4 => return true,
        Dtype::Q4_0
        | Dtype::Q5_0
        | Dtype::Q8_0
        | Dtype::Iq4Nl
        | Dtype::Iq4Xs
        | Dtype::Iq2Xxs
        | Dtype::Iq2Xs
        | Dtype::Iq2S
        | Dtype::Iq3Xxs
        | Dtype::Iq3S
        | Dtype::Iq1S => &[0],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K => &[0, 2],
        Dtype::Q2K => &[80, 82],
        Dtype::Q3K => &[108],
        Dtype::Q6K => &[208],
        Dtype::Tq1_0 => &[52],
        Dtype::Tq2_0 => &[64],
        _ => return false,
    };
    // All exponent bits of a half are set in NaN and the infinities.
    let finite = |block: &[u8]| scales.iter().all(|&at| u16_at(block, at) & 0x7c00 != 0x7c00);
    blocks.chunks_exact(dtype.block().1 as usize).all(finite)
}

/// Runs a kernel on every block of `M` bytes, which stands for `N` values.
fn each<const M: usize, const N: usize>(blocks: &[u8], out: &mut [u8], kernel: impl Fn(&[u8; M], &mut [f32; N])) {
    let mut values = [0.0; N];
    let (out, _) = out.as_chunks_mut::<4>();
    for (block, out) in blocks.as_chunks::<M>().0.iter().zip(out.chunks_exact_mut(N)) {
        kernel(block, &mut values);
        for (to, value) in out.iter_mut().zip(&values) {
            *to = value.to_le_bytes();
        }
    }
}

/// The half-precision number at a byte of a block.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The lower (0) or upper (1) four bits of a byte.
fn nibble(byte: u8, which: usize) -> u8 {
    (byte >> (4 * which)) & 15
}

#[cfg(test)]
mod tests;
