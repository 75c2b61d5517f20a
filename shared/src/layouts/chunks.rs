//! Joins the parts of a tensor, and says where they leave a hole, lie on each other or do not fit together.

use crate::facts::recipe::Tile;
use crate::facts::{Dtype, Finding, Id, Op, Recipe, Tensor, check};

/// A tensor of which several files hold chunks.
#[derive(Debug)]
pub(super) struct Whole {
    /// Its name.
    pub(super) name: String,
    /// Type of its elements.
    pub(super) dtype: Dtype,
    /// Its sizes, chunks joined.
    pub(super) shape: Vec<u64>,
}

impl Whole {
    /// The tensor of these chunks; `crc32` is that of the only one, if there is only one.
    ///
    /// # Errors
    /// A finding that names the tensor if the chunks do not cover it exactly once.
    pub(super) fn join(self, mut tiles: Vec<Tile>, crc32: Option<u32>) -> Result<Tensor, Finding> {
        // A rank beyond the rows of a small tensor holds a chunk of nothing.
        tiles.retain(|tile| !tile.part.shape.contains(&0));
        let lone = match tiles.as_slice() {
            [tile] if tile.part.shape == self.shape => Some((*tile.part).clone()),
            _ => None,
        };
        if let Some(recipe) = lone {
            return Ok(Tensor { name: self.name, recipe, crc32 });
        }
        let recipe = Recipe { dtype: self.dtype, shape: self.shape, op: Op::Tiles(tiles) };
        // Files were held against their items before; here only the geometry counts.
        if let Err(finding) = check::check(&recipe, &|_| u64::MAX) {
            let message = format!("{}; was the file of a rank left out, or is one of another save?", finding.message);
            return Err(Finding { message, id: Id::ShardMismatch, ..finding.tensor(self.name) });
        }
        Ok(Tensor { name: self.name, recipe, crc32: None })
    }
}

/// Holds two ranks' parts of a tensor against each other: they agree in dtype and in every dimension but the split one.
///
/// # Errors
/// [`Id::ShardMismatch`] with both dtypes and shapes.
pub(super) fn same_geometry(a: &Recipe, b: &Recipe, split: Option<usize>) -> Result<(), Finding> {
    let fits = a.dtype == b.dtype
        && a.shape.len() == b.shape.len()
        && split.is_none_or(|axis| axis < a.shape.len())
        && a.shape.iter().zip(&b.shape).enumerate().all(|(axis, (a, b))| a == b || Some(axis) == split);
    if fits {
        return Ok(());
    }
    let shown = |recipe: &Recipe| format!("{} {:?}", recipe.dtype, recipe.shape);
    let message = "the ranks hold parts of this tensor that do not fit together";
    Err(Finding::new(Id::ShardMismatch, message).needed(shown(a), shown(b)))
}
