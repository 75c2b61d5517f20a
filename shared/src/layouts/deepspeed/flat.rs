//! Parameters as parts of the flat arrays that ranks hold.

use std::sync::Arc;

use crate::facts::recipe::Tile;
use crate::facts::{Op, Recipe};

/// Arrays of one dimension, one after the other, whichever files they are in.
#[derive(Debug, Default)]
pub(super) struct Flat {
    parts: Vec<Recipe>,
}

impl Flat {
    /// Adds a rank's array at the end.
    pub(super) fn push(&mut self, part: Recipe) {
        self.parts.push(part);
    }

    /// Its elements.
    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(Recipe::elements).fold(0, u64::saturating_add)
    }

    /// The pieces that make up the `count` elements from `start` on; fewer, where it ends before.
    pub(super) fn pieces(&self, start: u64, count: u64) -> Vec<Recipe> {
        let end = start.saturating_add(count);
        let (mut pieces, mut first) = (Vec::new(), 0u64);
        for part in &self.parts {
            let after = first.saturating_add(part.elements());
            let (low, high) = (start.max(first), end.min(after));
            if low < high {
                pieces.push(piece(part, low.saturating_sub(first), high.saturating_sub(low)));
            }
            first = after;
        }
        pieces
    }
}

/// A range of an array.
fn piece(part: &Recipe, start: u64, count: u64) -> Recipe {
    let (dtype, shape) = (part.dtype, vec![count]);
    let op = match &part.op {
        Op::Bytes { file, offset } => {
            let skipped = dtype.bytes_of(start).unwrap_or(u64::MAX);
            Op::Bytes { file: *file, offset: offset.saturating_add(skipped) }
        }
        _ => Op::Slice { of: Arc::new(part.clone()), start: vec![start] },
    };
    Recipe { dtype, shape, op }
}

/// Pieces put together, in that shape; `None` if they have not its elements.
pub(super) fn shaped(mut pieces: Vec<Recipe>, shape: &[u64]) -> Option<Recipe> {
    let wanted = crate::facts::recipe::elements(shape)?;
    let total = pieces.iter().map(Recipe::elements).fold(0, u64::saturating_add);
    let dtype = pieces.first().map(|piece| piece.dtype)?;
    if total != wanted {
        return None;
    }
    let whole = if pieces.len() == 1 {
        pieces.pop()?
    } else {
        let mut at = 0u64;
        let tile = |part: Recipe| {
            let first = at;
            at = at.saturating_add(part.elements());
            Tile { at: vec![first], part: Arc::new(part) }
        };
        let tiles = pieces.into_iter().map(tile).collect();
        Recipe { dtype, shape: vec![total], op: Op::Tiles(tiles) }
    };
    let shape = shape.to_vec();
    Some(match whole.op {
        Op::Bytes { .. } => Recipe { dtype, shape, op: whole.op },
        _ => Recipe { dtype, shape, op: Op::Reshape(Arc::new(whole)) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Dtype, FileId};

    #[test]
    fn a_parameter_may_lie_across_ranks() {
        let mut flat = Flat::default();
        for rank in 0..3 {
            flat.push(Recipe::bytes(Dtype::F32, vec![10], FileId(rank), 100));
        }
        assert_eq!(flat.len(), 30);
        assert_eq!(flat.pieces(12, 4), [Recipe::bytes(Dtype::F32, vec![4], FileId(1), 108)]);
        let across = flat.pieces(8, 14);
        assert_eq!(across.iter().map(Recipe::elements).collect::<Vec<_>>(), [2, 10, 2]);
        let whole = shaped(across, &[7, 2]).unwrap();
        crate::facts::check::check(&whole, &|_| 140).unwrap();
        assert_eq!(shaped(flat.pieces(25, 10), &[10]), None);
    }
}
