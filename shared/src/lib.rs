//! The library under the four ckpt tools: a checkpoint is a table of tensors, a tensor is a name, a dtype, a
//! shape and a recipe for its bytes.
//!
//! Modules stand on floors, and each uses only floors below its own (a test holds that); `shared/README.md` is
//! the map. 0 [`facts`] · 1 [`bytes`] · 2 [`formats`], [`archs`], [`tokenizers`], [`digests`] · 3 [`layouts`] ·
//! 4 [`plan`] · 5 [`document`], [`cli`].

pub mod archs;
pub mod bytes;
pub mod cli;
pub mod digests;
pub mod document;
pub mod facts;
pub mod formats;
pub mod layouts;
pub mod plan;
pub mod tokenizers;
