//! A finding: what is wrong with a checkpoint, where, what was needed, what was there, what mends it.

use std::fmt;

use super::rules::Id;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Counts for nothing and is not shown.
    Ignore,
    /// Worth knowing.
    Note,
    /// Probably wrong, or wrong for some uses.
    Warning,
    /// The checkpoint is damaged or not what it claims to be.
    Error,
}

impl Severity {
    /// The word used in documents and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The severity of that word.
    pub fn from_name(name: &str) -> Option<Severity> {
        [Self::Ignore, Self::Note, Self::Warning, Self::Error].into_iter().find(|severity| severity.name() == name)
    }
}

/// Something found about a checkpoint. Readers return them as errors, rules collect them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub id: Id,
    /// How much it matters; the table's severity unless a rule has a reason to differ.
    pub severity: Severity,
    /// File, relative to the checkpoint.
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

impl Finding {
    /// A finding with the severity of the table and no place yet.
    pub fn new(id: Id, message: impl Into<String>) -> Finding {
        Finding {
            id,
            severity: id.severity(),
            file: None,
            offset: None,
            tensor: None,
            needed: None,
            found: None,
            message: message.into(),
            fix: None,
        }
    }

    /// Says in which file, unless a reader nearer to it has said so already.
    pub fn in_file(mut self, file: impl Into<String>) -> Finding {
        self.file.get_or_insert_with(|| file.into());
        self
    }

    /// Says at which byte of the file.
    pub fn at(mut self, offset: u64) -> Finding {
        self.offset = Some(offset);
        self
    }

    /// Moves its place: what was found in a part of the file that begins at byte `by`.
    pub fn shifted(mut self, by: u64) -> Finding {
        self.offset = Some(self.offset.unwrap_or(0).saturating_add(by));
        self
    }

    /// Says which tensor.
    pub fn tensor(mut self, name: impl Into<String>) -> Finding {
        self.tensor = Some(name.into());
        self
    }

    /// Says what was needed and what was there.
    pub fn needed(mut self, needed: impl fmt::Display, found: impl fmt::Display) -> Finding {
        self.needed = Some(needed.to_string());
        self.found = Some(found.to_string());
        self
    }

    /// Regrades this one.
    pub fn severity(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }

    /// Names the command that mends it.
    pub fn fix(mut self, command: impl Into<String>) -> Finding {
        self.fix = Some(command.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(offset) = self.offset {
            write!(f, "byte {offset}: ")?;
        }
        write!(f, "{} [{}]", self.message, self.id.name())?;
        if let Some(tensor) = &self.tensor {
            write!(f, " tensor {tensor}")?;
        }
        if let (Some(needed), Some(found)) = (&self.needed, &self.found) {
            write!(f, " (needed {needed}, found {found})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}
