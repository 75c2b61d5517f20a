//! Copies a strided box of elements from a byte store to a strided box in memory, in as few reads as pay.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a kernel: check.rs has proved that every address lies inside the store and the destination"
)]

use std::io;

use crate::bytes::to_usize;

/// Bytes of one read that also fetches what is not wanted between the wanted parts.
const SPAN: u64 = 4 << 20;

/// A destination: a box of elements inside a buffer, its strides in bytes.
pub(super) struct Dest<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) base: usize,
    pub(super) strides: &'a [usize],
}

/// One dimension of a copy; strides in bytes.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: u64,
    from: u64,
    to: usize,
}

/// Byte strides of a row-major box.
pub(super) fn packed(size: &[u64], item: u64) -> Vec<u64> {
    let mut strides = vec![item; size.len()];
    for axis in (1..size.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(size[axis].max(1));
    }
    strides
}

/// Whether a box of that size is contiguous and row-major in its destination.
pub(super) fn dense(size: &[u64], strides: &[usize], item: u64) -> bool {
    let mut expected = item;
    size.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || to_usize(expected) == stride;
        expected = expected.saturating_mul(size);
        fits
    })
}

/// Copies `size` elements of `item` bytes. The first stands at byte `first` of the store; `from` are the store's
/// strides in bytes. `read` fills a buffer from a byte of the store.
pub(super) fn gather(
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    first: u64,
    from: &[u64],
    size: &[u64],
    item: u64,
    dest: &mut Dest<'_>,
) -> io::Result<()> {
    if size.contains(&0) {
        return Ok(());
    }
    let mut axes: Vec<Axis> = size
        .iter()
        .zip(from)
        .zip(dest.strides)
        .map(|((&size, &from), &to)| Axis { size, from, to })
        .filter(|axis| axis.size > 1)
        .collect();
    // In the order of the store, so that neighbours there are read together, whatever the destination's order.
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.from));
    merge(&mut axes);
    let mut unit = item;
    if let Some(last) = axes.pop_if(|last| last.from == item && last.to == to_usize(item)) {
        unit = item * last.size;
    }
    let level = (0..axes.len()).find(|&level| span_pays(&axes[level..], unit)).unwrap_or(axes.len());
    let (outer, inner) = axes.split_at(level);
    let span = to_usize(inner.iter().map(|axis| (axis.size - 1) * axis.from).sum::<u64>() + unit);
    let mut scratch = if inner.is_empty() { Vec::new() } else { vec![0; span] };
    each(outer, &mut |from, to| {
        let to = dest.base + to;
        if inner.is_empty() {
            return read(&mut dest.buffer[to..to + span], first + from);
        }
        read(&mut scratch, first + from)?;
        let unit = to_usize(unit);
        let (outer, plane) = inner.split_at(inner.len().saturating_sub(2));
        each(outer, &mut |from, inner_to| {
            spread(plane, unit, &scratch[to_usize(from)..], &mut dest.buffer[to + inner_to..]);
            Ok(())
        })
    })
}

/// Units along a side of what is copied together: rows of a matrix that becomes columns are read while the processor
/// still has the lines that it wrote their neighbours to.
const SIDE: usize = 16;

/// Copies the units of two axes at the most.
fn spread(plane: &[Axis], unit: usize, from: &[u8], to: &mut [u8]) {
    let one = Axis { size: 1, from: 0, to: 0 };
    let (rows, columns) = match *plane {
        [rows, columns] => (rows, columns),
        [columns] => (one, columns),
        _ => (one, one),
    };
    let (down, along) = (to_usize(rows.size), to_usize(columns.size));
    let squares = (0..down).step_by(SIDE).flat_map(|row| (0..along).step_by(SIDE).map(move |column| (row, column)));
    for (row, column) in squares {
        for row in row..(row + SIDE).min(down) {
            let (from, to) = (&from[row * to_usize(rows.from)..], &mut to[row * rows.to..]);
            let columns_of_square = column..(column + SIDE).min(along);
            let places = columns_of_square.map(|column| (column * to_usize(columns.from), column * columns.to));
            match unit {
                2 => places.for_each(|(at, place)| to[place..][..2].copy_from_slice(&from[at..][..2])),
                4 => places.for_each(|(at, place)| to[place..][..4].copy_from_slice(&from[at..][..4])),
                _ => places.for_each(|(at, place)| to[place..][..unit].copy_from_slice(&from[at..][..unit])),
            }
        }
    }
}

/// Joins neighbouring axes that step through store and destination as one.
fn merge(axes: &mut Vec<Axis>) {
    let mut index = 1;
    while index < axes.len() {
        let (outer, inner) = (axes[index - 1], axes[index]);
        let joins =
            outer.from == inner.from * inner.size && Some(outer.to) == inner.to.checked_mul(to_usize(inner.size));
        if joins {
            axes[index - 1] = Axis { size: outer.size * inner.size, ..inner };
            axes.remove(index);
        } else {
            index += 1;
        }
    }
}

/// Whether one read over all of these axes is bounded and mostly wanted.
fn span_pays(axes: &[Axis], unit: u64) -> bool {
    let span = axes.iter().map(|axis| (axis.size - 1).saturating_mul(axis.from)).fold(unit, u64::saturating_add);
    let wanted = axes.iter().map(|axis| axis.size).fold(unit, u64::saturating_mul);
    span <= SPAN && span / 4 <= wanted
}

/// Calls `visit` with the byte offsets in store and destination of every index of the axes.
fn each(axes: &[Axis], visit: &mut dyn FnMut(u64, usize) -> io::Result<()>) -> io::Result<()> {
    fn walk(
        axes: &[Axis],
        from: u64,
        to: usize,
        visit: &mut dyn FnMut(u64, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((axis, rest)) = axes.split_first() else {
            return visit(from, to);
        };
        for index in 0..axis.size {
            walk(rest, from + index * axis.from, to + to_usize(index) * axis.to, visit)?;
        }
        Ok(())
    }
    walk(axes, 0, 0, visit)
}
