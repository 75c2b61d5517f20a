//! The library under the four ckpt tools: a checkpoint is a table of tensors, a tensor is a name, a dtype, a
//! shape and a recipe for its bytes.
//!
//! Modules stand on floors, and each uses only floors below its own (a test holds that); `shared/README.md` is
//! the map. 0 [`facts`] · 1 [`bytes`] · 2 [`formats`], [`archs`], [`tokenizers`], [`digests`] · 3 [`layouts`] ·
//! 4 [`plan`], [`canonical`], [`adapters`], [`quantized`], [`manifests`] · 5 [`document`], [`cli`].

#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        clippy::ptr_arg,
        clippy::too_many_lines,
        reason = "a test that overflows or indexes wrongly fails, which is what it is for"
    )
)]

pub mod adapters;
pub mod archs;
pub mod bytes;
pub mod canonical;
pub mod cli;
pub mod digests;
pub mod document;
pub mod facts;
pub mod formats;
pub mod layouts;
pub mod manifests;
pub mod plan;
pub mod quantized;
pub mod tokenizers;
