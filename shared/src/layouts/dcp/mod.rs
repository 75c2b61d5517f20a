//! Checkpoints of torch.distributed (DCP): a directory of chunks, as FSDP, DTensor, torchtitan and Megatron save
//! them, or safetensors files of chunks without a directory.

mod items;
mod metadata;
mod sharded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::chunks::Whole;
use super::tree::Entry;
use super::{Checkpoint, Shard, directory, index, read_small, shards};
use crate::bytes::work;
use crate::facts::recipe::Tile;
use crate::facts::{Finding, Id, limits};
use crate::formats::Format;
use items::{Batch, Wanted};
use metadata::{Item, Metadata};

/// The directory, written last.
const METADATA: &str = ".metadata";
/// Items read in one go, so that the items of one large file are shared out.
const BATCH: usize = 256;

/// The rank whose own directory a file is: `__3.metadata`.
fn rank(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("__")?.strip_suffix(METADATA)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a file is part of such a checkpoint.
pub(super) fn belongs(name: &str) -> bool {
    name == METADATA || rank(name).is_some() || name.ends_with(".distcp") || sharded::belongs(name)
}

/// The folder of the chunks among these files, with its slash: the top, or the one below it that has them.
pub(super) fn folder(entries: &[Entry]) -> Option<String> {
    let mut folders = BTreeSet::new();
    let mut newest = None;
    for entry in entries {
        let (folder, own) = entry.name.rsplit_once('/').map_or(("", entry.name.as_str()), |parts| parts);
        if belongs(own) {
            folders.insert(folder);
        }
        if entry.name == "latest_checkpointed_iteration.txt" {
            // Megatron's word for the newest step.
            let text = read_small(&entry.path, 64).ok()?;
            newest = String::from_utf8_lossy(&text).trim().parse::<u64>().ok().map(|step| format!("iter_{step:07}"));
        }
    }
    let chosen = if folders.contains("") {
        ""
    } else if let Some(newest) = newest.as_deref().and_then(|newest| folders.get(newest)) {
        newest
    } else {
        let mut below = folders.iter().filter(|folder| !folder.contains('/'));
        // accelerate and the Trainer save the model beside its optimizer.
        let model = folders.get("pytorch_model_fsdp_0");
        model.or_else(|| below.next().filter(|_| folders.len() == 1)).copied()?
    };
    Some(if chosen.is_empty() { String::new() } else { format!("{chosen}/") })
}

/// Reads a directory of chunks.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let Some(folder) = folder(&checkpoint.files) else { return checkpoint };
    checkpoint.weights = PathBuf::from(&folder);
    if let Some(metadata) = metadata(&mut checkpoint, &folder) {
        chunks(&mut checkpoint, &folder, &metadata, jobs);
        let common = checkpoint.file(&format!("{folder}common.pt")).map(|(file, _)| file);
        let read = shards::read(&mut checkpoint, common.as_slice(), jobs);
        shards::join(&mut checkpoint, read);
    } else if checkpoint.damage().is_none() {
        sharded::read(&mut checkpoint, &folder, jobs);
    }
    directory::settle(&mut checkpoint);
    checkpoint
}

/// The directory, or those that every rank wrote for itself joined. `None` if there is none that could be read.
fn metadata(checkpoint: &mut Checkpoint, folder: &str) -> Option<Metadata> {
    let own = |entry: &'_ Entry| Some(entry.name.strip_prefix(folder)?.to_owned()).filter(|name| !name.contains('/'));
    let names: Vec<String> = checkpoint.files.iter().filter_map(own).collect();
    let mut parts: Vec<(u64, String)> = names.iter().filter_map(|name| Some((rank(name)?, name.clone()))).collect();
    parts.sort();
    if names.iter().any(|name| name == METADATA) {
        parts = vec![(0, METADATA.to_owned())];
    }
    if parts.is_empty() && names.iter().any(|name| name.ends_with(".distcp")) {
        let begun = names.iter().find(|name| name.ends_with(".metadata.tmp"));
        let found = begun.map_or_else(|| "no such file".to_owned(), |begun| format!("{begun}, not renamed yet"));
        let message = "the directory of the chunks is missing: it is written last, so the save was broken off, or the \
                       copy left out what begins with a dot";
        let finding = Finding::new(Id::SaveIncomplete, message).in_file(format!("{folder}{METADATA}"));
        checkpoint.findings.push(finding.needed(METADATA, found));
        return None;
    }
    let mut joined: Option<Metadata> = None;
    for (expected, (rank, name)) in (0u64..).zip(&parts) {
        let name = format!("{folder}{name}");
        if expected != *rank && joined.is_some() {
            let message = format!("rank {expected} wrote no directory of its chunks, though rank {rank} did");
            let missing = format!("{folder}__{expected}{METADATA}");
            checkpoint.findings.push(Finding::new(Id::ShardMissing, message).in_file(missing));
            return None;
        }
        let path = checkpoint.root_file(&name)?;
        let parsed = read_small(&path, limits::PICKLE).and_then(|bytes| metadata::parse(&bytes));
        let added = parsed.and_then(|part| {
            if let Some(joined) = &mut joined {
                return joined.merge(part);
            }
            joined = Some(part);
            Ok(())
        });
        if let Err(finding) = added {
            checkpoint.findings.push(finding.in_file(name));
            return None;
        }
    }
    joined
}

/// Files of chunks in which nothing has its place.
fn strays(checkpoint: &mut Checkpoint, folder: &str) {
    let used: BTreeSet<&str> = checkpoint.shards.iter().map(|shard| shard.name.as_str()).collect();
    let chunks =
        |name: &str| name.strip_prefix(folder).is_some_and(|own| own.ends_with(".distcp") && !own.contains('/'));
    // A rank that has nothing to save may leave an empty file.
    let unused = checkpoint.files.iter().filter(|entry| chunks(&entry.name) && entry.size > 0);
    let unused: Vec<String> =
        unused.map(|entry| entry.name.clone()).filter(|name| !used.contains(name.as_str())).collect();
    checkpoint.findings.extend(unused.into_iter().map(|name| {
        let message = "the metadata place nothing here: the file is of another save";
        Finding::new(Id::ShardStray, message).in_file(name)
    }));
}

/// Finds every chunk in its file and joins them.
fn chunks(checkpoint: &mut Checkpoint, folder: &str, metadata: &Metadata, jobs: usize) {
    let listing = checkpoint.pool_name(folder);
    let mut broken: BTreeSet<usize> = BTreeSet::new();
    let mut files: BTreeMap<&str, Vec<(Wanted<'_>, &Item)>> = BTreeMap::new();
    for (tensor, entry) in metadata.tensors.iter().enumerate() {
        let (name, dtype) = (entry.name.as_str(), entry.dtype);
        for (at, shape) in &entry.chunks {
            if let Some(item) = metadata.item(name, at) {
                files.entry(&item.file).or_default().push((Wanted::Chunk { tensor, name, dtype, at, shape }, item));
            } else if !shape.contains(&0) {
                let message = format!("the metadata do not say where the chunk at {at:?} is");
                let finding = Finding::new(Id::IndexTensorMissing, message).in_file(listing.clone());
                checkpoint.findings.push(finding.tensor(name));
                broken.insert(tensor);
            }
        }
    }
    for name in &metadata.objects {
        if let Some(item) = metadata.item(name, &[]) {
            files.entry(&item.file).or_default().push((Wanted::Object { name }, item));
        }
    }
    let mut batches = Vec::new();
    for (name, mut items) in files {
        items.sort_by_key(|(_, item)| item.offset);
        let full = format!("{folder}{name}");
        let Some((file, entry)) = checkpoint.file(&full).filter(|_| index::is_safe(name)) else {
            let finding = missing(&items, name, full, &listing);
            checkpoint.findings.push(finding);
            broken.extend(items.iter().filter_map(|(wanted, _)| wanted.tensor()));
            continue;
        };
        let (size, tensors) = (entry.size, items.iter().filter_map(|(wanted, _)| wanted.tensor()).count());
        checkpoint.shards.push(Shard {
            file,
            name: full,
            format: Format::Distcp,
            size,
            tensors,
            metadata: BTreeMap::new(),
            objects: Vec::new(),
        });
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(BATCH));
            batches.push(Batch { file, items: std::mem::replace(&mut items, rest) });
        }
    }
    strays(checkpoint, folder);
    let pool = &checkpoint.pool;
    let found = work::map(jobs, &batches, |batch| Ok::<_, ()>(items::read(pool, batch))).unwrap_or_default();
    let mut parts: Vec<(Vec<Tile>, Option<u32>)> = metadata.tensors.iter().map(|_| (Vec::new(), None)).collect();
    let mut inner = Vec::new();
    for (batch, found) in batches.iter().zip(found) {
        let name = checkpoint.pool.name(batch.file).to_owned();
        checkpoint.findings.extend(found.findings.into_iter().map(|finding| finding.in_file(name.clone())));
        broken.extend(found.broken);
        inner.extend(found.tensors);
        if let Some(shard) = checkpoint.shards.iter_mut().rfind(|shard| shard.file == batch.file) {
            shard.objects.extend(found.objects);
        }
        for chunk in found.chunks {
            if let Some((tiles, crc32)) = parts.get_mut(chunk.tensor) {
                tiles.push(Tile { at: chunk.at.to_vec(), part: Arc::new(chunk.value) });
                *crc32 = chunk.crc32;
            }
        }
    }
    for (number, (entry, (tiles, crc32))) in metadata.tensors.iter().zip(parts).enumerate() {
        if broken.contains(&number) {
            continue;
        }
        let whole = Whole { name: entry.name.clone(), dtype: entry.dtype, shape: entry.shape.clone() };
        match whole.join(tiles, crc32) {
            Ok(tensor) => checkpoint.tensors.push(tensor),
            Err(finding) => checkpoint.findings.push(finding.in_file(listing.clone())),
        }
    }
    checkpoint.tensors.extend(inner);
}

/// The finding for a file that the metadata name and that is not there.
fn missing(items: &[(Wanted<'_>, &Item)], name: &str, full: String, listing: &str) -> Finding {
    if !index::is_safe(name) {
        let message = "the metadata name a file outside the checkpoint";
        return Finding::new(Id::NameUnsafe, message).in_file(listing).needed("a file inside", name);
    }
    let bytes = items.iter().map(|(_, item)| item.length).fold(0, u64::saturating_add);
    let message = format!("the metadata place {} items here; copy the file from where it was saved", items.len());
    let finding = Finding::new(Id::ShardMissing, message).in_file(full);
    let finding = finding.needed(format!("{bytes} bytes"), "no such file");
    match items.first() {
        Some((Wanted::Chunk { name, .. } | Wanted::Object { name }, _)) => finding.tensor(*name),
        None => finding,
    }
}

impl Checkpoint {
    /// The name of the directory of chunks, for messages.
    fn pool_name(&self, folder: &str) -> String {
        let whole = format!("{folder}{METADATA}");
        if self.file(&whole).is_some() { whole } else { format!("{folder}__0{METADATA}") }
    }
}
