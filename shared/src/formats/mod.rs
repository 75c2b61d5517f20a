//! Readers and writers of one container each, found by content.

pub mod pickle;
pub mod torch;
pub mod zip;

use std::collections::BTreeMap;

use crate::facts::{FileId, Finding, Id, Tensor};

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
    /// How many more objects there are than were kept.
    pub objects_left_out: u64,
    /// Storages that several tensors may share, where the format has such: the difference between their bytes and
    /// those used is waste.
    pub storages: Vec<Storage>,
    /// Classes and functions that a pickle in the file names, sorted.
    pub globals: Vec<String>,
    /// What is wrong or worth knowing, where reading could go on.
    pub findings: Vec<Finding>,
}

/// A run of bytes of which tensors are views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Its key in the file.
    pub key: String,
    /// The file.
    pub file: FileId,
    /// First byte in it.
    pub offset: u64,
    /// Bytes it has.
    pub bytes: u64,
    /// Bytes from the first to the last one that a tensor uses.
    pub used: u64,
    /// How many tensors are views of it.
    pub tensors: u64,
}

/// A value that is not a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Keys that lead to it, joined by `.`.
    pub path: String,
    /// The value: JSON's scalars as they are, anything else described by a string such as `<argparse.Namespace>`.
    pub value: serde_json::Value,
}

/// Findings one file may give before they are only counted.
const FINDINGS: usize = 100;

/// Findings up to a number, and a count of the rest.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
    more: u64,
    /// The worst of those that were only counted.
    worst: Option<Finding>,
}

impl Findings {
    fn push(&mut self, finding: Finding) {
        if self.list.len() < FINDINGS {
            self.list.push(finding);
            return;
        }
        self.more = self.more.saturating_add(1);
        if self.worst.as_ref().is_none_or(|worst| worst.severity < finding.severity) {
            self.worst = Some(finding);
        }
    }

    fn list(mut self) -> Vec<Finding> {
        if let Some(mut worst) = self.worst {
            worst.message = format!("{}; and {} more findings like these", worst.message, self.more.saturating_sub(1));
            self.list.push(worst);
        }
        self.list
    }
}

/// The finding for a read that failed at a byte of the file.
fn unreadable(error: &std::io::Error, offset: u64) -> Finding {
    Finding::new(Id::FileUnreadable, format!("the file cannot be read: {error}")).at(offset)
}
