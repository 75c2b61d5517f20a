//! Makes the bytes of one box of a value by walking its recipe.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a kernel: check.rs has proved that ranks agree and that every index lies inside its value"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

use super::blocks::{Block, Blocks};
use super::cast;
use super::dequant;
use super::gather::{Dest, dense, gather, packed};
use super::math;
use crate::bytes::{Pool, to_u64, to_usize};
use crate::facts::recipe::{RotaryOrder, Tile};
use crate::facts::{Dtype, FileId, Finding, Id, Op, Progress, Recipe};

/// Bytes of an F32.
const VALUE: usize = 4;

/// Elements that are made at once where they go through two kernels: a multiple of every block.
const PIECE: usize = 2048;

/// Reads values of recipes that stand on the files of one pool.
#[derive(Debug)]
pub struct Reader<'a> {
    pool: &'a Pool,
    overflowed: AtomicU64,
}

impl<'a> Reader<'a> {
    /// A reader over these files.
    pub fn new(pool: &'a Pool) -> Reader<'a> {
        Reader { pool, overflowed: AtomicU64::new(0) }
    }

    /// The files read from.
    pub fn pool(&self) -> &'a Pool {
        self.pool
    }

    /// Finite values that became infinite by a cast so far.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Makes one block of a value that [`crate::facts::check::check`] has passed. `out` has [`Block::bytes`] bytes.
    ///
    /// # Errors
    /// A finding that names the file that could not be read or became shorter; one for a value without data.
    pub fn block(&self, recipe: &Recipe, block: &Block, out: &mut [u8]) -> Result<()> {
        let Some(item) = recipe.dtype.item_bytes() else {
            // Less than a byte an element: only values that stand as they are, or blocks made here; what is asked
            // for counts bytes.
            return match &recipe.op {
                Op::Quant(of) => self.quantized(of, recipe.dtype, block.offset, out),
                _ => self.blocks(recipe, block.offset, out),
            };
        };
        let strides: Vec<usize> = packed(&block.size, item).into_iter().map(to_usize).collect();
        self.fill(recipe, &block.start, &block.size, &mut Dest { buffer: out, base: 0, strides: &strides })
    }

    /// Makes a whole value in blocks of `limit` bytes and hands them to `sink` in row-major order.
    ///
    /// # Errors
    /// Those of [`Reader::block`] and of the sink; [`crate::facts::Stopped`] if asked to stop.
    pub fn stream(
        &self,
        recipe: &Recipe,
        limit: u64,
        progress: &Progress,
        mut sink: impl FnMut(&Block, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        for block in Blocks::new(recipe, limit).iter() {
            buffer.resize(to_usize(block.bytes), 0);
            self.block(recipe, &block, &mut buffer)?;
            sink(&block, &buffer)?;
            progress.advance(block.bytes)?;
        }
        Ok(())
    }

    fn file(&self, file: FileId, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.pool.read_exact_at(file, buffer, offset).map_err(|error| {
            let finding = crate::formats::detect::unreadable(&error).at(offset);
            anyhow::Error::new(finding.in_file(self.pool.name(file)))
        })
    }

    fn fill(&self, recipe: &Recipe, start: &[u64], size: &[u64], dest: &mut Dest<'_>) -> Result<()> {
        let item = recipe.dtype.item_bytes().context("a part of less than a byte an element")?;
        match &recipe.op {
            Op::Bytes { file, offset } => {
                let from = packed(&recipe.shape, item);
                self.strided(*file, offset + dot(start, &from), &from, size, item, dest)
            }
            Op::Strided { file, storage, start: first, strides } => {
                let from: Vec<u64> = strides.iter().map(|stride| stride * item).collect();
                let first = storage + first * item + dot(start, &from);
                self.strided(*file, first, &from, size, item, dest)
            }
            Op::Literal(bytes) => {
                let from = packed(&recipe.shape, item);
                let read = |buffer: &mut [u8], at: u64| {
                    buffer.copy_from_slice(&bytes[to_usize(at)..][..buffer.len()]);
                    Ok(())
                };
                Ok(gather(read, dot(start, &from), &from, size, item, dest)?)
            }
            Op::Tiles(tiles) => tiles.iter().try_for_each(|tile| self.tile(tile, start, size, dest)),
            Op::Slice { of, start: first } => {
                let start: Vec<u64> = start.iter().zip(first).map(|(a, b)| a + b).collect();
                self.fill(of, &start, size, dest)
            }
            Op::Transpose(of, a, b) => {
                let (mut start, mut size, mut strides) = (start.to_vec(), size.to_vec(), dest.strides.to_vec());
                start.swap(*a, *b);
                size.swap(*a, *b);
                strides.swap(*a, *b);
                self.fill(of, &start, &size, &mut Dest { buffer: dest.buffer, base: dest.base, strides: &strides })
            }
            Op::Reshape(of) => whole(size, item, dest, |out| self.reshaped(recipe, of, start, size, out)),
            Op::Rows { of, head_dim, order } => self.rows(of, *head_dim, *order, start, size, dest),
            Op::Cast(of) => whole(size, item, dest, |out| self.converted(of, recipe, start, size, out)),
            Op::Math(step) => whole(size, item, dest, |out| {
                let fetch = |of: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]| self.boxed(of, start, size, out);
                math::make(&fetch, step, recipe.dtype, start, size, out)
            }),
            Op::Dequant(of) => whole(size, item, dest, |out| self.dequantized(of, start, size, out)),
            Op::ByteSwap(of) => whole(size, item, dest, |out| {
                self.boxed(of, start, size, out)?;
                cast::swap(recipe.dtype, out);
                Ok(())
            }),
            Op::Conj(of) => whole(size, item, dest, |out| {
                self.boxed(of, start, size, out)?;
                cast::conjugate(recipe.dtype, out);
                Ok(())
            }),
            Op::Neg(of) => whole(size, item, dest, |out| {
                self.boxed(of, start, size, out)?;
                cast::negate(recipe.dtype, out)
            }),
            Op::Quant(_) => bail!(Finding::new(Id::Unsupported, "a part of blocks that are made here")),
            Op::Absent(why) => bail!(Finding::new(Id::TensorAbsent, format!("the tensor has no data: {why}"))),
        }
    }

    /// Makes a box, contiguous and row-major in `out`.
    pub(super) fn boxed(&self, recipe: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
        let item = recipe.dtype.item_bytes().context("a part of less than a byte an element")?;
        let strides: Vec<usize> = packed(size, item).into_iter().map(to_usize).collect();
        self.fill(recipe, start, size, &mut Dest { buffer: out, base: 0, strides: &strides })
    }

    fn strided(
        &self,
        file: FileId,
        first: u64,
        from: &[u64],
        size: &[u64],
        item: u64,
        dest: &mut Dest<'_>,
    ) -> Result<()> {
        let mut failure = None;
        let read = |buffer: &mut [u8], at: u64| {
            self.file(file, buffer, at).map_err(|error| {
                failure = Some(error);
                std::io::ErrorKind::Other.into()
            })
        };
        gather(read, first, from, size, item, dest).map_err(|error| failure.unwrap_or_else(|| error.into()))
    }

    /// The part of a tile that lies inside the box.
    fn tile(&self, tile: &Tile, start: &[u64], size: &[u64], dest: &mut Dest<'_>) -> Result<()> {
        let (mut from, mut count, mut base) = (Vec::new(), Vec::new(), dest.base);
        for (axis, (&at, &extent)) in tile.at.iter().zip(&tile.part.shape).enumerate() {
            let low = at.max(start[axis]);
            let high = (at + extent).min(start[axis] + size[axis]);
            if low >= high {
                return Ok(());
            }
            from.push(low - at);
            count.push(high - low);
            base += to_usize(low - start[axis]) * dest.strides[axis];
        }
        self.fill(&tile.part, &from, &count, &mut Dest { buffer: dest.buffer, base, strides: dest.strides })
    }

    /// A box of a value whose rows stand in the other rotary order: head by head, the rows of the box that belong
    /// to one are fetched in one piece and put in their places.
    fn rows(
        &self,
        of: &Recipe,
        head_dim: u64,
        order: RotaryOrder,
        start: &[u64],
        size: &[u64],
        dest: &mut Dest<'_>,
    ) -> Result<()> {
        let item = of.dtype.item_bytes().context("a part of less than a byte an element")?;
        let (mut row, end) = (start[0], start[0] + size[0]);
        let rest = size[1..].iter().product::<u64>() * item;
        let mut scratch = Vec::new();
        while row < end {
            let head = row / head_dim * head_dim;
            let stop = end.min(head + head_dim);
            let sources = (row..stop).map(|row| order.source(row - head, head_dim).unwrap_or(0));
            let (low, high) = (sources.clone().min().unwrap_or(0), sources.clone().max().unwrap_or(0));
            let (mut from, mut count) = (start.to_vec(), size.to_vec());
            from[0] = head + low;
            count[0] = high - low + 1;
            scratch.resize(to_usize(count[0] * rest), 0);
            self.boxed(of, &from, &count, &mut scratch)?;
            let one: Vec<u64> = std::iter::once(1).chain(size[1..].iter().copied()).collect();
            let strides = packed(&one, item);
            for (index, source) in sources.enumerate() {
                let base = dest.base + (to_usize(row - start[0]) + index) * dest.strides[0];
                let mut target = Dest { buffer: dest.buffer, base, strides: dest.strides };
                let read = |buffer: &mut [u8], at: u64| {
                    buffer.copy_from_slice(&scratch[to_usize(at)..][..buffer.len()]);
                    Ok(())
                };
                gather(read, (source - low) * rest, &strides, &one, item, &mut target)?;
            }
            row = stop;
        }
        Ok(())
    }

    /// A box of a value in another shape: its contiguous runs are ranges of the original, and those are boxes of it.
    fn reshaped(&self, recipe: &Recipe, of: &Arc<Recipe>, start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
        let item = to_usize(recipe.dtype.item_bytes().context("a part of less than a byte an element")?);
        runs(&recipe.shape, start, size, item, out, |first, end, piece| self.range(of, first, end, piece))
    }

    /// A box of the values that stored blocks stand for. Blocks that the box cuts are made whole, and its part taken.
    fn dequantized(&self, of: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
        let (elements, bytes) = of.dtype.block();
        let (mut blocks, mut values) = (Vec::new(), Vec::new());
        runs(&of.shape, start, size, VALUE, out, |first, end, piece| {
            let (from, to) = (first / elements, end.div_ceil(elements));
            blocks.resize(to_usize((to - from) * bytes), 0);
            self.blocks(of, from * bytes, &mut blocks)?;
            if first.is_multiple_of(elements) && end.is_multiple_of(elements) {
                return dequant::dequantize(of.dtype, &blocks, piece);
            }
            values.resize(to_usize((to - from) * elements) * VALUE, 0);
            dequant::dequantize(of.dtype, &blocks, &mut values)?;
            piece.copy_from_slice(&values[to_usize(first - from * elements) * VALUE..][..piece.len()]);
            Ok(())
        })
    }

    /// Whole stored blocks, from byte `first` of them on, in the byte order that dequantisation takes.
    fn blocks(&self, of: &Recipe, first: u64, out: &mut [u8]) -> Result<()> {
        match &of.op {
            Op::Bytes { file, offset } => self.file(*file, out, offset + first),
            Op::ByteSwap(stored) => {
                self.blocks(stored, first, out)?;
                cast::swap_blocks(of.dtype, out);
                Ok(())
            }
            _ => bail!(Finding::new(Id::Unsupported, format!("{} values can only be moved whole", of.dtype))),
        }
    }

    /// The elements `first..end` of a value, counted in row-major order.
    fn range(&self, of: &Recipe, mut first: u64, end: u64, mut out: &mut [u8]) -> Result<()> {
        let item = to_usize(of.dtype.item_bytes().context("a part of less than a byte an element")?);
        let strides = packed(&of.shape, 1);
        while first < end {
            // The largest box that begins here: whole steps of the outermost dimension that starts at its own zero.
            let axis =
                (0..strides.len()).find(|&axis| first.is_multiple_of(strides[axis]) && first + strides[axis] <= end);
            let mut size = vec![1; of.shape.len()];
            let mut start = vec![0; of.shape.len()];
            let mut left = first;
            for (index, &stride) in strides.iter().enumerate() {
                start[index] = left / stride;
                left %= stride;
            }
            let mut count = 1;
            if let Some(axis) = axis {
                let steps = ((end - first) / strides[axis]).min(of.shape[axis] - start[axis]);
                size[axis] = steps;
                size[axis + 1..].copy_from_slice(&of.shape[axis + 1..]);
                count = steps * strides[axis];
            }
            let (piece, rest) = out.split_at_mut(to_usize(count) * item);
            self.boxed(of, &start, &size, piece)?;
            out = rest;
            first += count;
        }
        Ok(())
    }

    /// Whole blocks of F32 values, from byte `first` of the blocks on. Values that are stored in another dtype are cast
    /// in pieces that stay in the nearest cache.
    fn quantized(&self, of: &Recipe, dtype: Dtype, first: u64, out: &mut [u8]) -> Result<()> {
        let (elements, bytes) = dtype.block();
        let (first, count) = (first / bytes * elements, to_u64(out.len()) / bytes * elements);
        let stored = match &of.op {
            Op::Cast(stored) => stored,
            _ => of,
        };
        let item = to_usize(stored.dtype.item_bytes().context("a part of less than a byte an element")?);
        let mut values = vec![0; to_usize(count) * item];
        self.range(stored, first, first + count, &mut values)?;
        let mut floats = [0; PIECE * VALUE];
        let pieces = values.chunks(PIECE * item).zip(out.chunks_mut(PIECE / to_usize(elements) * to_usize(bytes)));
        for (values, out) in pieces {
            let floats = &mut floats[..values.len() / item * VALUE];
            self.cast(stored.dtype, values, of.dtype, floats)?;
            dequant::to_q8_0(floats, out);
        }
        Ok(())
    }

    fn converted(&self, of: &Recipe, to: &Recipe, start: &[u64], size: &[u64], out: &mut [u8]) -> Result<()> {
        let item = of.dtype.item_bytes().context("a part of less than a byte an element")?;
        let count = size.iter().product::<u64>();
        let mut values = vec![0; to_usize(count * item)];
        self.boxed(of, start, size, &mut values)?;
        self.cast(of.dtype, &values, to.dtype, out)
    }

    fn cast(&self, from: Dtype, values: &[u8], to: Dtype, out: &mut [u8]) -> Result<()> {
        self.overflowed.fetch_add(cast::cast(from, values, to, out)?, Ordering::Relaxed);
        Ok(())
    }
}

/// The contiguous runs of a box of a value of that shape, each as the elements `first..end` in row-major order and
/// the part of `out` that they fill.
fn runs(
    shape: &[u64],
    start: &[u64],
    size: &[u64],
    item: usize,
    out: &mut [u8],
    mut make: impl FnMut(u64, u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let strides = packed(shape, 1);
    let full = shape.iter().zip(size).rev().take_while(|(shape, size)| shape == size).count();
    let axis = size.len().saturating_sub(full).saturating_sub(1);
    let run: u64 = size.get(axis..).unwrap_or_default().iter().product();
    let outer = size.get(..axis).unwrap_or_default();
    let mut index = vec![0u64; outer.len()];
    if run == 0 {
        return Ok(());
    }
    for piece in out.chunks_mut(to_usize(run) * item) {
        let first = dot(start, &strides) + dot(&index, &strides);
        make(first, first + run, piece)?;
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(())
}

/// Lets `make` write a box contiguously, and puts it in its place if that is not where it goes.
fn whole(size: &[u64], item: u64, dest: &mut Dest<'_>, make: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    let bytes = to_usize(size.iter().product::<u64>() * item);
    if dense(size, dest.strides, item) {
        return make(&mut dest.buffer[dest.base..dest.base + bytes]);
    }
    let mut values = vec![0; bytes];
    make(&mut values)?;
    let read = |buffer: &mut [u8], at: u64| {
        buffer.copy_from_slice(&values[to_usize(at)..][..buffer.len()]);
        Ok(())
    };
    Ok(gather(read, 0, &packed(size, item), size, item, dest)?)
}

fn dot(index: &[u64], strides: &[u64]) -> u64 {
    index.iter().zip(strides).map(|(index, stride)| index * stride).sum()
}
