//! The section of ckpt-convert: what was made, from what, and on which grounds.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FindingRecord, Section, Status};
use super::{Hash, Inspect, Verify};

/// What was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Convert {
    /// The kind written: `hf`, `meta`, `hub`, `safetensors`, `torch`.
    pub to: String,
    /// What it was made from, with what earlier tools said of that.
    pub source: Source,
    /// What the files did not say outright, sorted by key; `--assume` overrides it.
    pub inferred: Vec<Inferred>,
    /// The files written, sorted by path; empty with `--dry-run`.
    pub written: Vec<Written>,
    /// What the target cannot hold and is not weights, in a few words each.
    pub lost: Vec<String>,
    /// Warnings given on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<FindingRecord>,
    /// What would be written (`--dry-run`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<PlannedFile>>,
}

/// The checkpoint a conversion started from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its path, escaped where it is not UTF-8.
    pub path: String,
    /// The bytes of a path that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// The snapshot that stood for a repository's folder in the hub's cache, relative to the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Its status before the conversion.
    pub status: Status,
    /// What ckpt-inspect said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Inspect>")]
    pub inspect: Option<Section<Inspect>>,
    /// What ckpt-verify said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Verify>")]
    pub verify: Option<Section<Verify>>,
    /// What ckpt-hash said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Hash>")]
    pub hash: Option<Section<Hash>>,
}

impl Source {
    /// Moves what was said of the source out of its document, which is about to speak of the target.
    pub fn take(document: &mut super::Document) -> Source {
        Source {
            path: document.path.clone(),
            path_base64: document.path_base64.clone(),
            snapshot: document.snapshot.clone(),
            status: document.status,
            inspect: document.inspect.take(),
            verify: document.verify.take(),
            hash: document.hash.take(),
        }
    }
}

/// Something the source does not say outright.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inferred {
    /// What: a key that `--assume` takes.
    pub key: String,
    /// The value used.
    pub value: Value,
    /// What it was told from: a file, a tensor's shape, a table, or `--assume`.
    pub from: String,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// Relative to the document's path.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// A file that would be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFile {
    /// Relative to the target.
    pub path: String,
    /// Bytes; null if only writing tells.
    pub size: Option<u64>,
    /// Where a file without tensors comes from: `generated`, or the source file that is copied or linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The tensors it would hold, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<PlannedTensor>,
}

/// A tensor that would be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTensor {
    /// Its name in the target.
    pub name: String,
    /// In safetensors' spelling.
    pub dtype: Cow<'static, str>,
    /// In torch's order.
    pub shape: Vec<u64>,
    /// The expression that makes it from the source.
    pub from: String,
}
