//! Makes a box of a value from boxes of the values it is made of, one step of arithmetic at a time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::inline_always,
    reason = "kernels: math.rs of facts has proved that shapes agree; what is not inlined is not compiled for wider vectors"
)]

use anyhow::{Result, bail};

use super::cast::{to_bf16, to_half};
use super::decode::{Number, Visit, decoder, half};
use super::gather::packed;
use super::lowrank;
use crate::bytes::{to_u64, to_usize};
use crate::facts::math::Arithmetic;
use crate::facts::{Dtype, Finding, Id, Math, Recipe};

mod fields;

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
            pulp::Arch::new().dispatch(Numbers { read: *read, stored: &stored, out });
            Ok(())
        }
        Math::Fields { of, packing } => fields::make(fetch, of, *packing, dtype, start, size, out),
        Math::Pick { of, table } => {
            let places = boxed(fetch, of, start, size)?;
            let table = boxed(fetch, table, &[0], &table.shape)?;
            pick(&places, table.as_chunks().0, out.as_chunks_mut().0)
        }
        Math::Spread { of, by } => spread(fetch, of, by, start, size, out),
        Math::Take { of, index } => take(fetch, of, index, start, size, out),
        Math::Merge(low) => lowrank::merge(fetch, low, dtype, start, size, out),
        Math::With { how, left, right } => {
            fetch(left, start, size, out)?;
            let right = boxed(fetch, right, start, size)?;
            pulp::Arch::new().dispatch(With { how: *how, dtype, out, right: &right });
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

/// The numbers at places of a table.
fn pick(places: &[u8], table: &[[u8; 4]], out: &mut [[u8; 4]]) -> Result<()> {
    if let Some(place) = places.iter().find(|place| usize::from(**place) >= table.len()) {
        bail!(outside("a number", place, table.len()));
    }
    // As large as a byte can count, so that no place is held against it again.
    let mut all = [[0; 4]; 256];
    let count = table.len().min(256);
    all[..count].copy_from_slice(&table[..count]);
    for (out, &place) in out.iter_mut().zip(places) {
        *out = all[usize::from(place)];
    }
    Ok(())
}

/// Elements that are numbers by themselves, which become F32; as what `pulp` compiles for each set of vector
/// instructions, like the kernels below.
struct Numbers<'a> {
    read: Dtype,
    stored: &'a [u8],
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Numbers<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        decoder(self.read, Floats { stored: self.stored, out: self.out });
    }
}

/// Bytes that become F32.
struct Floats<'a> {
    stored: &'a [u8],
    out: &'a mut [u8],
}

impl Visit for Floats<'_> {
    type Output = ();

    #[inline(always)]
    fn visit<const N: usize, T: Number>(self, decode: impl Fn([u8; N]) -> T) {
        for (out, bytes) in self.out.as_chunks_mut::<4>().0.iter_mut().zip(self.stored.as_chunks::<N>().0) {
            let value: f64 = decode(*bytes).into();
            *out = (value as f32).to_le_bytes();
        }
    }
}

/// Two values of one dtype, of which the first becomes the result.
struct With<'a> {
    how: Arithmetic,
    dtype: Dtype,
    out: &'a mut [u8],
    right: &'a [u8],
}

impl pulp::NullaryFnOnce for With<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let With { how, dtype, out, right } = self;
        match dtype {
            Dtype::F16 => with(how, out, right, |v| half(u16::from_le_bytes(v)), |v| to_half(v).to_le_bytes()),
            Dtype::Bf16 => {
                let read = |v| f32::from_bits(u32::from(u16::from_le_bytes(v)) << 16);
                with(how, out, right, read, |v| to_bf16(v).to_le_bytes());
            }
            _ => with(how, out, right, f32::from_le_bytes, f32::to_le_bytes),
        }
    }
}

/// Two values in the numbers of F32, rounded to their own dtype: for sums, products and quotients of dtypes of less
/// than half as many bits this is one rounding (Figueroa, "When is double rounding innocuous?", 1995).
#[inline(always)]
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
        if by[last] == 1 {
            rest.copy_from_slice(&row[..rest.len()]);
            rest = &mut [];
        }
        while !rest.is_empty() {
            let place = at / by[last];
            let run = ((place + 1) * by[last]).min(start[last] + size[last]) - at;
            let (piece, after) = rest.split_at_mut(to_usize(run) * item);
            repeat(piece, &row[to_usize(place - from[last]) * item..][..item]);
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

/// Fills a run with one element.
fn repeat(run: &mut [u8], element: &[u8]) {
    match (element.first_chunk::<4>(), element.first_chunk::<2>(), element.len()) {
        (Some(element), _, 4) => run.as_chunks_mut().0.fill(*element),
        (_, Some(element), 2) => run.as_chunks_mut().0.fill(*element),
        (_, _, item) => run.chunks_exact_mut(item).for_each(|out| out.copy_from_slice(element)),
    }
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
