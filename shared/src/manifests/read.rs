//! Reads a manifest of any kind into one form.

use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use super::lines::TensorLine;
use super::scope::Identity;
use super::take::Names;
use super::{json, oms, text};
use crate::bytes::{FileSource, ReadAt};
use crate::digests::Algorithm;
use crate::facts::{Finding, Id, limits};

/// A file that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative to the checkpoint, as the manifest has it.
    pub path: String,
    /// Bytes, where the manifest says so.
    pub size: Option<u64>,
    /// What the digest is.
    pub algorithm: Algorithm,
    /// In lower-case hexadecimal; empty if only pieces were digested.
    pub digest: String,
    /// The pieces that were digested each on its own, which are all of the file in its order; none if it was digested
    /// whole.
    pub pieces: Vec<Piece>,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// First byte, and the one after the last.
    pub range: std::ops::Range<u64>,
    /// In lower-case hexadecimal.
    pub digest: String,
}

/// What a manifest says about tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors {
    /// What the digests are.
    pub algorithm: Algorithm,
    /// What the names are.
    pub names: Names,
    /// Over all of them.
    pub root: String,
    /// Each of them, unless only the root was kept.
    pub lines: Option<Vec<TensorLine>>,
}

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// As it was typed.
    pub name: String,
    /// Which file it is; it is no part of the checkpoint. Absent if it did not come from a file.
    pub identity: Option<Identity>,
    /// Files it names, with safe paths relative to the checkpoint; absent if it speaks of none, or only of a root.
    pub files: Option<Vec<FileEntry>>,
    /// The root over all files, where it holds one.
    pub files_root: Option<(Algorithm, String)>,
    /// Tensors it speaks of.
    pub tensors: Option<Tensors>,
    /// Patterns of files that were left out when it was made.
    pub excluded: Vec<String>,
    /// What one should know of it.
    pub notes: Vec<String>,
    /// What is wrong with it, as far as the rest of it can still be checked.
    pub findings: Vec<Finding>,
}

/// Reads the manifest in `file`, or the one in `given` that came from elsewhere under the name `file`. Of several
/// documents the one about `path` counts. `untagged` is what the digests of a list are where neither their length nor a
/// tag says so; else the name of the file may (`model.b3`).
///
/// # Errors
/// If it cannot be read, or a finding `manifest-invalid` if nothing in it can be checked.
pub fn read(file: &Path, given: Option<&[u8]>, path: Option<&Path>, untagged: Option<Algorithm>) -> Result<Manifest> {
    let name = file.to_string_lossy().into_owned();
    let invalid = |message: &str| Finding::new(Id::ManifestInvalid, message).in_file(name.clone());
    let (content, identity) = if let Some(given) = given {
        (given.to_vec(), None)
    } else {
        let source = FileSource::open(file).with_context(|| name.clone())?;
        if source.size() > limits::JSON {
            bail!(invalid("the manifest is larger than one can be"));
        }
        let identity = Identity::of(&source.file().metadata().with_context(|| name.clone())?);
        (source.read_vec_at(source.size(), 0).with_context(|| name.clone())?, Some(identity))
    };
    let manifest = if let Some(statement) = oms::statement(&content) {
        oms::read(&statement, &name)?
    } else if content.trim_ascii_start().starts_with(b"{") {
        json::read(&content, path, &name)?
    } else {
        let (files, findings) = text::read(&content, &name, untagged.or_else(|| by_name(file)));
        if files.is_empty() {
            bail!(findings.into_iter().next().unwrap_or_else(|| invalid("the manifest names nothing")));
        }
        Manifest { files: Some(files), findings, ..Manifest::default() }
    };
    Ok(Manifest { name, identity, ..manifest }.inside())
}

impl Manifest {
    /// Leaves out the files that are named outside the checkpoint; each becomes a finding.
    pub(super) fn inside(mut self) -> Manifest {
        let mut outside = Vec::new();
        if let Some(files) = &mut self.files {
            files.retain_mut(|entry| {
                let path = inside(&entry.path);
                let safe = path.is_some();
                let given = std::mem::replace(&mut entry.path, path.unwrap_or_default());
                if !safe {
                    outside.push(given);
                }
                safe
            });
        }
        for path in outside {
            let message = "the manifest names a file outside the checkpoint";
            let finding = Finding::new(Id::NameUnsafe, message).in_file(self.name.clone());
            self.findings.push(finding.needed("a file inside", path));
        }
        self
    }
}

/// What the name of a list says of its digests: `b3sum` writes its lines as `sha256sum` does, `b2sum` as `sha512sum`.
fn by_name(file: &Path) -> Option<Algorithm> {
    let name = file.file_name()?.to_string_lossy().to_ascii_lowercase();
    let says = |words: [&str; 3]| words.iter().any(|word| name.contains(word));
    if says([".b3", "b3sum", "blake3"]) {
        return Some(Algorithm::Blake3);
    }
    says([".b2", "b2sum", "blake2"]).then_some(Algorithm::Blake2b)
}

/// A path that stays inside the folder it is taken from, without its `.` parts.
fn inside(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
