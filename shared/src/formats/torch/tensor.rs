//! One tensor: a storage, an offset, sizes and strides become a recipe.

use std::sync::Arc;

use crate::facts::recipe::elements;
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Tensor, limits};

use super::storages::{Place, Reference, Storages};

/// A view of a storage, as a rebuild function is told it.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub reference: Reference,
    /// Element type; torch's packed types count pairs where our table counts elements.
    pub dtype: Dtype,
    /// First element.
    pub start: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
    pub conj: bool,
    pub neg: bool,
}

/// Why there is no tensor: rule and sentence.
pub(super) type Reason = (Id, String);

/// Which file, and in which byte order its numbers are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub file: FileId,
    pub big_endian: bool,
}

/// The tensor of a view. A storage that is too short for it is a finding, and leaves the tensor without data.
pub(super) fn tensor(
    view: View,
    name: &str,
    storages: &mut Storages,
    origin: Origin,
) -> Result<(Tensor, Option<Finding>), Reason> {
    let invalid = |what: &str| (Id::PickleTensor, what.to_owned());
    if view.shape.len() != view.strides.len() {
        return Err(invalid("it has not as many strides as sizes"));
    }
    if view.shape.len() > limits::DIMS {
        return Err(invalid("it has too many dimensions"));
    }
    let count = elements(&view.shape).ok_or_else(|| invalid("its number of elements is too large"))?;
    let contiguous = is_contiguous(&view.shape, &view.strides) || count == 0;
    // torch counts a pair of 4-bit floats as one element of one byte.
    let pairs = view.dtype == Dtype::F4;
    let bits = if pairs { 8 } else { view.dtype.bits() };
    let size = |count: u64| count.checked_mul(bits).map(|bits| bits.div_ceil(8));
    let last = if count == 0 { Some(0) } else { span(&view.shape, &view.strides) };
    let (first, after, bytes) = (|| {
        let after = view.start.checked_add(last?)?;
        Some((
            size(view.start)?,
            if count == 0 { size(view.start)? } else { size(after.checked_add(1)?)? },
            size(count)?,
        ))
    })()
    .and_then(|(first, after, bytes)| {
        let skip = view.reference.skip;
        Some((first.checked_add(skip)?, after.checked_add(skip)?, bytes))
    })
    .ok_or_else(|| invalid("it reaches beyond any storage"))?;

    let mut shape = view.shape;
    if pairs {
        match shape.last_mut() {
            Some(last) => *last = last.checked_mul(2).ok_or_else(|| invalid("its number of elements is too large"))?,
            None => shape.push(2),
        }
    }
    let dtype = view.dtype;
    storages.used(view.reference, first, after);
    let entry = storages.entry(view.reference).ok_or_else(|| invalid("it has no storage"))?;
    let done = |op: Op, crc32: Option<u32>| Tensor {
        name: name.to_owned(),
        recipe: Recipe { dtype, shape: shape.clone(), op },
        crc32,
    };
    let (offset, stored, crc32) = match &entry.place {
        Place::Absent(why) => return Ok((done(Op::Absent(why.clone()), None), None)),
        Place::File { offset, bytes, crc32 } => (*offset, *bytes, *crc32),
    };
    if after > stored && count > 0 {
        let finding =
            Finding::new(Id::TorchStorageShort, format!("the storage {} is too small for its tensor", entry.key))
                .at(offset)
                .tensor(name)
                .needed(format!("{after} bytes"), format!("{stored} bytes"));
        return Ok((done(Op::Absent("its storage is too small".to_owned()), None), Some(finding)));
    }
    let place = offset.checked_add(first.min(stored)).ok_or_else(|| invalid("it reaches beyond any file"))?;
    let op = if contiguous {
        Op::Bytes { file: origin.file, offset: place }
    } else if bits % 8 == 0 && !pairs {
        let storage = offset.saturating_add(view.reference.skip);
        Op::Strided { file: origin.file, storage, start: view.start, strides: view.strides }
    } else {
        return Err((Id::Unsupported, "it is a strided view of packed elements, which is not read yet".to_owned()));
    };
    let whole = contiguous && first == 0 && bytes == stored;
    let mut recipe = Recipe { dtype, shape: shape.clone(), op };
    let swapped = origin.big_endian && swaps(dtype);
    let as_stored = !(swapped || view.conj || view.neg);
    if swapped {
        recipe = Recipe { dtype, shape: shape.clone(), op: Op::ByteSwap(Arc::new(recipe)) };
    }
    if view.conj {
        recipe = Recipe { dtype, shape: shape.clone(), op: Op::Conj(Arc::new(recipe)) };
    }
    if view.neg {
        recipe = Recipe { dtype, shape: shape.clone(), op: Op::Neg(Arc::new(recipe)) };
    }
    let crc32 = crc32.filter(|_| whole && as_stored);
    Ok((Tensor { name: name.to_owned(), recipe, crc32 }, None))
}

/// Whether an element has bytes to reverse.
pub(super) fn swaps(dtype: Dtype) -> bool {
    dtype.item_bytes().is_some_and(|bytes| bytes > 1)
}

/// Whether elements follow each other without gaps; a dimension of size 1 may have any stride.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = Some(1u64);
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || expected == Some(stride);
        expected = expected.and_then(|count| count.checked_mul(size));
        fits
    })
}

/// Elements from the first to the last one of a view that is not empty.
fn span(shape: &[u64], strides: &[u64]) -> Option<u64> {
    shape
        .iter()
        .zip(strides)
        .try_fold(0u64, |last, (&size, &stride)| last.checked_add(size.saturating_sub(1).checked_mul(stride)?))
}
