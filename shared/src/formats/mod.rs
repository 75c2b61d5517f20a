//! Readers and writers of one container each, found by content.

use std::collections::BTreeMap;

use crate::facts::{Finding, Tensor};

/// What a reader makes of one file: plain data, from its headers alone.
#[derive(Debug, Default)]
pub struct Container {
    /// Name of the format, one of `detect`'s.
    pub format: &'static str,
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
