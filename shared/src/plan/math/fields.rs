//! Numbers of a few bits out of the elements that hold them.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::inline_always,
    reason = "kernels: math.rs of facts has proved that shapes agree; numbers of at most 8 bits are exact in F32"
)]

use anyhow::Result;

use super::{Fetch, boxed};
use crate::bytes::to_usize;
use crate::facts::math::Packing;
use crate::facts::{Dtype, Recipe};

/// Makes the box of `size` numbers from `start` on, contiguous and row-major in `out`: bytes for U8, else F32.
///
/// # Errors
/// Those of fetching.
pub(super) fn make(
    fetch: Fetch<'_>,
    of: &Recipe,
    packing: Packing,
    dtype: Dtype,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    let Packing { bits, axis, order, .. } = packing;
    if size.contains(&0) {
        return Ok(());
    }
    let word = of.dtype.bits();
    // Numbers of a word that are not in their own order may stand anywhere within it.
    let (first, end) = (start[axis], start[axis] + size[axis]);
    let low = first * u64::from(bits) / word;
    let high = (end * u64::from(bits)).div_ceil(word);
    let (mut from, mut count) = (start.to_vec(), size.to_vec());
    from[axis] = low;
    count[axis] = high - low;
    let stored = boxed(fetch, of, &from, &count)?;
    let line = to_usize(count.last().copied().unwrap_or(1) * word / 8);
    // Along a row, bytes and words hold the same bits in the same places.
    let begins = first * u64::from(bits) == low * word;
    let way = if axis + 1 < size.len() {
        Way::Down
    } else if begins && 32u32.is_multiple_of(bits) && line.is_multiple_of(4) {
        Way::Words(std::array::from_fn(|index| (order.place(index as u64) * u64::from(bits)) as u32))
    } else {
        Way::Along
    };
    let bit = |index| order.place(index) * u64::from(bits) - low * word;
    let places = (first..end).map(bit).map(|bit| (to_usize(bit / word), (bit % word) as u32)).collect();
    let columns = to_usize(size.last().copied().unwrap_or(1));
    let unpack = Unpack { packing, word: word as u32, dtype, way, stored: &stored, line, places, columns, out };
    pulp::Arch::new().dispatch(unpack);
    Ok(())
}

/// Along what the numbers are packed.
enum Way {
    /// Along the rows, a whole number of them in each 32 bits: the first bit of each.
    Words([u32; 32]),
    /// Along the rows in any other way.
    Along,
    /// Along the columns.
    Down,
}

/// Unpacking, as what `pulp` compiles for each set of vector instructions.
struct Unpack<'a> {
    packing: Packing,
    /// Bits of a word.
    word: u32,
    /// Of what is made.
    dtype: Dtype,
    way: Way,
    stored: &'a [u8],
    /// Bytes of a row of words.
    line: usize,
    /// Of each number along the axis: its word, and its first bit in it.
    places: Vec<(usize, u32)>,
    /// Numbers of a row.
    columns: usize,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let less = self.packing.less as i32;
        match self.dtype {
            Dtype::U8 => self.each(|number| [number as u8]),
            _ => self.each(|number| ((number as i32).wrapping_sub(less) as f32).to_le_bytes()),
        }
    }
}

impl Unpack<'_> {
    #[inline(always)]
    fn each<const N: usize>(self, put: impl Fn(u32) -> [u8; N]) {
        let Packing { bits, more, .. } = self.packing;
        let mask = (1u32 << bits) - 1;
        let put = |bits: u32| put(bits.wrapping_add(more) & mask);
        let Unpack { word, stored, line, places, .. } = self;
        for (row, out) in self.out.as_chunks_mut::<N>().0.chunks_exact_mut(self.columns).enumerate() {
            match (&self.way, bits) {
                (Way::Words(firsts), 8) => words::<4, N>(&stored[row * line..][..line], firsts, out, &put),
                (Way::Words(firsts), 4) => words::<8, N>(&stored[row * line..][..line], firsts, out, &put),
                (Way::Words(firsts), 2) => words::<16, N>(&stored[row * line..][..line], firsts, out, &put),
                (Way::Words(firsts), _) => words::<32, N>(&stored[row * line..][..line], firsts, out, &put),
                (Way::Along, _) => {
                    let stored = &stored[row * line..][..line];
                    for (out, &(at, shift)) in out.iter_mut().zip(&places) {
                        let above =
                            if shift + bits > word { at_word(stored, word, at + 1) << (word - shift) } else { 0 };
                        *out = put(at_word(stored, word, at) >> shift | above);
                    }
                }
                (Way::Down, _) => {
                    let (at, shift) = places[row];
                    let (first, next) = (&stored[at * line..], stored.get((at + 1) * line..).unwrap_or_default());
                    let next = if shift + bits > word { next } else { &[] };
                    if word == 8 {
                        down(first, next, (word, shift), out, |[byte]| u32::from(byte), put);
                    } else {
                        down(first, next, (word, shift), out, u32::from_le_bytes, put);
                    }
                }
            }
        }
    }
}

/// The word of that number; 0 behind the last.
fn at_word(stored: &[u8], word: u32, at: usize) -> u32 {
    if word == 8 {
        return stored.get(at).copied().map_or(0, u32::from);
    }
    stored.as_chunks().0.get(at).copied().map_or(0, u32::from_le_bytes)
}

/// A row of which each 32 bits hold `P` numbers.
#[inline(always)]
fn words<const P: usize, const N: usize>(
    stored: &[u8],
    firsts: &[u32; 32],
    out: &mut [[u8; N]],
    put: impl Fn(u32) -> [u8; N],
) {
    let Some(firsts) = firsts.first_chunk::<P>() else { return };
    let (words, (whole, rest)) = (stored.as_chunks().0, out.as_chunks_mut::<P>());
    for (word, out) in words.iter().zip(&mut *whole) {
        let word = u32::from_le_bytes(*word);
        for (out, first) in out.iter_mut().zip(firsts) {
            *out = put(word.wrapping_shr(*first));
        }
    }
    let last = words.get(whole.len()).copied().map_or(0, u32::from_le_bytes);
    for (out, first) in rest.iter_mut().zip(firsts) {
        *out = put(last.wrapping_shr(*first));
    }
}

/// A row of numbers that begin at one bit of a row of words, and may go on in the next row.
#[inline(always)]
fn down<const W: usize, const N: usize>(
    first: &[u8],
    next: &[u8],
    (word, shift): (u32, u32),
    out: &mut [[u8; N]],
    read: impl Fn([u8; W]) -> u32,
    put: impl Fn(u32) -> [u8; N],
) {
    let (first, next) = (first.as_chunks().0, next.as_chunks().0);
    if next.is_empty() {
        return out.iter_mut().zip(first).for_each(|(out, first)| *out = put(read(*first).wrapping_shr(shift)));
    }
    for ((out, first), next) in out.iter_mut().zip(first).zip(next) {
        *out = put(read(*first).wrapping_shr(shift) | read(*next).wrapping_shl(word.wrapping_sub(shift)));
    }
}
