//! Which tensors are cast: by `--dtype` the floating ones, but for those that only tell how packed weights are read;
//! by `--dequantize` those that were packed.

use std::collections::HashSet;
use std::sync::Arc;

use ckpt::facts::check::castable;
use ckpt::facts::dtype::Kind as Meaning;
use ckpt::facts::{Dtype, Op, Recipe, Tensor};
use ckpt::layouts::Checkpoint;

/// How the last part of a scale's name ends, in compressed-tensors, block-wise FP8, GPTQ, AWQ and bitsandbytes. A norm
/// of torchtune ends so too; it stands beside no packed weight.
const SCALES: &[&str] = &["scale", "scales", "scale_inv", "zero_point", "absmax", "quant_map"];

/// Dequantises ggml's blocks, to F32 unless told otherwise, and casts the floating tensors of a checkpoint; other packed
/// weights, their scales and integers stay as they are.
pub(crate) fn cast(tensors: Vec<Tensor>, to: Option<Dtype>, checkpoint: &Checkpoint) -> Vec<Tensor> {
    let plain = |tensor: Tensor| Tensor { recipe: tensor.recipe.dequantized(), ..tensor };
    let tensors: Vec<Tensor> = tensors.into_iter().map(plain).collect();
    let Some(to) = to else { return tensors };
    let quantized = checkpoint.params().and_then(|params| params.get("quantization_config")).is_some();
    let module = |tensor: &Tensor| tensor.name.rsplit_once('.').map_or("", |(module, _)| module).to_owned();
    let is_packed = |tensor: &&Tensor| !castable(tensor.recipe.dtype, to) && tensor.recipe.dtype != Dtype::Bool;
    let packed: HashSet<String> = tensors.iter().filter(is_packed).map(module).collect();
    let is_scale = |tensor: &Tensor| {
        let own = tensor.name.rsplit('.').next().unwrap_or("");
        SCALES.iter().any(|ending| own.ends_with(ending)) && (quantized || packed.contains(&module(tensor)))
    };
    let wanted = |tensor: &Tensor| {
        let dtype = tensor.recipe.dtype;
        dtype.kind() == Meaning::Float && castable(dtype, to) && dtype != to && !is_scale(tensor)
    };
    tensors
        .into_iter()
        .map(|tensor| {
            if !wanted(&tensor) {
                return tensor;
            }
            rounded(tensor, to)
        })
        .collect()
}

fn rounded(tensor: Tensor, to: Dtype) -> Tensor {
    let shape = tensor.recipe.shape.clone();
    let recipe = Recipe { dtype: to, shape, op: Op::Cast(Arc::new(tensor.recipe)) };
    Tensor { recipe, crc32: None, ..tensor }
}

/// A weight that was unpacked, rounded once to the dtype asked for. Others stay as they are.
pub(crate) fn unpacked(tensor: Tensor, to: Dtype) -> Tensor {
    fn unpacks(recipe: &Recipe) -> bool {
        match &recipe.op {
            Op::Math(_) => true,
            Op::Reshape(of) | Op::Transpose(of, ..) | Op::Slice { of, .. } => unpacks(of),
            _ => false,
        }
    }
    if unpacks(&tensor.recipe) && to != tensor.recipe.dtype { rounded(tensor, to) } else { tensor }
}
