//! `.metadata`, the directory of a checkpoint of torch.distributed: which tensors there are, cut into which chunks,
//! and which bytes of which file hold each of them (`torch/distributed/checkpoint/metadata.py`, `filesystem.py`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::bytes::Cursor;
use crate::facts::{Dtype, Finding, Id};
use crate::formats::pickle::lookup::{attribute, count, items};
use crate::formats::pickle::{self, Node, Pickle, Value};
use crate::formats::torch;

/// A tensor: dtype, sizes, and its chunks by their first indices and sizes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    pub(super) chunks: Vec<Chunk>,
    /// The same, once another rank's have been added.
    known: BTreeSet<Chunk>,
}

/// First indices and sizes.
type Chunk = (Vec<u64>, Vec<u64>);

/// Where the bytes of a chunk, or of an object, stand.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The file, relative to the metadata's folder; as written, so not to be trusted.
    pub(super) file: String,
    /// First byte.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
    /// An extension packed the bytes (zstd, encryption).
    pub(super) packed: bool,
}

/// What the metadata say.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// In the order of the state dict.
    pub(super) tensors: Vec<Entry>,
    places: HashMap<String, usize>,
    /// Names of what is no tensor.
    pub(super) objects: BTreeSet<String>,
    /// By name, then by the first indices of the chunk; none for objects.
    pub(super) items: BTreeMap<String, BTreeMap<Vec<u64>, Item>>,
}

/// Parses the metadata.
///
/// # Errors
/// The damage of the pickle; [`Id::IndexInvalid`] if it holds something else than metadata.
pub(super) fn parse(bytes: &[u8]) -> Result<Metadata, Finding> {
    let (pickle, root) = pickle::read(&mut Cursor::new(bytes, 0))?;
    let lacks = |what: &str| Finding::new(Id::IndexInvalid, format!("the metadata have no {what}"));
    let of = |name: &str| attribute(&pickle, root, name);
    let tensors = of("state_dict_metadata").and_then(|node| items(&pickle, node));
    let places = of("storage_data").and_then(|node| items(&pickle, node));
    let mut metadata = Metadata::default();
    for &(key, value) in tensors.ok_or_else(|| lacks("`state_dict_metadata`"))? {
        let name = pickle.str(key).ok_or_else(|| lacks("name for one of the entries"))?;
        if attribute(&pickle, value, "chunks").is_none() {
            metadata.objects.insert(name.to_owned());
            continue;
        }
        let entry = entry(&pickle, name, value).ok_or_else(|| {
            let message = "the metadata do not say dtype, sizes and chunks of this tensor";
            Finding::new(Id::IndexInvalid, message).tensor(name)
        })?;
        metadata.add(entry);
    }
    for &(key, value) in places.ok_or_else(|| lacks("`storage_data`"))? {
        let (name, at, item) = item(&pickle, key, value).ok_or_else(|| lacks("place for one of the entries"))?;
        metadata.items.entry(name.to_owned()).or_default().insert(at, item);
    }
    Ok(metadata)
}

fn entry(pickle: &Pickle<'_>, name: &str, node: Node) -> Option<Entry> {
    let of = |name: &str| attribute(pickle, node, name);
    let properties = of("properties")?;
    let dtype = attribute(pickle, properties, "dtype").or_else(|| {
        // Written as a tuple, for its layout and memory format are no plain data.
        let state = pickle.object(properties)?.state?;
        pickle.sequence(state)?.first().copied()
    })?;
    let chunk = |chunk: &Node| {
        let numbers = |name: &str| torch::numbers(pickle, attribute(pickle, *chunk, name)?);
        Some((numbers("offsets")?, numbers("sizes")?))
    };
    Some(Entry {
        name: name.to_owned(),
        dtype: torch::dtype_of(pickle, dtype)?,
        shape: torch::numbers(pickle, of("size")?)?,
        chunks: pickle.sequence(of("chunks")?)?.iter().map(chunk).collect::<Option<_>>()?,
        known: BTreeSet::new(),
    })
}

fn item<'p>(pickle: &'p Pickle<'_>, key: Node, value: Node) -> Option<(&'p str, Vec<u64>, Item)> {
    let name = pickle.str(attribute(pickle, key, "fqn")?)?;
    let at = attribute(pickle, key, "offset").and_then(|at| torch::numbers(pickle, at)).unwrap_or_default();
    let of = |name: &str| attribute(pickle, value, name);
    let packed = of("transform_descriptors").is_some_and(|list| match pickle.get(list) {
        Value::None => false,
        _ => pickle.sequence(list).is_none_or(|list| !list.is_empty()),
    });
    let file = pickle.str(of("relative_path")?)?.to_owned();
    Some((
        name,
        at,
        Item { file, offset: count(pickle, of("offset")?)?, length: count(pickle, of("length")?)?, packed },
    ))
}

impl Metadata {
    fn add(&mut self, entry: Entry) {
        self.places.insert(entry.name.clone(), self.tensors.len());
        self.tensors.push(entry);
    }

    /// Adds what another rank has written about its own part; chunks that several ranks hold count once.
    ///
    /// # Errors
    /// [`Id::ShardMismatch`] if the two do not speak of the same tensors.
    pub(super) fn merge(&mut self, other: Metadata) -> Result<(), Finding> {
        for entry in other.tensors {
            let Some(own) = self.places.get(&entry.name).and_then(|&place| self.tensors.get_mut(place)) else {
                self.add(entry);
                continue;
            };
            if own.dtype != entry.dtype || own.shape != entry.shape {
                let message = "two ranks speak of different tensors: is one of another run?";
                let [ours, theirs] = [&*own, &entry].map(|entry| format!("{} {:?}", entry.dtype, entry.shape));
                return Err(Finding::new(Id::ShardMismatch, message).tensor(entry.name).needed(ours, theirs));
            }
            let Entry { chunks, known, .. } = own;
            if known.is_empty() {
                known.extend(chunks.iter().cloned());
            }
            chunks.extend(entry.chunks.into_iter().filter(|chunk| known.insert(chunk.clone())));
        }
        self.objects.extend(other.objects);
        for (name, items) in other.items {
            let own = self.items.entry(name).or_default();
            for (at, item) in items {
                own.entry(at).or_insert(item);
            }
        }
        Ok(())
    }

    /// Where a chunk of a tensor, or an object, stands.
    pub(super) fn item(&self, name: &str, at: &[u64]) -> Option<&Item> {
        let items = self.items.get(name)?;
        items.get(at).or_else(|| items.get(&[][..]))
    }
}
