//! Readers and writers of one container each, found by content.

pub mod detect;
pub mod gguf;
pub mod json;
pub mod msgpack;
pub mod nemo;
pub mod npy;
pub mod onnx;
pub mod pickle;
pub mod safetensors;
pub mod scan;
pub mod tar;
pub mod torch;
mod window;
pub mod zip;
mod zipped;

use std::collections::BTreeMap;

use crate::bytes::ReadAt;
use crate::facts::{FileId, Finding, Id, Tensor, limits};

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
    /// How many more objects there are than were kept.
    pub objects_left_out: u64,
    /// Storages that several tensors may share, where the format has such: the difference between their bytes and
    /// those used is waste.
    pub storages: Vec<Storage>,
    /// Tensors of which the file holds one rank's part.
    pub pieces: Vec<Piece>,
    /// Tensors whose values are in another file.
    pub external: Vec<External>,
    /// It is TorchScript: a program with its weights.
    pub script: bool,
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

/// One rank's part of a tensor that is cut over a line of ranks (`DTensor` of torch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The tensor's name.
    pub name: String,
    /// The rank's place in the line.
    pub rank: u64,
    /// Ranks in the line.
    pub of: u64,
    /// The dimension that is cut; none where each rank has all of it.
    pub along: Option<usize>,
    /// Sizes of the whole, in elements.
    pub shape: Vec<u64>,
}

/// Where the values of a tensor stand in another file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct External {
    /// The tensor's name.
    pub tensor: String,
    /// The other file, as it is written: a path below the folder of this one.
    pub location: String,
    /// First byte in it.
    pub offset: u64,
    /// Bytes, where that is said; else all to the file's end.
    pub length: Option<u64>,
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
        Format::TorchLegacy => torch::read(source, file)?,
        Format::Gguf => gguf::read(source, file)?,
        Format::Npy => npy::read(source, file)?,
        Format::Msgpack => msgpack::read(source, file)?,
        Format::Onnx => onnx::read(source, file)?,
        Format::Torch => return zipped::read(source, file),
        Format::Tar => return nemo::read(source, file),
        other => return Err(other.refusal()),
    };
    Ok((format, container))
}

impl Container {
    /// Moves every place by `by` bytes: the container was read from a part of its file that begins there.
    pub fn shift(&mut self, by: u64) {
        for tensor in &mut self.tensors {
            tensor.recipe.relocate(&|file, offset| (file, offset.saturating_add(by)));
        }
        for storage in &mut self.storages {
            storage.offset = storage.offset.saturating_add(by);
        }
        self.findings = std::mem::take(&mut self.findings).into_iter().map(|finding| finding.shifted(by)).collect();
    }

    /// Adds what another container of the same file holds.
    fn append(&mut self, mut other: Container) {
        self.tensors.append(&mut other.tensors);
        self.metadata.append(&mut other.metadata);
        self.objects.append(&mut other.objects);
        self.objects_left_out = self.objects_left_out.saturating_add(other.objects_left_out);
        self.storages.append(&mut other.storages);
        self.globals.append(&mut other.globals);
        self.pieces.append(&mut other.pieces);
        self.external.append(&mut other.external);
        self.findings.append(&mut other.findings);
    }
}

/// Says which names two tensors have.
fn twice(tensors: &[Tensor], findings: &mut Findings) {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    let pairs = names.windows(2).filter(|pair| pair.first() == pair.last());
    for name in pairs.filter_map(|pair| pair.first()) {
        findings.push(Finding::new(Id::TensorDuplicate, "two tensors have this name").tensor(*name));
    }
}

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
        if self.list.len() < limits::FINDINGS {
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
    detect::unreadable(error).at(offset)
}
