//! The answer of a tool about one checkpoint: yes, no, could not tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a checkpoint stands after the tools so far. Later values are worse, and a status only ever gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing speaks against it.
    Ok,
    /// A finding that counts, or a difference where one was asked for.
    Findings,
    /// A tool could not tell.
    Error,
}

impl Status {
    /// The exit code: 0 yes, 1 no, 2 could not tell.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Findings => 1,
            Self::Error => 2,
        }
    }

    /// The word used in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Findings => "findings",
            Self::Error => "error",
        }
    }
}
