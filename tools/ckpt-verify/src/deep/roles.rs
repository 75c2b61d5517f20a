//! What a tensor is for, told from its name: many that are zero, constant or infinite are meant to be.

use ckpt::archs::Need;
use ckpt::facts::dtype::Kind;
use ckpt::facts::{Dtype, Tensor};

use crate::case::Case;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A matrix, or more than that, of trained weights.
    Weight,
    /// One that may be zero at first, or stay it: the second half of an adapter, a head put on.
    ZeroAtFirst,
    /// The weight of a normalisation.
    Norm,
    /// A bias, a vector, a number.
    Vector,
    /// Scales, zero points, masks, counters, caches: what a module keeps and does not train.
    Buffer,
    /// Of an optimizer, a scheduler, random states: rows never updated are zero.
    State,
}

/// Parts of names of what trainers keep beside the weights (torch's optimizers, Lightning, DeepSpeed, torchtune).
const STATE: &[&str] = &[
    "optimizer",
    "optimizers",
    "optimizer_states",
    "optimizer_state_dict",
    "optim",
    "opt",
    "opt_state",
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "exp_inf",
    "momentum_buffer",
    "square_avg",
    "acc_delta",
    "grad",
    "scheduler",
    "lr_scheduler",
    "lr_schedulers",
    "callbacks",
    "loops",
    "rng_state",
    "rng",
    "random_states",
    "cuda_rng_state",
    "scaler",
    "loss_scaler",
    "dataloader",
    "sampler",
];

/// Pieces of names of what is no weight: quantisation's helpers, masks, counters, tables that follow from a config.
const BUFFERS: &[&str] = &[
    "scale",
    "zero_point",
    "qzeros",
    "g_idx",
    "absmax",
    "amax",
    "quant_map",
    "quant_state",
    "weight_shape",
    "min_val",
    "max_val",
    "mask",
    "position_ids",
    "token_type_ids",
    "relative_position_index",
    "relative_coords",
    "num_batches_tracked",
    "running_",
    "_extra_state",
    "inv_freq",
    "freqs",
    "cos_cached",
    "sin_cached",
    "causal",
    "alibi",
    "cluster_size",
    "initialized",
    "score_correction",
    "kv_cache",
    "k_cache",
    "v_cache",
];

/// Pieces of names of matrices that start as zeros: LoRA and its kin, adapters, `ControlNet`, adaptive normalisation
/// of diffusion transformers, and what predicts their output.
const ZERO_AT_FIRST: &[&str] = &[
    "lora_b",
    "lora_up",
    "lora_embedding_b",
    "hada_w2_a",
    "lokr_w2",
    "lokr_w1",
    "oft_",
    "boft_",
    "ia3_",
    "vera_",
    "adapter",
    "prompt",
    "zero_conv",
    "controlnet",
    "adaln",
    "ada_ln",
    "modulation",
    "mod.lin",
    "final_layer",
    "proj_out",
    "token_type_emb",
    "score.",
    "v_head",
    "value_head",
];

impl Role {
    pub(super) fn of(case: &Case<'_>, tensor: &Tensor) -> Role {
        let name = tensor.name.to_lowercase();
        let has = |pieces: &[&str]| pieces.iter().any(|piece| name.contains(piece));
        let is_family = case.find(&tensor.name).map(|found| found.row.need);
        if is_family.is_none() && name.split('.').any(|part| STATE.contains(&part)) {
            return Role::State;
        }
        if is_family == Some(Need::Derived) || (is_family.is_none() && has(BUFFERS)) || is_causal(&name, tensor) {
            return Role::Buffer;
        }
        if !is_matrix(tensor) {
            let norm = ["norm", "ln_", ".ln"].iter().any(|piece| name.contains(piece)) && name.ends_with("weight");
            return if norm { Role::Norm } else { Role::Vector };
        }
        if name.ends_with("bias") || !is_trained(&name, tensor.recipe.dtype) {
            return Role::Vector;
        }
        if is_family.is_none() && has(ZERO_AT_FIRST) { Role::ZeroAtFirst } else { Role::Weight }
    }
}

/// GPT-2 keeps its causal mask as `attn.bias`, of shape [1, 1, n, n].
fn is_causal(name: &str, tensor: &Tensor) -> bool {
    let [.., rows, columns] = tensor.recipe.shape.as_slice() else { return false };
    name.ends_with("attn.bias") || name.ends_with("attention.bias") && rows == columns
}

/// At least two dimensions, and enough elements that chance does not make them alike.
fn is_matrix(tensor: &Tensor) -> bool {
    let shape = &tensor.recipe.shape;
    shape.iter().filter(|size| **size > 1).count() >= 2 && tensor.recipe.elements() >= 256
}

/// Floating, or packed by a quantisation under one of the names that such weights have. Other integers are indices,
/// masks and counts.
fn is_trained(name: &str, dtype: Dtype) -> bool {
    let packed = ["qweight", "weight_packed", "_blocks", ".weight"];
    match dtype.kind() {
        Kind::Float | Kind::Complex | Kind::Blocks => true,
        Kind::Integer => packed.iter().any(|ending| name.ends_with(ending)),
        Kind::Bool | Kind::Opaque => false,
    }
}

/// Whether rows of the tensor stand for tokens, positions or classes, of which some may never be used.
pub(super) fn has_spare_rows(case: &Case<'_>, tensor: &Tensor) -> bool {
    let called = ["embed", "emb.", "wte", "wpe", "lm_head", "head", "output.weight", "classifier", "vocab"];
    let name = tensor.name.to_lowercase();
    case.embedding().is_some_and(|embedding| embedding.name == tensor.name)
        || called.iter().any(|piece| name.contains(piece))
}
