//! Readers and writers of one container each, found by content.

pub mod detect;
pub mod json;
pub mod safetensors;

use std::collections::BTreeMap;

use crate::bytes::ReadAt;
use crate::facts::{FileId, Finding, Tensor};

pub use detect::Format;

/// What a reader makes of one file: plain data, from its headers alone.
#[derive(Debug, Default)]
pub struct Container {
    /// Every tensor, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Text the file carries about itself (`__metadata__` of safetensors).
    pub metadata: BTreeMap<String, String>,
    /// What is not a tensor, by path: numbers, strings and classes of a training state.
    pub objects: Vec<Object>,
    /// What is wrong or worth knowing, where reading could go on.
    pub findings: Vec<Finding>,
}

/// A value that is not a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Keys that lead to it, joined by `.`.
    pub path: String,
    /// The value: JSON's scalars as they are, anything else described by a string such as `<argparse.Namespace>`.
    pub value: serde_json::Value,
}

/// Finds out what a file is and reads its headers.
///
/// # Errors
/// One finding, without a file name, if nothing of the file can be used: it is damaged at its root, of a format
/// that is not read, or no weight file at all.
pub fn open(source: &dyn ReadAt, file: FileId) -> Result<(Format, Container), Finding> {
    let format = detect::detect(source)?;
    let container = match format {
        Format::Safetensors => safetensors::read(source, file)?,
        other => return Err(other.refusal()),
    };
    Ok((format, container))
}
