//! Manifests: the digests of a checkpoint taken, written down, read again and held against what is there.
//!
//! [`take()`] makes digests, [`read()`] reads a manifest of any kind, [`check()`] says what is unchanged, changed, missing,
//! added and moved. It fails closed: what cannot be read or is not named in the manifest counts against the checkpoint.

mod check;
pub mod hub;
mod json;
mod lines;
pub mod oms;
mod pieces;
mod read;
mod scope;
mod take;
mod text;

#[cfg(test)]
mod tests;

pub use check::{Checked, check};
pub use lines::{FileLine, TensorLine, files_root, root};
pub use read::{FileEntry, Manifest, Piece, Tensors, read};
pub use scope::{Identity, Scope};
pub use take::{Ask, Digests, Names, take};
pub use text::line;
