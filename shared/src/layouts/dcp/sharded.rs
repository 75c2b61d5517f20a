//! Chunks in safetensors files, each of which says in its own metadata where its tensors begin in the whole
//! (`HuggingFaceStorageWriter` of torch: `shard-00001-model-00001-of-00001.safetensors`).

use std::sync::Arc;

use serde_json::Value;

use crate::facts::recipe::Tile;
use crate::facts::{Dtype, FileId, Finding, Id};
use crate::layouts::chunks::Whole;
use crate::layouts::{Checkpoint, shards};

/// The key of the metadata under which the first indices stand.
const KEY: &str = "DCP_SHARDING_INFO";

/// Whether a file is such a one, by its name.
pub(super) fn belongs(name: &str) -> bool {
    name.strip_prefix("shard-").is_some_and(|rest| rest.contains("-model-") && rest.ends_with(".safetensors"))
}

/// Joins the chunks of all files of the folder.
pub(super) fn read(checkpoint: &mut Checkpoint, folder: &str, jobs: usize) {
    let own = |name: &str| name.strip_prefix(folder).is_some_and(belongs);
    let files: Vec<FileId> =
        checkpoint.files.iter().enumerate().filter(|(_, entry)| own(&entry.name)).map(|(at, _)| FileId(at)).collect();
    let mut wholes: Vec<(Whole, Vec<Tile>, Option<u32>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for read in shards::read(checkpoint, &files, jobs) {
        let info: Value =
            read.shard.metadata.get(KEY).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for tensor in read.tensors {
            let (dtype, shape) = (tensor.recipe.dtype, tensor.recipe.shape.clone());
            let Some(at) = first(&info, &tensor.name).filter(|at| at.len() == shape.len()) else {
                let message = format!("the file does not say in {KEY} where this chunk begins");
                let finding = Finding::new(Id::IndexInvalid, message).in_file(read.shard.name.clone());
                checkpoint.findings.push(finding.tensor(tensor.name));
                continue;
            };
            let place = *places.entry(tensor.name.clone()).or_insert(wholes.len());
            if place == wholes.len() {
                let whole = Whole { name: tensor.name.clone(), dtype, shape: vec![0; shape.len()] };
                wholes.push((whole, Vec::new(), tensor.crc32));
            }
            let Some((whole, tiles, _)) = wholes.get_mut(place) else { continue };
            if let Some(finding) = grow(whole, dtype, &shape, &at) {
                checkpoint.findings.push(finding.in_file(read.shard.name.clone()));
                continue;
            }
            tiles.push(Tile { at, part: Arc::new(tensor.recipe) });
        }
        checkpoint.shards.push(read.shard);
    }
    for (whole, tiles, crc32) in wholes {
        match whole.join(tiles, crc32) {
            Ok(tensor) => checkpoint.tensors.push(tensor),
            Err(finding) => checkpoint.findings.push(finding),
        }
    }
}

/// The first indices of a tensor's chunk.
fn first(info: &Value, name: &str) -> Option<Vec<u64>> {
    info.get(name)?.get("saved_offsets")?.as_array()?.iter().map(Value::as_u64).collect()
}

/// Nothing says how large the whole is: it reaches as far as its chunks do.
fn grow(whole: &mut Whole, dtype: Dtype, shape: &[u64], at: &[u64]) -> Option<Finding> {
    if whole.dtype != dtype || whole.shape.len() != shape.len() {
        let message = "the chunk has another dtype or rank than one in another file";
        let finding = Finding::new(Id::ShardMismatch, message).tensor(whole.name.clone());
        return Some(finding.needed(format!("{} {:?}", whole.dtype, whole.shape), format!("{dtype} {shape:?}")));
    }
    for ((size, &extent), &at) in whole.shape.iter_mut().zip(shape).zip(at) {
        *size = (*size).max(at.saturating_add(extent));
    }
    None
}
