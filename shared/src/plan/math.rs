//! Makes a box of a value from boxes of the values it is made of, one step of arithmetic at a time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "kernels: math.rs of facts has proved that shapes agree; numbers of at most 8 bits are exact in F32"
)]

use anyhow::{Result, bail};
use half::{bf16, f16};

use super::decode::{Number, Visit, decoder};
use super::gather::packed;
use super::lowrank;
use crate::bytes::{to_u64, to_usize};
use crate::facts::math::{Arithmetic, Packing};
use crate::facts::{Dtype, Finding, Id, Math, Recipe};

/// Makes a box of a value, contiguous.
pub(super) type Fetch<'a> = &'a dyn Fn(&Recipe, &[u64], &[u64], &mut [u8]) -> Result<()>;

/// Makes the box of `size` elements from `start` on, contiguous and row-major in `out`.
///
/// # Errors
/// Those of fetching; a finding for a place outside its table, which only the data tell.
pub(super) fn make(
    fetch: Fetch<'_>,
    step: &Math,
    dtype: Dtype,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    match step {
        Math::Numbers { of, read } => {
            let stored = boxed(fetch, of, start, size)?;
            decoder(*read, Floats { stored: &stored, out });
            Ok(())
        }
        Math::Fields { of, packing } => fields(fetch, of, *packing, dtype, start, size, out),
        Math::Pick { of, table } => {
            let places = boxed(fetch, of, start, size)?;
            let table = boxed(fetch, table, &[0], &table.shape)?;
            let (table, _) = table.as_chunks::<4>();
            for (out, &place) in out.as_chunks_mut::<4>().0.iter_mut().zip(&places) {
                let Some(value) = table.get(usize::from(place)) else {
                    bail!(outside("a number", place, table.len()));
                };
                *out = *value;
            }
            Ok(())
        }
        Math::Spread { of, by } => spread(fetch, of, by, start, size, out),
        Math::Take { of, index } => take(fetch, of, index, start, size, out),
        Math::Merge(low) => lowrank::merge(fetch, low, dtype, start, size, out),
        Math::With { how, left, right } => {
            fetch(left, start, size, out)?;
            let right = boxed(fetch, right, start, size)?;
            match dtype {
                Dtype::F16 => {
                    with(*how, out, &right, |v| f16::from_le_bytes(v).to_f32(), |v| f16::from_f32(v).to_le_bytes());
                }
                Dtype::Bf16 => {
                    with(*how, out, &right, |v| bf16::from_le_bytes(v).to_f32(), |v| bf16::from_f32(v).to_le_bytes());
                }
                _ => with(*how, out, &right, f32::from_le_bytes, f32::to_le_bytes),
            }
            Ok(())
        }
    }
}

fn outside(what: &str, place: impl std::fmt::Display, count: usize) -> Finding {
    let message = format!("{what} stands at a place that its table does not have: the data are not what the names say");
    Finding::new(Id::PackedParts, message).needed(format!("a place below {count}"), place)
}

/// A box of a value, of its own dtype.
fn boxed(fetch: Fetch<'_>, of: &Recipe, start: &[u64], size: &[u64]) -> Result<Vec<u8>> {
    let item = of.dtype.item_bytes().unwrap_or(1);
    let mut bytes = vec![0; to_usize(size.iter().product::<u64>() * item)];
    fetch(of, start, size, &mut bytes)?;
    Ok(bytes)
}

/// Bytes that become F32.
struct Floats<'a> {
    stored: &'a [u8],
    out: &'a mut [u8],
}

impl Visit for Floats<'_> {
    type Output = ();

    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) {
        for (out, bytes) in self.out.as_chunks_mut::<4>().0.iter_mut().zip(self.stored.as_chunks::<N>().0) {
            let value: f64 = decode(*bytes).into();
            *out = (value as f32).to_le_bytes();
        }
    }
}

/// Two values in the numbers of F32, rounded to their own dtype: for sums, products and quotients of dtypes of less
/// than half as many bits this is one rounding (Figueroa, "When is double rounding innocuous?", 1995).
fn with<const N: usize>(
    how: Arithmetic,
    out: &mut [u8],
    right: &[u8],
    read: impl Fn([u8; N]) -> f32,
    write: impl Fn(f32) -> [u8; N],
) {
    let pairs = out.as_chunks_mut::<N>().0.iter_mut().zip(right.as_chunks::<N>().0);
    // The operation outside, so that each loop is one a vector can take.
    match how {
        Arithmetic::Plus => pairs.for_each(|(a, b)| *a = write(read(*a) + read(*b))),
        Arithmetic::Minus => pairs.for_each(|(a, b)| *a = write(read(*a) - read(*b))),
        Arithmetic::Times => pairs.for_each(|(a, b)| *a = write(read(*a) * read(*b))),
        Arithmetic::Over => pairs.for_each(|(a, b)| *a = write(read(*a) / read(*b))),
    }
}

/// Numbers of a few bits out of the elements that hold them.
fn fields(
    fetch: Fetch<'_>,
    of: &Recipe,
    packing: Packing,
    dtype: Dtype,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    let Packing { bits, axis, order, more, less } = packing;
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
    let words: Vec<u32> = if of.dtype == Dtype::U8 {
        stored.iter().map(|&byte| u32::from(byte)).collect()
    } else {
        stored.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    };
    let strides = packed(&count, 1);
    let along = to_usize(strides[axis]);
    // Of each number: its first word, counted along the axis, and its first bit in it.
    let places: Vec<(usize, u32)> = (first..end)
        .map(|index| {
            let bit = order.place(index) * u64::from(bits) - low * word;
            (to_usize(bit / word) * along, (bit % word) as u32)
        })
        .collect();
    let mask = (1u32 << bits) - 1;
    let number = |at: usize, shift: u32| {
        let mut pair = u64::from(words[at]);
        if shift + bits > word as u32 {
            pair |= u64::from(words.get(at + along).copied().unwrap_or(0)) << word;
        }
        (((pair >> shift) as u32 & mask) + more) & mask
    };
    let put = |index: usize, number: u32, out: &mut [u8]| {
        if dtype == Dtype::U8 {
            out[index] = number as u8;
        } else {
            out[4 * index..][..4].copy_from_slice(&((number as i32 - less as i32) as f32).to_le_bytes());
        }
    };
    let columns = to_usize(size.last().copied().unwrap_or(1));
    let rows = to_usize(size.iter().product()) / columns;
    let row_of_words = if size.len() == 2 && axis == 1 { to_usize(strides[0]) } else { 0 };
    for row in 0..rows {
        for column in 0..columns {
            let (base, place) =
                if size.len() == 2 && axis == 0 { (column, places[row]) } else { (row * row_of_words, places[column]) };
            put(row * columns + column, number(base + place.0, place.1), out);
        }
    }
    Ok(())
}

/// Elements repeated along every dimension.
fn spread(fetch: Fetch<'_>, of: &Recipe, by: &[u64], start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
    if size.contains(&0) {
        return Ok(());
    }
    let from: Vec<u64> = start.iter().zip(by).map(|(start, by)| start / by).collect();
    let ends = start.iter().zip(size).zip(by).map(|((start, size), by)| (start + size).div_ceil(*by));
    let count: Vec<u64> = ends.zip(&from).map(|(end, from)| end - from).collect();
    let stored = boxed(fetch, of, &from, &count)?;
    let item = to_usize(of.dtype.item_bytes().unwrap_or(1));
    let strides = packed(&count, to_u64(item));
    let Some(last) = size.len().checked_sub(1) else {
        out.copy_from_slice(&stored);
        return Ok(());
    };
    let mut index = start[..last].to_vec();
    for line in out.chunks_exact_mut(to_usize(size[last]) * item) {
        let row: u64 = (0..last).map(|axis| (index[axis] / by[axis] - from[axis]) * strides[axis]).sum();
        let row = &stored[to_usize(row)..];
        let mut at = start[last];
        let mut rest = line;
        while !rest.is_empty() {
            let place = at / by[last];
            let run = ((place + 1) * by[last]).min(start[last] + size[last]) - at;
            let (piece, after) = rest.split_at_mut(to_usize(run) * item);
            let element = &row[to_usize(place - from[last]) * item..][..item];
            piece.chunks_exact_mut(item).for_each(|out| out.copy_from_slice(element));
            (rest, at) = (after, at + run);
        }
        for axis in (0..last).rev() {
            index[axis] += 1;
            if index[axis] < start[axis] + size[axis] {
                break;
            }
            index[axis] = start[axis];
        }
    }
    Ok(())
}

/// Rows more than those wanted that one read may bring along.
const BESIDE: u64 = 1024;

/// Rows by their numbers.
fn take(fetch: Fetch<'_>, of: &Recipe, index: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
    let stored = boxed(fetch, index, &start[..1], &size[..1])?;
    let rows: Vec<i64> = match index.dtype {
        Dtype::I64 => stored.as_chunks().0.iter().map(|v| i64::from_le_bytes(*v)).collect(),
        _ => stored.as_chunks().0.iter().map(|v| i64::from(i32::from_le_bytes(*v))).collect(),
    };
    // A number below zero counts from the end, as torch has it.
    let count = of.shape[0];
    let row = |&row: &i64| {
        let row = if row < 0 { row.checked_add_unsigned(count).unwrap_or(-1) } else { row };
        u64::try_from(row).ok().filter(|row| *row < count)
    };
    let mut places = Vec::with_capacity(rows.len());
    for number in &rows {
        let Some(place) = row(number) else { bail!(outside("a row", number, to_usize(count))) };
        places.push(place);
    }
    let (Some(&low), Some(&high)) = (places.iter().min(), places.iter().max()) else { return Ok(()) };
    let columns = size[1];
    let width = to_usize(columns * of.dtype.item_bytes().unwrap_or(1));
    if width == 0 {
        return Ok(());
    }
    let lines = out.chunks_exact_mut(width).zip(&places);
    if high - low <= to_u64(places.len()) + BESIDE {
        let block = boxed(fetch, of, &[low, start[1]], &[high - low + 1, columns])?;
        lines.for_each(|(line, place)| line.copy_from_slice(&block[to_usize(place - low) * width..][..width]));
        return Ok(());
    }
    for (line, &place) in lines {
        fetch(of, &[place, start[1]], &[1, columns], line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
