//! What a zip holds, told from its members: torch, arrays of numpy, an exported program, Keras.

use crate::bytes::ReadAt;
use crate::facts::{FileId, Finding};

use super::zip::{self, Archive};
use super::{Container, Format, npy, torch};

/// Reads the geometry of what a zip holds.
///
/// # Errors
/// Those of the zip and of what it holds; a refusal where it is known and not read.
pub(super) fn read(source: &dyn ReadAt, file: FileId) -> Result<(Format, Container), Finding> {
    let archive = zip::read(source)?;
    if torch::is_archive(&archive) {
        let container = torch::read_archive(source, &archive, file)?;
        let format = if container.script { Format::TorchScript } else { Format::Torch };
        return Ok((format, container));
    }
    if torch::is_exported(&archive) {
        return Ok((Format::Pt2, torch::read_exported(source, &archive, file)?));
    }
    if npy::is_archive(&archive) {
        return Ok((Format::Npz, npy::read_archive(source, &archive, file)));
    }
    if is_keras(&archive) {
        return Err(Format::Keras.refusal());
    }
    torch::read_archive(source, &archive, file).map(|container| (Format::Torch, container))
}

/// `.keras`: settings, and weights in an HDF5 file (`keras/src/saving/saving_lib.py`).
fn is_keras(archive: &Archive) -> bool {
    ["config.json", "model.weights.h5"].iter().all(|name| archive.find(name).is_some())
}
