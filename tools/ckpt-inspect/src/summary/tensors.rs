//! The list of every tensor (`--tensors`).

use ckpt::document::Tensor;
use ckpt::facts::Op;
use ckpt::facts::{Recipe, Tensor as Stored};
use ckpt::layouts::Checkpoint;

/// The tensors to be shown, sorted by name.
pub(crate) fn list(checkpoint: &Checkpoint, shown: &dyn Fn(&str) -> bool) -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> =
        checkpoint.tensors.iter().filter(|tensor| shown(&tensor.name)).map(|tensor| told(checkpoint, tensor)).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// One tensor as documents show it.
pub(super) fn told(checkpoint: &Checkpoint, tensor: &Stored) -> Tensor {
    let (file, offset) = place(&tensor.recipe);
    Tensor {
        name: tensor.name.clone(),
        dtype: tensor.recipe.dtype.name().to_owned(),
        shape: tensor.recipe.shape.clone(),
        bytes: tensor.recipe.len_bytes(),
        file: file.map(|file| checkpoint.pool.name(file).to_owned()),
        offset,
    }
}

/// The one file that holds a value, and where it begins if it lies there as it is.
fn place(recipe: &Recipe) -> (Option<ckpt::facts::FileId>, Option<u64>) {
    match &recipe.op {
        Op::Bytes { file, offset } => (Some(*file), Some(*offset)),
        Op::Strided { file, .. } => (Some(*file), None),
        Op::ByteSwap(of)
        | Op::Conj(of)
        | Op::Neg(of)
        | Op::Reshape(of)
        | Op::Transpose(of, ..)
        | Op::Cast(of)
        | Op::Dequant(of)
        | Op::Quant(of)
        | Op::Slice { of, .. }
        | Op::Rows { of, .. } => (place(of).0, None),
        Op::Literal(_) | Op::Tiles(_) | Op::Math(_) | Op::Absent(_) => (None, None),
    }
}
