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
}
