//! The section of ckpt-hash: digests of files, of tensors, and one root over each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Counts, FindingRecord};

/// Digests, each in lower-case hexadecimal.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hash {
    /// `sha256`, `md5` …
    pub algorithm: String,
    /// Names and bytes digested: `stored` or `canonical`.
    pub names: String,
    /// The digest over all tensors: of the lines `["name","BF16",[2048,8192],"hex"]` sorted by name. Null if none were taken.
    pub root: Option<String>,
    /// Every tensor, sorted by the UTF-8 bytes of its name. Left out by `--brief`; those of a tree's models are in its children,
    /// and in its root have the model's path and `/` before their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorDigest>>,
    /// The digest over all files: of the lines `["path",size,"hex"]` sorted by path. Null if none were taken.
    pub files_root: Option<String>,
    /// Every file, sorted by the UTF-8 bytes of its path. Left out by `--brief`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<FileDigest>>,
    /// Tensors that are no part of the canonical model, sorted: derived buffers, a tied head.
    pub left_out: Vec<String>,
    /// Patterns of files that were not digested (`--exclude`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// What one should know of these digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How a manifest compares (`--check`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// What it shares with the checkpoints before it, the nearest first (`--duplicates`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Vec<Shared>>,
    /// What was read, and what was known from earlier runs (`--cache`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// The digest of one tensor's values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorDigest {
    /// Stored or canonical name.
    pub name: String,
    /// In safetensors' spelling.
    pub dtype: String,
    /// In torch's order.
    pub shape: Vec<u64>,
    /// Of the elements, row-major, little-endian, without padding.
    pub digest: String,
}

/// The digest of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDigest {
    /// Relative to the document's path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of its bytes.
    pub digest: String,
}

/// A manifest and what is there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The manifest, as it was typed.
    pub manifest: String,
    /// Files, tensors and lone roots that are as the manifest says.
    pub unchanged: u64,
    /// Those that are there and not as it says.
    pub changed: u64,
    /// Those that it names and that are not there.
    pub missing: u64,
    /// Those that are there and that it does not name.
    pub added: u64,
    /// Those that it names otherwise: they are neither missing nor added.
    #[serde(default)]
    pub moved: u64,
    /// How many findings there are of each severity.
    pub counts: Counts,
    /// What is missing, added, changed or moved.
    pub findings: Vec<FindingRecord>,
}

/// Tensors that two checkpoints share: one dtype, shape and digest, under whatever names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Shared {
    /// The other checkpoint, as it was typed.
    pub path: String,
    /// All tensors are the same, under the same names.
    pub equal: bool,
    /// How many tensors of this checkpoint the other has, too.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their names in this checkpoint, sorted. Left out by `--brief`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// What a run with a cache read, in files.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// Read for the first time, or because somebody wrote them since.
    pub new: u64,
    /// Read again although their digests were known.
    pub again: u64,
    /// Not read: their digests are those of an earlier run.
    pub kept: u64,
    /// Of these, those whose turn it was to be read again and for which no time was left (`--max-seconds`).
    pub put_off: u64,
    /// How many findings there are of each severity.
    pub counts: Counts,
    /// Files whose bytes changed although nobody wrote them.
    pub findings: Vec<FindingRecord>,
}
