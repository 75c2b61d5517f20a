//! The index of sharded weights: which tensor stands in which file, held against the files both ways.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
pub(super) fn is_safe(name: &str) -> bool {
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
    let damaged = checkpoint.findings.iter().any(|finding| finding.tensor.is_some());
    let complete = complete && !damaged;
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
    let told: HashSet<String> = checkpoint.findings.iter().filter_map(|finding| finding.tensor.clone()).collect();
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
            // Of a missing shard one finding is enough, and of a tensor that could not be read.
            None if !present.contains(file) || told.contains(name) => {}
            None => {
                let message = format!("{listing} says this tensor is here, and it is not");
                report(Finding::new(Id::IndexTensorMissing, message).in_file(file).tensor(name));
            }
        }
    }
    checkpoint.findings.append(&mut findings);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Checkpoint, Layout, open};
    use super::*;

    fn shard(folder: &Path, name: &str, tensors: &[&str]) {
        let tensor = |(place, name): (usize, &&str)| {
            format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{place},{}]}}"#, place + 1)
        };
        let header = format!("{{{}}}", tensors.iter().enumerate().map(tensor).collect::<Vec<_>>().join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + tensors.len(), 7);
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    /// A model of two shards that hold a, b and c, d, with this text for an index.
    fn opened(index: &str) -> Checkpoint {
        let folder = tempfile::tempdir().unwrap();
        shard(folder.path(), "one.safetensors", &["b", "a"]);
        shard(folder.path(), "two.safetensors", &["c", "d"]);
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        open(folder.path(), Some(Layout::Hf), 2).unwrap()
    }

    fn map(pairs: &str) -> Checkpoint {
        let pairs: Vec<String> = pairs
            .split(' ')
            .map(|pair| {
                let (tensor, file) = pair.split_once('@').unwrap();
                format!(r#""{tensor}":"{file}.safetensors""#)
            })
            .collect();
        opened(&format!(r#"{{"metadata":{{"total_size":4}},"weight_map":{{{}}}}}"#, pairs.join(",")))
    }

    fn findings(checkpoint: &Checkpoint) -> Vec<(Id, &str)> {
        let row = |finding: &'_ Finding| (finding.id, finding.tensor.clone());
        let mut rows: Vec<_> = checkpoint.findings.iter().map(row).collect();
        rows.sort();
        let known = ["a", "b", "c", "d", "e"];
        let name = |tensor: Option<String>| tensor.and_then(|tensor| known.into_iter().find(|name| *name == tensor));
        rows.into_iter().map(|(id, tensor)| (id, name(tensor).unwrap_or(""))).collect()
    }

    #[test]
    fn an_index_that_agrees_is_silent_in_any_order() {
        for pairs in ["a@one b@one c@two d@two", "d@two b@one c@two a@one", "a@one a@one b@one c@two d@two"] {
            let checkpoint = map(pairs);
            assert_eq!(findings(&checkpoint), [], "{pairs}");
            assert_eq!(checkpoint.tensors.len(), 4);
            assert_eq!(checkpoint.index.unwrap().value["total_size"], 4);
        }
    }

    #[test]
    fn what_disagrees_is_named() {
        use Id::{IndexTensorMissing, IndexTensorUnlisted, IndexWrongShard, ShardMissing};
        let cases: &[(&str, &[(Id, &str)])] = &[
            ("a@one b@one c@two", &[(IndexTensorUnlisted, "d")]),
            ("a@one b@one c@two d@one", &[(IndexWrongShard, "d")]),
            // Of a name that stands twice the last counts.
            ("a@one b@one b@two c@two d@two", &[(IndexWrongShard, "b")]),
            ("a@one b@one c@two d@two e@two", &[(IndexTensorMissing, "e")]),
            ("a@one b@one c@two d@two e@three", &[(ShardMissing, "")]),
        ];
        for (pairs, expected) in cases {
            let checkpoint = map(pairs);
            assert_eq!(findings(&checkpoint), *expected, "{pairs}");
            assert_eq!(checkpoint.tensors.len(), 4);
        }
    }

    #[test]
    fn what_is_no_index_is_said() {
        for (text, id) in [
            ("{", Id::JsonInvalid),
            ("[]", Id::IndexInvalid),
            (r#"{"metadata":{}}"#, Id::IndexInvalid),
            (r#"{"weight_map":{"a":1}}"#, Id::IndexInvalid),
        ] {
            assert_eq!(findings(&opened(text)), [(id, "")], "{text}");
        }
        let outside = opened(r#"{"weight_map":{"a":"../one.safetensors"}}"#);
        assert_eq!(findings(&outside)[0].0, Id::NameUnsafe);
    }
}
