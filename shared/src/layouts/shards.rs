//! Reads the headers of several weight files at once.

use std::collections::{HashMap, HashSet};

use super::{Checkpoint, Shard, external};
use crate::bytes::{ReadAt, work};
use crate::facts::{FileId, Finding, Id, Tensor};
use crate::formats::{self, Container, Format, Piece};

/// A weight file's headers, and the tensors it holds.
pub(super) struct Read {
    pub(super) shard: Shard,
    pub(super) tensors: Vec<Tensor>,
    /// Which of them are parts of one that is cut over ranks.
    pub(super) pieces: Vec<Piece>,
}

/// Reads the headers of `files` on `jobs` threads, in their order; files with values of theirs follow each. What is wrong
/// with one becomes a finding of the checkpoint; one that cannot be read at all is left out.
pub(super) fn read(checkpoint: &mut Checkpoint, files: &[FileId], jobs: usize) -> Vec<Read> {
    let pool = &checkpoint.pool;
    let open = |file: &FileId| -> Result<Result<(Format, Container, u64), Finding>, ()> {
        let opened = pool.get(*file).map_err(|error| formats::detect::unreadable(&error));
        Ok(opened.and_then(|source| formats::open(&*source, *file).map(|(format, read)| (format, read, source.size()))))
    };
    let results = work::map(jobs, files, open).unwrap_or_default();
    let mut shards = Vec::with_capacity(files.len());
    for (&file, result) in files.iter().zip(results) {
        let name = checkpoint.pool.name(file).to_owned();
        match result {
            Ok((format, container, size)) => {
                let named = container.findings.into_iter().map(|finding| finding.in_file(name.clone()));
                checkpoint.findings.extend(named);
                extension(checkpoint, &name, format);
                let Container { mut tensors, metadata, objects, pieces, external, .. } = container;
                let mut others = external::settle(checkpoint, &name, &mut tensors, external);
                if format == Format::Npy {
                    name_after(&mut tensors, &name);
                }
                let shard = Shard { file, name, format, size, tensors: tensors.len(), metadata, objects };
                shards.push(Read { shard, tensors, pieces });
                shards.append(&mut others);
            }
            Err(finding) => {
                let finding = if is_packed(checkpoint, file, &name) { packed() } else { finding };
                checkpoint.findings.push(finding.in_file(name));
            }
        }
    }
    shards
}

/// An array alone in its file has no name but the file's.
fn name_after(tensors: &mut [Tensor], file: &str) {
    let own = file.rsplit('/').next().unwrap_or(file);
    for tensor in tensors {
        own.strip_suffix(".npy").unwrap_or(own).clone_into(&mut tensor.name);
    }
}

/// Whether a file whose name promises weights as they are is a gzip: packed by hand, or by a server on the way.
fn is_packed(checkpoint: &Checkpoint, file: FileId, name: &str) -> bool {
    let plain = [".safetensors", ".bin", ".pth", ".pt"].iter().any(|ending| name.ends_with(ending));
    let format = || checkpoint.pool.get(file).ok().and_then(|source| formats::detect::detect(&*source).ok());
    plain && format() == Some(Format::Gzip)
}

fn packed() -> Finding {
    let message = "the file is packed with gzip; no loader unpacks it: rename it to end in .gz and run gunzip";
    Finding::new(Id::FileUnknown, message).at(0).needed("weights", "gzip")
}

/// A name that promises another format than the content has misleads every reader that goes by names.
fn extension(checkpoint: &mut Checkpoint, name: &str, format: Format) {
    let ending = name.rsplit('.').next().unwrap_or("");
    let promised: &[Format] = match ending {
        "safetensors" => &[Format::Safetensors],
        "pth" | "pt" | "ckpt" => {
            &[Format::Torch, Format::TorchLegacy, Format::TorchScript, Format::TorchTar, Format::Pt2]
        }
        "pt2" => &[Format::Pt2],
        "gguf" => &[Format::Gguf],
        "npy" => &[Format::Npy],
        "npz" => &[Format::Npz],
        "nemo" => &[Format::Nemo],
        "msgpack" => &[Format::Msgpack],
        "onnx" => &[Format::Onnx],
        // `.bin` promises nothing.
        _ => return,
    };
    if let Some(first) = promised.first().filter(|_| !promised.contains(&format)) {
        let message = format!("the name ends in .{ending} and the content is {}", format.name());
        let finding = Finding::new(Id::FileExtension, message).in_file(name);
        checkpoint.findings.push(finding.needed(first.name(), format.name()));
    }
}

/// Puts shards and their tensors into the checkpoint, names as they are. Two tensors of one name are a finding.
pub(super) fn join(checkpoint: &mut Checkpoint, shards: Vec<Read>) {
    let names = || shards.iter().flat_map(|read| &read.tensors).map(|tensor| tensor.name.as_str());
    let mut seen: HashSet<&str> = HashSet::with_capacity(names().count());
    if names().all(|name| seen.insert(name)) {
        return join_distinct(checkpoint, shards);
    }
    let mut places: HashMap<String, FileId> = HashMap::new();
    for read in shards {
        for tensor in read.tensors {
            if let Some(&other) = places.get(&tensor.name) {
                let message = format!("{} holds a tensor of this name too", checkpoint.pool.name(other));
                let finding = Finding::new(Id::TensorDuplicate, message).in_file(read.shard.name.clone());
                checkpoint.findings.push(finding.tensor(tensor.name));
                continue;
            }
            places.insert(tensor.name.clone(), read.shard.file);
            checkpoint.tensors.push(tensor);
        }
        checkpoint.shards.push(read.shard);
    }
}

/// The same for shards that are known to have no name in common.
pub(super) fn join_distinct(checkpoint: &mut Checkpoint, shards: Vec<Read>) {
    checkpoint.tensors.reserve_exact(shards.iter().map(|read| read.tensors.len()).fold(0, usize::saturating_add));
    for read in shards {
        checkpoint.tensors.extend(read.tensors);
        checkpoint.shards.push(read.shard);
    }
}
