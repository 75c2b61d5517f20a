//! ONNX models whose values lie in other files beside them: which files, and where in them each value stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::Path;

use super::tree::{self, Tree};
use super::{Checkpoint, Shard, index, shards};
use crate::bytes::FileSource;
use crate::facts::{FileId, Finding, Id, Op, Tensor, limits};
use crate::formats::{self, External, Format};

/// The ending of a model that may have such files.
const ENDING: &str = ".onnx";

/// Whether a file can have its values in others.
pub(super) fn may_have(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// The files of a path that names one model: those with its values come along.
pub(super) fn with_values(path: &Path, data: &Metadata) -> Option<Tree> {
    let own = path.file_name()?.to_str().filter(|own| may_have(own))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let source = FileSource::open(path).ok()?;
    let (_, container) = formats::open(&source, FileId(0)).ok()?;
    let named = container.external.iter().filter_map(|external| beside(own, &external.location));
    // What is not there is told of when the model is read.
    let there: BTreeSet<String> = named.filter(|name| folder.join(name).is_file()).collect();
    if there.is_empty() {
        return Some(tree::single(path, data));
    }
    let mut names: Vec<String> = there.into_iter().chain([own.to_owned()]).collect();
    names.sort();
    names.dedup();
    Some(tree::several(folder, names))
}

/// The path of a file that a model names, from where the model's own is told from; `None` if it leads out of its folder.
fn beside(model: &str, location: &str) -> Option<String> {
    if !index::is_safe(location) {
        return None;
    }
    let parts = location.split('/').filter(|part| !part.is_empty() && *part != ".");
    let location = parts.collect::<Vec<_>>().join("/");
    Some(model.rsplit_once('/').map_or(location.clone(), |(folder, _)| format!("{folder}/{location}")))
}

/// Gives the tensors of a model the values that lie in other files; one whose values are not there is a finding, and goes.
/// Returns those files, each once, as shards without tensors of their own.
pub(super) fn settle(
    checkpoint: &mut Checkpoint,
    model: &str,
    tensors: &mut Vec<Tensor>,
    external: Vec<External>,
) -> Vec<shards::Read> {
    let mut places: BTreeMap<String, External> =
        external.into_iter().map(|external| (external.tensor.clone(), external)).collect();
    let mut used: BTreeSet<FileId> = BTreeSet::new();
    let mut findings = Vec::new();
    tensors.retain_mut(|tensor| {
        let Some(place) = places.remove(&tensor.name) else { return true };
        match value(checkpoint, model, tensor, &place) {
            Ok(file) => {
                used.insert(file);
                true
            }
            Err(finding) => {
                findings.push(finding.tensor(tensor.name.clone()));
                false
            }
        }
    });
    findings.truncate(limits::FINDINGS);
    checkpoint.findings.extend(findings);
    let shard = |file: FileId| Shard {
        file,
        name: checkpoint.pool.name(file).to_owned(),
        format: Format::Onnx,
        size: checkpoint.size_of(file),
        tensors: 0,
        metadata: BTreeMap::new(),
        objects: Vec::new(),
    };
    used.into_iter().map(|file| shards::Read { shard: shard(file), tensors: Vec::new(), pieces: Vec::new() }).collect()
}

/// Finds a tensor's bytes in the file that holds them.
fn value(checkpoint: &Checkpoint, model: &str, tensor: &mut Tensor, place: &External) -> Result<FileId, Finding> {
    let Some(name) = beside(model, &place.location) else {
        let message = "the model says that values are in a file outside its folder, which is not opened";
        let finding = Finding::new(Id::NameUnsafe, message).in_file(model);
        return Err(finding.needed("a file below the model's folder", format!("{:?}", place.location)));
    };
    let Some((file, entry)) = checkpoint.file(&name) else {
        let message = format!("{model} has its values in this file, and it is not there");
        return Err(Finding::new(Id::ShardMissing, message).in_file(name));
    };
    let needed = tensor.recipe.len_bytes();
    let left = entry.size.checked_sub(place.offset);
    let length = place.length.or(left).unwrap_or(0);
    if length != needed {
        let message = "the values that lie beside the model do not make the tensor's shape";
        let finding = Finding::new(Id::OnnxInvalid, message).in_file(model);
        return Err(finding.needed(format!("{needed} bytes"), format!("{length} bytes in {name}")));
    }
    if left.is_none_or(|left| left < length) {
        let message = "the file ends before the values do that the model has in it";
        let finding = Finding::new(Id::OnnxTruncated, message).in_file(name).at(place.offset);
        return Err(finding.needed(format!("{length} bytes"), format!("{} bytes", left.unwrap_or(0))));
    }
    tensor.recipe.op = Op::Bytes { file, offset: place.offset };
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn files_stay_below_the_folder_of_their_model() {
        for (model, location, wanted) in [
            ("model.onnx", "model.onnx.data", Some("model.onnx.data")),
            ("unet/model.onnx", "./values/w.bin", Some("unet/values/w.bin")),
            ("model.onnx", "../w", None),
            ("a/model.onnx", "b/../../w", None),
            ("model.onnx", "/etc/passwd", None),
            ("model.onnx", "", None),
        ] {
            assert_eq!(beside(model, location).as_deref(), wanted, "{model} {location}");
        }
    }
}
