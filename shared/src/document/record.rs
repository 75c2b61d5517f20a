//! Findings and errors as documents show them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Finding, Severity};

/// How much a finding matters. What is ignored does not appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Worth knowing.
    Note,
    /// Probably wrong, or wrong for some uses.
    Warning,
    /// The checkpoint is damaged or not what it claims to be.
    Error,
}

impl Grade {
    /// The grade of a severity; `None` for one that is ignored.
    pub fn of(severity: Severity) -> Option<Grade> {
        match severity {
            Severity::Ignore => None,
            Severity::Note => Some(Self::Note),
            Severity::Warning => Some(Self::Warning),
            Severity::Error => Some(Self::Error),
        }
    }

    /// The word used in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing found about a checkpoint. Fields that do not apply are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingRecord {
    /// The rule's name; it never changes its meaning.
    pub id: String,
    /// After `--severity`.
    pub severity: Grade,
    /// File, relative to the document's path.
    pub file: Option<String>,
    /// Byte in that file.
    pub offset: Option<u64>,
    /// Tensor concerned.
    pub tensor: Option<String>,
    /// What should be there.
    pub needed: Option<String>,
    /// What is there.
    pub found: Option<String>,
    /// One sentence for people.
    pub message: String,
    /// A command that mends it, where one exists.
    pub fix: Option<String>,
}

impl FindingRecord {
    /// The record of a finding; `None` if it is ignored.
    pub fn of(finding: &Finding) -> Option<FindingRecord> {
        let finding = finding.clone();
        Some(FindingRecord {
            id: finding.id.name().to_owned(),
            severity: Grade::of(finding.severity)?,
            file: finding.file,
            offset: finding.offset,
            tensor: finding.tensor,
            needed: finding.needed,
            found: finding.found,
            message: finding.message,
            fix: finding.fix,
        })
    }
}

/// How many findings there are of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Of severity error.
    pub error: u64,
    /// Of severity warning.
    pub warning: u64,
    /// Of severity note.
    pub note: u64,
}

impl Counts {
    /// Counts them.
    pub fn of(findings: &[FindingRecord]) -> Counts {
        let mut counts = Counts::default();
        for finding in findings {
            let count = match finding.severity {
                Grade::Error => &mut counts.error,
                Grade::Warning => &mut counts.warning,
                Grade::Note => &mut counts.note,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

/// Why a tool could not tell. Fields that do not apply are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRecord {
    /// The rule's name where the checkpoint is at fault, `failed` where the run is, `internal` where the tool is.
    pub id: String,
    /// File, relative to the document's path.
    pub file: Option<String>,
    /// Byte in that file.
    pub offset: Option<u64>,
    /// Tensor concerned.
    pub tensor: Option<String>,
    /// What happened.
    pub message: String,
    /// What would help.
    pub help: Option<String>,
}
