//! Proves that a recipe is well made before anything is read: ranks agree, every index lies inside its value, tiles
//! cover their shape exactly once, every byte lies inside its file.

use super::dtype::Kind;
use super::recipe::{Tile, elements};
use super::{Dtype, FileId, Finding, Id, Op, Recipe, limits};

/// Checks a recipe. `size` gives a file's size in bytes.
///
/// # Errors
/// A finding that says which part does not fit; `replica`, `tensor` and file are for the caller to add.
pub fn check(recipe: &Recipe, size: &dyn Fn(FileId) -> u64) -> Result<(), Finding> {
    let Some(count) = elements(&recipe.shape) else {
        return Err(broken(format!("the shape {:?} has more elements than fit 64 bits", recipe.shape)));
    };
    let Some(bytes) = recipe.dtype.bytes_of(count) else {
        return Err(broken(format!("{count} elements of {} do not fill whole bytes", recipe.dtype)));
    };
    if recipe.shape.len() > limits::DIMS {
        return Err(broken(format!("{} dimensions", recipe.shape.len())));
    }
    match &recipe.op {
        Op::Bytes { file, offset } => inside(*offset, bytes, size(*file)),
        Op::Literal(given) if u64::try_from(given.len()) == Ok(bytes) => Ok(()),
        Op::Literal(given) => Err(broken(format!("{} bytes given for {bytes}", given.len()))),
        Op::Strided { file, storage, start, strides } => {
            same_rank(recipe, strides.len())?;
            let reach = reach(&recipe.shape, strides, *start, recipe.dtype.item_bytes());
            let reach = reach.ok_or_else(|| broken("a view's strides reach further than 64 bits".to_owned()))?;
            inside(*storage, if count == 0 { 0 } else { reach }, size(*file))
        }
        Op::Tiles(tiles) => tiled(recipe, tiles, count, size),
        Op::Slice { of, start } => {
            same_dtype(recipe, of)?;
            same_rank(recipe, of.shape.len())?;
            same_rank(recipe, start.len())?;
            let fits = recipe
                .shape
                .iter()
                .zip(start)
                .zip(&of.shape)
                .all(|((&size, &start), &whole)| start.checked_add(size).is_some_and(|end| end <= whole));
            if !fits {
                return Err(broken(format!("a slice {:?} from {start:?} of {:?}", recipe.shape, of.shape)));
            }
            check(of, size)
        }
        Op::Reshape(of) => {
            same_dtype(recipe, of)?;
            if elements(&of.shape) != Some(count) {
                return Err(broken(format!("{:?} reshaped to {:?}", of.shape, recipe.shape)));
            }
            check(of, size)
        }
        Op::Transpose(of, a, b) => {
            same_dtype(recipe, of)?;
            let mut shape = of.shape.clone();
            if *a >= shape.len() || *b >= shape.len() {
                return Err(broken(format!("dimensions {a} and {b} of {shape:?} exchanged")));
            }
            shape.swap(*a, *b);
            same_shape(recipe, &shape)?;
            check(of, size)
        }
        Op::Rows { of, head_dim, .. } => {
            same_dtype(recipe, of)?;
            same_shape(recipe, &of.shape)?;
            let rows = recipe.shape.first().copied().unwrap_or(1);
            let whole = head_dim.checked_rem(2) == Some(0) && rows.checked_rem(*head_dim) == Some(0);
            if !whole {
                return Err(broken(format!("{rows} rows are not whole heads of {head_dim}")));
            }
            check(of, size)
        }
        Op::Cast(of) => {
            same_shape(recipe, &of.shape)?;
            if of.dtype != recipe.dtype && !castable(of.dtype, recipe.dtype) {
                return Err(broken(format!("there is no cast from {} to {}", of.dtype, recipe.dtype)));
            }
            check(of, size)
        }
        Op::Math(math) => {
            math.check(recipe)?;
            math.operands().into_iter().try_for_each(|of| check(of, size))
        }
        Op::Dequant(of) => {
            same_shape(recipe, &of.shape)?;
            if of.dtype.kind() == Kind::Blocks && !dequantizable(of.dtype) {
                return Err(unknown_blocks(of.dtype));
            }
            let (block, _) = of.dtype.block();
            let rows = of.shape.last().is_some_and(|&width| width.is_multiple_of(block));
            let stored = match &of.op {
                Op::ByteSwap(of) => matches!(of.op, Op::Bytes { .. }),
                op => matches!(op, Op::Bytes { .. }),
            };
            if recipe.dtype != Dtype::F32 || !dequantizable(of.dtype) || !rows || !stored {
                return Err(broken(format!("{} {:?} has no values in {}", of.dtype, of.shape, recipe.dtype)));
            }
            check(of, size)
        }
        Op::Quant(of) => {
            same_shape(recipe, &of.shape)?;
            let (block, _) = recipe.dtype.block();
            let rows = recipe.shape.last().is_some_and(|&width| width.is_multiple_of(block));
            if recipe.dtype != Dtype::Q8_0 || of.dtype != Dtype::F32 || !rows {
                return Err(broken(format!("{} {:?} has no blocks of {}", of.dtype, of.shape, recipe.dtype)));
            }
            check(of, size)
        }
        Op::ByteSwap(of) | Op::Conj(of) | Op::Neg(of) => {
            let turned = matches!((&recipe.op, &of.op), (Op::ByteSwap(_), Op::Bytes { .. }));
            let blocks = turned && recipe.dtype.halves().is_some();
            if recipe.dtype.item_bytes().is_none() && !blocks {
                return Err(broken(format!("{} is not changed number by number", recipe.dtype)));
            }
            same_dtype(recipe, of)?;
            same_shape(recipe, &of.shape)?;
            check(of, size)
        }
        Op::Absent(_) => Ok(()),
    }
}

/// Bytes of a storage that a view needs, from the storage's first byte on; `None` past 64 bits.
pub fn reach(shape: &[u64], strides: &[u64], start: u64, item: Option<u64>) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(start, |at, (&size, &stride)| at.checked_add(size.checked_sub(1)?.checked_mul(stride)?))?;
    last.checked_add(1)?.checked_mul(item?)
}

/// Whether the executor knows a cast from one dtype to another.
pub fn castable(from: Dtype, to: Dtype) -> bool {
    let known = |dtype| matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16);
    known(from) && known(to)
}

/// Whether the executor knows the values of that dtype's blocks. Q8_1 only ever holds activations, and its block is not
/// as large everywhere.
pub fn dequantizable(dtype: Dtype) -> bool {
    dtype.kind() == Kind::Blocks && dtype != Dtype::Q8_1
}

/// That the values of a dtype's blocks are not known.
pub fn unknown_blocks(dtype: Dtype) -> Finding {
    Finding::new(Id::Unsupported, format!("the values of {dtype} blocks are not known"))
}

fn broken(message: String) -> Finding {
    Finding::new(Id::ShardMismatch, message)
}

fn inside(offset: u64, bytes: u64, size: u64) -> Result<(), Finding> {
    if offset.checked_add(bytes).is_some_and(|end| end <= size) {
        return Ok(());
    }
    let finding = Finding::new(Id::TorchStorageShort, "the bytes of the tensor lie beyond the end of the file");
    Err(finding.at(offset).needed(format!("{bytes} bytes"), format!("{} bytes", size.saturating_sub(offset))))
}

fn same_dtype(recipe: &Recipe, of: &Recipe) -> Result<(), Finding> {
    if recipe.dtype == of.dtype { Ok(()) } else { Err(broken(format!("{} beside {}", recipe.dtype, of.dtype))) }
}

fn same_shape(recipe: &Recipe, shape: &[u64]) -> Result<(), Finding> {
    if recipe.shape == shape { Ok(()) } else { Err(broken(format!("{:?} beside {shape:?}", recipe.shape))) }
}

fn same_rank(recipe: &Recipe, rank: usize) -> Result<(), Finding> {
    if recipe.shape.len() == rank { Ok(()) } else { Err(broken(format!("rank {rank} for {:?}", recipe.shape))) }
}

/// Tiles lie inside, do not overlap and cover everything.
fn tiled(recipe: &Recipe, tiles: &[Tile], count: u64, size: &dyn Fn(FileId) -> u64) -> Result<(), Finding> {
    let mut covered = 0u64;
    for tile in tiles {
        same_dtype(recipe, &tile.part)?;
        same_rank(recipe, tile.at.len())?;
        same_rank(recipe, tile.part.shape.len())?;
        let fits = tile
            .at
            .iter()
            .zip(&tile.part.shape)
            .zip(&recipe.shape)
            .all(|((&at, &extent), &whole)| at.checked_add(extent).is_some_and(|end| end <= whole));
        if !fits {
            return Err(broken(format!("a part {:?} at {:?} of {:?}", tile.part.shape, tile.at, recipe.shape)));
        }
        covered = covered.saturating_add(tile.part.elements());
        check(&tile.part, size)?;
    }
    if let Some((a, b)) = overlapping(tiles) {
        return Err(broken(format!("the parts at {a:?} and {b:?} overlap")));
    }
    if covered != count {
        return Err(broken(format!("the parts of {:?} do not cover it", recipe.shape)).needed(count, covered));
    }
    Ok(())
}

/// Two tiles that share elements. Sorted along the first dimension, so that thousands of chunks stay cheap.
fn overlapping(tiles: &[Tile]) -> Option<(&[u64], &[u64])> {
    let mut sorted: Vec<&Tile> = tiles.iter().filter(|tile| !tile.part.shape.contains(&0)).collect();
    sorted.sort_by(|a, b| a.at.cmp(&b.at));
    let end = |tile: &Tile, axis: usize| {
        tile.at.get(axis).copied().unwrap_or(0).saturating_add(tile.part.shape.get(axis).copied().unwrap_or(1))
    };
    for (index, tile) in sorted.iter().enumerate() {
        let after = sorted.iter().skip(index.saturating_add(1));
        let near = after.take_while(|next| next.at.first().copied().unwrap_or(0) < end(tile, 0));
        for next in near {
            let shares = (0..tile.at.len()).all(|axis| {
                let (a, b) = (tile.at.get(axis).copied().unwrap_or(0), next.at.get(axis).copied().unwrap_or(0));
                a < end(next, axis) && b < end(tile, axis)
            });
            if shares {
                return Some((&tile.at, &next.at));
            }
        }
    }
    None
}
