//! The index of sharded weights: which tensor stands in which file, held against the files both ways.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::shards::{self, Read};
use super::{Checkpoint, Json};
use crate::bytes::work;
use crate::facts::{FileId, Finding, Id, limits};
use crate::formats;
use crate::formats::json::Text;

/// Whether a name written in a file stays inside the folder it is read from.
fn is_safe(name: &str) -> bool {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    inside && !name.is_empty() && !name.contains('\0')
}

/// An index, borrowed from its text: that of a large mixture has 200,000 names in 20 MB.
#[derive(Deserialize)]
struct Index<'a> {
    #[serde(default)]
    metadata: Value,
    #[serde(borrow)]
    weight_map: WeightMap<'a>,
}

/// Tensor to file.
struct WeightMap<'a> {
    /// In the order of the text: a tensor, and the place of its file in the list of files.
    tensors: Vec<(Cow<'a, str>, usize)>,
    /// Every file once.
    files: Vec<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for WeightMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WeightMap<'a>, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = WeightMap<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from tensor names to file names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap<'de>, A::Error> {
                let mut read = WeightMap { tensors: Vec::new(), files: Vec::new() };
                let mut places: HashMap<Cow<'de, str>, usize> = HashMap::new();
                while let Some((Text(tensor), Text(file))) = map.next_entry()? {
                    // Neighbours mostly stand in one file.
                    let last = read.tensors.last().map(|(_, place)| *place);
                    let same = last.filter(|place| read.files.get(*place) == Some(&file));
                    let place = same.or_else(|| places.get(&file).copied()).unwrap_or_else(|| {
                        let place = read.files.len();
                        places.insert(file.clone(), place);
                        read.files.push(file);
                        place
                    });
                    read.tensors.push((tensor, place));
                }
                Ok(read)
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}

/// Parses an index.
fn parse<'a>(text: &'a [u8], listing: &str) -> Result<Index<'a>, Finding> {
    serde_json::from_slice(text).map_err(|error| {
        // JSON of another form is no index; what is not JSON says where.
        let message = format!("the index has no `weight_map` from tensor names to file names: {error}");
        let finding =
            formats::json::parse(text).map_or_else(|finding| finding, |_| Finding::new(Id::IndexInvalid, message));
        finding.in_file(listing)
    })
}

/// Reads an index and the shards it names. Returns the files used.
pub(super) fn read(checkpoint: &mut Checkpoint, listing: &str, jobs: usize) -> Vec<FileId> {
    let text = match checkpoint.small_file(listing, limits::JSON) {
        Ok(Some(text)) => text,
        Ok(None) => return Vec::new(),
        Err(finding) => {
            checkpoint.findings.push(finding);
            return Vec::new();
        }
    };
    let Index { metadata, weight_map: map } = match parse(&text, listing) {
        Ok(index) => index,
        Err(finding) => {
            checkpoint.findings.push(finding);
            return Vec::new();
        }
    };
    let names: BTreeSet<&str> = map.files.iter().map(|name| &**name).collect();
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
    let complete = read.len() == map.files.len();
    let agrees = complete && agrees(&map, &read, jobs);
    if !agrees {
        compare(checkpoint, listing, &map, &read);
    }
    let bytes: u64 = read.iter().flat_map(|read| &read.tensors).map(|tensor| tensor.recipe.len_bytes()).sum();
    let total = metadata.get("total_size").and_then(Value::as_u64);
    if let Some(total) = total.filter(|&total| complete && total != bytes) {
        let message = "total_size is not the sum of the tensors' bytes";
        let finding = Finding::new(Id::IndexTotalSize, message).in_file(listing);
        checkpoint.findings.push(finding.needed(bytes, total));
    }
    if agrees {
        shards::join_distinct(checkpoint, read);
    } else {
        shards::join(checkpoint, read);
    }
    checkpoint.index = Some(Json { name: listing.to_owned(), value: metadata });
    files
}

/// Whether index and shards name the same tensors in the same files, each name once. The usual case, told without
/// a table of all names; where it does not hold, [`compare`] says why.
fn agrees(map: &WeightMap<'_>, read: &[Read], jobs: usize) -> bool {
    let names = || map.tensors.iter().map(|(name, _)| &**name);
    if !names().is_sorted_by(|a, b| a < b) {
        let mut sorted: Vec<&str> = names().collect();
        sorted.sort_unstable();
        if !sorted.is_sorted_by(|a, b| a < b) {
            return false;
        }
    }
    let mut listed: Vec<Vec<&str>> = map.files.iter().map(|_| Vec::new()).collect();
    for (name, place) in &map.tensors {
        if let Some(listed) = listed.get_mut(*place) {
            listed.push(name);
        }
    }
    let places: HashMap<&str, usize> = map.files.iter().enumerate().map(|(place, file)| (&**file, place)).collect();
    let same = |read: &Read| {
        let mut listed = listed.get(*places.get(read.shard.name.as_str()).ok_or(())?).cloned().ok_or(())?;
        let mut held: Vec<&str> = read.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        // The index is nearly always sorted already, and so is a header, dtype by dtype.
        listed.sort_unstable();
        held.sort_unstable();
        if listed == held { Ok(()) } else { Err(()) }
    };
    work::map(jobs, read, same).is_ok()
}

/// Holds the index against what the shards hold.
fn compare(checkpoint: &mut Checkpoint, listing: &str, map: &WeightMap<'_>, read: &[Read]) {
    // Of a name that stands twice the last counts, as in Python.
    let file = |place: &usize| map.files.get(*place).map_or("", |file| &**file);
    let map: BTreeMap<&str, &str> = map.tensors.iter().map(|(name, place)| (&**name, file(place))).collect();
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
            if !map.contains_key(tensor.name.as_str()) {
                let message = format!("{listing} does not name this tensor, so no loader will find it");
                let finding = Finding::new(Id::IndexTensorUnlisted, message).in_file(read.shard.name.clone());
                report(finding.tensor(tensor.name.clone()));
            }
        }
    }
    let present: BTreeSet<&str> = read.iter().map(|read| read.shard.name.as_str()).collect();
    for (name, file) in map {
        match held.get(name) {
            Some(&holder) if holder == file => {}
            Some(holder) => {
                let message = "the index puts this tensor into another shard than the one that holds it";
                let finding = Finding::new(Id::IndexWrongShard, message).in_file(listing).tensor(name);
                report(finding.needed(holder, file));
            }
            // Of a missing shard one finding is enough.
            None if !present.contains(file) => {}
            None => {
                let message = format!("{listing} says this tensor is here, and it is not");
                report(Finding::new(Id::IndexTensorMissing, message).in_file(file).tensor(name));
            }
        }
    }
    checkpoint.findings.append(&mut findings);
}
