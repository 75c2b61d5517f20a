//! The recipe of a tensor's bytes: a small expression over byte ranges of files.
//!
//! A [`Recipe`] always knows its dtype and shape, so a plan can be checked and printed without reading data. Bytes
//! are row-major and little-endian at every node, whatever the file did.

use std::sync::Arc;

use super::dtype::{Dtype, Kind};
use super::math::Math;

/// A file of a checkpoint, by its place in the checkpoint's table of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// A named value of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// The name, as its layout gives it: nested keys joined by `.`.
    pub name: String,
    /// Dtype, shape and where the bytes come from.
    pub recipe: Recipe,
    /// CRC-32 that the container records for exactly these bytes, if it does.
    pub crc32: Option<u32>,
}

/// A value: dtype, shape and how to make its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Sizes in torch order, in elements; empty for a scalar.
    pub shape: Vec<u64>,
    /// How the bytes are made.
    pub op: Op,
}

/// How a value's bytes are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Contiguous in a file, from this byte on.
    Bytes {
        /// The file.
        file: FileId,
        /// First byte.
        offset: u64,
    },
    /// Given here, row-major and little-endian.
    Literal(Arc<[u8]>),
    /// A torch view of a storage: element `i` stands at `start + sum(i * strides)` elements.
    Strided {
        /// The file.
        file: FileId,
        /// First byte of the storage.
        storage: u64,
        /// First element of the view within the storage.
        start: u64,
        /// Distance in elements from one index to the next, one for each dimension.
        strides: Vec<u64>,
    },
    /// Elements with their bytes reversed, as a big-endian file holds them. A complex element is two numbers.
    ByteSwap(Arc<Recipe>),
    /// Complex conjugate.
    Conj(Arc<Recipe>),
    /// Arithmetic negative.
    Neg(Arc<Recipe>),
    /// Parts that cover the shape exactly once: model-parallel shards, chunks.
    Tiles(Vec<Tile>),
    /// The part of a value that begins at these indices.
    Slice {
        /// The whole.
        of: Arc<Recipe>,
        /// First index in each dimension.
        start: Vec<u64>,
    },
    /// The same elements in another shape.
    Reshape(Arc<Recipe>),
    /// Two dimensions exchanged.
    Transpose(Arc<Recipe>, usize, usize),
    /// The rotary order of the rows (dimension 0) of a q or k projection.
    Rows {
        /// Rows in the other order.
        of: Arc<Recipe>,
        /// Rows a head.
        head_dim: u64,
        /// The order this value has.
        order: RotaryOrder,
    },
    /// Another dtype, rounded to nearest even.
    Cast(Arc<Recipe>),
    /// Arithmetic on other values, as packed and scaled weights need it.
    Math(Math),
    /// The F32 values that blocks stand for, as ggml defines it for their dtype.
    Dequant(Arc<Recipe>),
    /// The nearest Q8_0 blocks to F32 values, the bits of ggml's own quantiser.
    Quant(Arc<Recipe>),
    /// No data: meta device, a placeholder. Holds why.
    Absent(String),
}

/// A part of a [`Op::Tiles`] value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tile {
    /// First index of the part in each dimension of the whole.
    pub at: Vec<u64>,
    /// The part.
    pub part: Arc<Recipe>,
}

/// The two orders in which the rows of a head pair up for rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotaryOrder {
    /// Meta's: the two halves of a rotation stand side by side (row `2j + s`).
    Interleaved,
    /// Hugging Face's: all first halves, then all second ones (row `s * head_dim / 2 + j`).
    Halves,
}

impl RotaryOrder {
    /// The row of the value in the *other* order that stands at `row` of a head in this one.
    ///
    /// `None` if `row` is not below `head_dim`.
    pub fn source(self, row: u64, head_dim: u64) -> Option<u64> {
        let half = head_dim.checked_div(2)?;
        if row >= head_dim || half == 0 {
            return None;
        }
        match self {
            Self::Halves => row.checked_rem(half)?.checked_mul(2)?.checked_add(row.checked_div(half)?),
            Self::Interleaved => row.checked_rem(2)?.checked_mul(half)?.checked_add(row.checked_div(2)?),
        }
    }
}

/// Number of elements of a shape; `None` if it does not fit 64 bits.
pub fn elements(shape: &[u64]) -> Option<u64> {
    // A zero anywhere makes the product zero, even beside sizes whose product overflows.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size))
}

impl Recipe {
    /// A value that stands contiguous in a file.
    pub fn bytes(dtype: Dtype, shape: Vec<u64>, file: FileId, offset: u64) -> Recipe {
        Recipe { dtype, shape, op: Op::Bytes { file, offset } }
    }

    /// The values that a recipe of ggml's blocks stands for, in F32; any other recipe as it is.
    pub fn dequantized(self) -> Recipe {
        if self.dtype.kind() != Kind::Blocks {
            return self;
        }
        Recipe { dtype: Dtype::F32, shape: self.shape.clone(), op: Op::Dequant(Arc::new(self)) }
    }

    /// One step of the first dimension, without it: blocks become their values where they do not stand in a file one
    /// behind the other.
    pub fn part(&self, number: u64) -> Recipe {
        let shape = self.shape.get(1..).unwrap_or_default().to_vec();
        let bytes = elements(&shape).filter(|count| count.is_multiple_of(self.dtype.block().0.max(1)));
        let bytes = bytes.and_then(|count| self.dtype.bytes_of(count)?.checked_mul(number));
        if let (Op::Bytes { file, offset }, Some(bytes)) = (&self.op, bytes)
            && let Some(offset) = offset.checked_add(bytes)
        {
            return Recipe::bytes(self.dtype, shape, *file, offset);
        }
        let whole = self.clone().dequantized();
        Recipe { dtype: whole.dtype, shape, op: Op::Reshape(Arc::new(whole.slice(0, number, 1))) }
    }

    /// `size` steps of a dimension (counted from 0) from `first` on; all of it is the value itself.
    pub fn slice(&self, axis: usize, first: u64, size: u64) -> Recipe {
        if first == 0 && self.shape.get(axis) == Some(&size) {
            return self.clone();
        }
        let (mut start, mut shape) = (vec![0; self.shape.len()], self.shape.clone());
        if let (Some(start), Some(extent)) = (start.get_mut(axis), shape.get_mut(axis)) {
            (*start, *extent) = (first, size);
        }
        Recipe { dtype: self.dtype, shape, op: Op::Slice { of: Arc::new(self.clone()), start } }
    }

    /// Number of elements; saturates, which no value accepted by a reader can reach.
    pub fn elements(&self) -> u64 {
        elements(&self.shape).unwrap_or(u64::MAX)
    }

    /// Number of bytes of the value, in its own dtype; saturates like [`Recipe::elements`].
    pub fn len_bytes(&self) -> u64 {
        elements(&self.shape).and_then(|count| self.dtype.bytes_of(count)).unwrap_or(u64::MAX)
    }

    /// The file range that holds the value as it is, if it stands contiguous in one.
    pub fn contiguous(&self) -> Option<(FileId, u64)> {
        match &self.op {
            Op::Bytes { file, offset } => Some((*file, *offset)),
            _ => None,
        }
    }

    /// Gives every place in a file that the value is read from a new one.
    pub fn relocate(&mut self, place: &dyn Fn(FileId, u64) -> (FileId, u64)) {
        if let Op::Bytes { file, offset } | Op::Strided { file, storage: offset, .. } = &mut self.op {
            (*file, *offset) = place(*file, *offset);
        }
        self.op.operands_mut().into_iter().for_each(|of| of.relocate(place));
    }

    /// The first file that the value is read from; none where it is given or absent.
    pub fn file(&self) -> Option<FileId> {
        match &self.op {
            Op::Bytes { file, .. } | Op::Strided { file, .. } => Some(*file),
            op => op.operands().into_iter().find_map(Recipe::file),
        }
    }

    /// Why there is no data, if there is none anywhere in the expression.
    pub fn absent(&self) -> Option<&str> {
        match &self.op {
            Op::Absent(why) => Some(why),
            op => op.operands().into_iter().find_map(Recipe::absent),
        }
    }
}

impl Op {
    /// The values that this one is made of; none for what stands in a file, is given or absent.
    pub fn operands(&self) -> Vec<&Recipe> {
        match self {
            Op::Bytes { .. } | Op::Strided { .. } | Op::Literal(_) | Op::Absent(_) => Vec::new(),
            Op::Tiles(tiles) => tiles.iter().map(|tile| &*tile.part).collect(),
            Op::Math(math) => math.operands().into_iter().map(|of| &**of).collect(),
            Op::ByteSwap(of)
            | Op::Conj(of)
            | Op::Neg(of)
            | Op::Slice { of, .. }
            | Op::Reshape(of)
            | Op::Transpose(of, ..)
            | Op::Rows { of, .. }
            | Op::Cast(of)
            | Op::Dequant(of)
            | Op::Quant(of) => vec![of],
        }
    }

    /// The same, to be changed.
    fn operands_mut(&mut self) -> Vec<&mut Recipe> {
        match self {
            Op::Bytes { .. } | Op::Strided { .. } | Op::Literal(_) | Op::Absent(_) => Vec::new(),
            Op::Tiles(tiles) => tiles.iter_mut().map(|tile| Arc::make_mut(&mut tile.part)).collect(),
            Op::Math(math) => math.operands_mut().into_iter().map(Arc::make_mut).collect(),
            Op::ByteSwap(of)
            | Op::Conj(of)
            | Op::Neg(of)
            | Op::Slice { of, .. }
            | Op::Reshape(of)
            | Op::Transpose(of, ..)
            | Op::Rows { of, .. }
            | Op::Cast(of)
            | Op::Dequant(of)
            | Op::Quant(of) => vec![Arc::make_mut(of)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rotary_orders_are_each_others_inverse() {
        for head_dim in [2, 4, 64, 128] {
            for row in 0..head_dim {
                let there = RotaryOrder::Halves.source(row, head_dim).unwrap();
                assert_eq!(RotaryOrder::Interleaved.source(there, head_dim), Some(row));
            }
        }
        // Hugging Face row s*hd/2 + j is Meta row 2j + s.
        assert_eq!(RotaryOrder::Halves.source(32 + 5, 64), Some(11));
        assert_eq!(RotaryOrder::Halves.source(64, 64), None);
    }

    #[test]
    fn an_empty_dimension_wins_over_overflow() {
        assert_eq!(elements(&[u64::MAX, 0, 2]), Some(0));
        assert_eq!(elements(&[u64::MAX, 2]), None);
        assert_eq!(elements(&[]), Some(1));
    }
}
