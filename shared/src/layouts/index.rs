//! The index of sharded weights: which tensor stands in which file, held against the files both ways.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Component, Path};

use serde_json::Value;

use super::shards::{self, Read};
use super::{Checkpoint, Json};
use crate::facts::{FileId, Finding, Id, limits};

/// Whether a name written in a file stays inside the folder it is read from.
fn is_safe(name: &str) -> bool {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    inside && !name.is_empty() && !name.contains('\0')
}

/// Reads an index and the shards it names. Returns the files used.
pub(super) fn read(checkpoint: &mut Checkpoint, listing: &str, jobs: usize) -> Vec<FileId> {
    let Some(index) = checkpoint.json(listing) else { return Vec::new() };
    let Some(map) = weight_map(checkpoint, &index) else { return Vec::new() };
    let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
    let mut files = Vec::new();
    for name in names {
        if !is_safe(name) {
            let message = "the index names a file outside the checkpoint";
            checkpoint
                .findings
                .push(Finding::new(Id::NameUnsafe, message).in_file(listing).needed("a file inside", name));
        } else if let Some((file, _)) = checkpoint.file(name) {
            files.push(file);
        } else {
            let message = format!("{listing} names this shard, and it is not there");
            checkpoint.findings.push(Finding::new(Id::ShardMissing, message).in_file(name));
        }
    }
    let read = shards::read(checkpoint, &files, jobs);
    compare(checkpoint, listing, &map, &read);
    let bytes: u64 = read.iter().flat_map(|read| &read.tensors).map(|tensor| tensor.recipe.len_bytes()).sum();
    let damaged = checkpoint.findings.iter().any(|finding| finding.tensor.is_some());
    let complete = !damaged && read.len() == map.values().collect::<BTreeSet<_>>().len();
    let total = index.value.pointer("/metadata/total_size").and_then(Value::as_u64);
    if let Some(total) = total.filter(|&total| complete && total != bytes) {
        let message = "total_size is not the sum of the tensors' bytes";
        let finding = Finding::new(Id::IndexTotalSize, message).in_file(listing);
        checkpoint.findings.push(finding.needed(bytes, total));
    }
    shards::join(checkpoint, read);
    checkpoint.index =
        Some(Json { name: index.name, value: index.value.get("metadata").cloned().unwrap_or(Value::Null) });
    files
}

/// Tensor to file, as the index has it.
fn weight_map(checkpoint: &mut Checkpoint, index: &Json) -> Option<BTreeMap<String, String>> {
    let map = index.value.get("weight_map").and_then(Value::as_object).and_then(|map| {
        let pair = |(name, file): (&String, &Value)| Some((name.clone(), file.as_str()?.to_owned()));
        map.iter().map(pair).collect::<Option<BTreeMap<_, _>>>()
    });
    if map.is_none() {
        let message = "the index has no `weight_map` from tensor names to file names";
        checkpoint.findings.push(Finding::new(Id::IndexInvalid, message).in_file(index.name.clone()));
    }
    map
}

/// Holds the index against what the shards hold.
fn compare(checkpoint: &mut Checkpoint, listing: &str, map: &BTreeMap<String, String>, read: &[Read]) {
    let told: HashSet<String> = checkpoint.findings.iter().filter_map(|finding| finding.tensor.clone()).collect();
    let mut held: HashMap<&str, &str> = HashMap::new();
    let mut findings = Vec::new();
    let mut report = |finding: Finding| {
        if findings.len() < limits::FINDINGS {
            findings.push(finding);
        }
    };
    for read in read {
        for tensor in &read.tensors {
            held.insert(&tensor.name, &read.shard.name);
            if !map.contains_key(&tensor.name) {
                let message = format!("{listing} does not name this tensor, so no loader will find it");
                let finding = Finding::new(Id::IndexTensorUnlisted, message).in_file(read.shard.name.clone());
                report(finding.tensor(tensor.name.clone()));
            }
        }
    }
    let present: BTreeSet<&str> = read.iter().map(|read| read.shard.name.as_str()).collect();
    for (name, file) in map {
        match held.get(name.as_str()) {
            Some(holder) if holder == file => {}
            Some(holder) => {
                let message = "the index puts this tensor into another shard than the one that holds it";
                let finding = Finding::new(Id::IndexWrongShard, message).in_file(listing).tensor(name.clone());
                report(finding.needed(holder, file));
            }
            // Of a missing shard one finding is enough, and of a tensor that could not be read.
            None if !present.contains(file.as_str()) || told.contains(name) => {}
            None => {
                let message = format!("{listing} says this tensor is here, and it is not");
                report(Finding::new(Id::IndexTensorMissing, message).in_file(file.clone()).tensor(name.clone()));
            }
        }
    }
    checkpoint.findings.append(&mut findings);
}
