//! The section of ckpt-verify: what is wrong, where, and what mends it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Counts, FindingRecord, Stats};

/// What was checked and found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Verify {
    /// How deep it looked: `structure` or `deep`.
    pub level: String,
    /// The use it was checked for (`--expect`), or null.
    pub expect: Option<String>,
    /// How many findings there are of each severity, before `select` narrows them.
    pub counts: Counts,
    /// What was found: by file, offset, rule and tensor.
    pub findings: Vec<FindingRecord>,
    /// The checkpoint it was compared with (`--against`), as typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The manifest it was checked against (`--manifest`), as typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Figures of every tensor's values (`--stats`), sorted by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Vec<Stats>>,
    /// With `--tolerance`: the tensors whose values are not equal, in the order of the comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Vec<Compared>>,
}

/// How far a tensor's values are from those of the other checkpoint. A figure that is not finite is null.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// The tensor.
    pub name: String,
    /// The largest difference of two elements.
    pub max_abs: Option<f64>,
    /// The largest difference in relation to the larger of the two magnitudes: from 0 to 2.
    pub max_rel: Option<f64>,
    /// Cosine of the angle between the two tensors.
    pub cosine: Option<f64>,
    /// The first element, in row-major order, that is beyond the tolerance; null if all are within.
    pub first: Option<u64>,
}
