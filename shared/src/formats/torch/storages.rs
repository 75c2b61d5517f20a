//! The storages that a pickle of `torch.save` refers to, and where their bytes stand.

use std::collections::HashMap;

use crate::facts::{Dtype, FileId};
use crate::formats::Storage;
use crate::formats::pickle::{Node, Pickle, Value};

/// Element types by the name of the typed storage class (`torch/__init__.py`); the classes of
/// `torch.cuda` have the same names.
const CLASSES: &[(&str, Dtype)] = &[
    ("DoubleStorage", Dtype::F64),
    ("FloatStorage", Dtype::F32),
    ("HalfStorage", Dtype::F16),
    ("BFloat16Storage", Dtype::Bf16),
    ("LongStorage", Dtype::I64),
    ("IntStorage", Dtype::I32),
    ("ShortStorage", Dtype::I16),
    ("CharStorage", Dtype::I8),
    ("ByteStorage", Dtype::U8),
    ("BoolStorage", Dtype::Bool),
    ("ComplexDoubleStorage", Dtype::C128),
    ("ComplexFloatStorage", Dtype::C64),
    ("QInt8Storage", Dtype::Qi8),
    ("QInt32Storage", Dtype::Qi32),
    ("QUInt8Storage", Dtype::Qu8),
    ("QUInt4x2Storage", Dtype::Qu4x2),
    ("QUInt2x4Storage", Dtype::Qu2x4),
];

/// The typed storage class that torch saves a dtype with; the others are saved as untyped bytes.
pub(super) fn class_of(dtype: Dtype) -> Option<&'static str> {
    CLASSES.iter().find(|row| row.1 == dtype).map(|row| row.0)
}

/// Where a storage's bytes stand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// In the file.
    File {
        /// First byte.
        offset: u64,
        /// Bytes there.
        bytes: u64,
        /// CRC-32 recorded for exactly these bytes.
        crc32: Option<u32>,
    },
    /// Nowhere, and why.
    Absent(String),
}

/// One storage.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    /// Bytes it should have: count and class of the persistent id.
    pub declared: u64,
    /// Bytes of one element of the storage's class.
    pub item: u64,
    pub meta: bool,
    pub place: Place,
    /// How many are views of it.
    tensors: u64,
    /// First byte that a tensor uses, and the byte after the last one.
    used: Option<(u64, u64)>,
}

impl Entry {
    /// The byte after the last one that a tensor uses.
    pub(super) fn end(&self) -> u64 {
        self.used.map_or(0, |(_, end)| end)
    }
}

/// One persistent id: a storage as a tensor refers to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    pub entry: usize,
    /// Element type of the class; `None` for untyped bytes.
    pub dtype: Option<Dtype>,
    /// Bytes to skip: a storage that is a view of another one (legacy files).
    pub skip: u64,
}

/// Every storage of a pickle.
#[derive(Debug, Default)]
pub(super) struct Storages {
    pub entries: Vec<Entry>,
    /// Persistent ids that are no storages.
    pub strange: u64,
    /// By node, ascending.
    references: Vec<(Node, Reference)>,
    by_key: HashMap<String, usize>,
}

impl Storages {
    /// Finds the storages among the persistent ids of a pickle; ids of another kind are passed over.
    pub(super) fn of(pickle: &Pickle<'_>) -> Storages {
        let mut storages = Storages::default();
        for (node, value) in pickle.nodes() {
            if let Value::Persistent(id) = value
                && storages.add(pickle, node, *id).is_none()
            {
                storages.strange = storages.strange.saturating_add(1);
            }
        }
        storages
    }

    fn add(&mut self, pickle: &Pickle<'_>, node: Node, id: Node) -> Option<()> {
        let [kind, class, key, location, count, rest @ ..] = pickle.sequence(id)? else { return None };
        if pickle.str(*kind) != Some("storage") {
            return None;
        }
        let dtype = storage_dtype(pickle, *class)?;
        let key = match pickle.get(*key) {
            Value::Str(key) => key.to_string(),
            Value::Int(key) => key.to_string(),
            _ => return None,
        };
        let item = dtype.map_or(1, storage_item);
        let declared = u64::try_from(pickle.int(*count)?).ok()?.checked_mul(item)?;
        let skip = match rest.first().and_then(|view| pickle.sequence(*view)) {
            Some([_, start, ..]) => u64::try_from(pickle.int(*start)?).ok()?.checked_mul(item)?,
            _ => 0,
        };
        let entry = *self.by_key.entry(key).or_insert_with_key(|key| {
            let meta = pickle.str(*location) == Some("meta");
            let place = Place::Absent("its storage has no place".to_owned());
            self.entries.push(Entry { key: key.clone(), declared, item, meta, place, used: None, tensors: 0 });
            self.entries.len().saturating_sub(1)
        });
        self.references.push((node, Reference { entry, dtype, skip }));
        Some(())
    }

    /// Adds a storage that has its place; one of a key that is there already stays what it is.
    pub(super) fn insert(&mut self, key: String, declared: u64, dtype: Option<Dtype>, place: Place) -> Reference {
        let item = dtype.map_or(1, storage_item);
        let entry = *self.by_key.entry(key).or_insert_with_key(|key| {
            self.entries.push(Entry { key: key.clone(), declared, item, meta: false, place, used: None, tensors: 0 });
            self.entries.len().saturating_sub(1)
        });
        Reference { entry, dtype, skip: 0 }
    }

    /// The storage that a node is, if it is one.
    pub(super) fn get(&self, node: Node) -> Option<Reference> {
        let found = self.references.binary_search_by_key(&node, |row| row.0).ok()?;
        self.references.get(found).map(|row| row.1)
    }

    /// The entry of a reference.
    pub(super) fn entry(&self, reference: Reference) -> Option<&Entry> {
        self.entries.get(reference.entry)
    }

    /// Notes that a tensor uses these bytes of a storage.
    pub(super) fn used(&mut self, reference: Reference, first: u64, after: u64) {
        if let Some(entry) = self.entries.get_mut(reference.entry) {
            let (low, high) = entry.used.unwrap_or((first, after));
            entry.used = Some((low.min(first), high.max(after)));
            entry.tensors = entry.tensors.saturating_add(1);
        }
    }

    /// The entry of that key.
    pub(super) fn by_key(&mut self, key: &str) -> Option<&mut Entry> {
        self.by_key.get(key).and_then(|&index| self.entries.get_mut(index))
    }

    /// What documents say of the storages that are in the file.
    pub(super) fn table(&self, file: FileId) -> Vec<Storage> {
        let row = |entry: &Entry| match entry.place {
            Place::File { offset, bytes, .. } => Some(Storage {
                key: entry.key.clone(),
                file,
                offset,
                bytes,
                used: entry.used.map_or(0, |(low, high)| high.saturating_sub(low)),
                tensors: entry.tensors,
            }),
            Place::Absent(_) => None,
        };
        self.entries.iter().filter_map(row).collect()
    }
}

/// Element type of a storage class; `Some(None)` for untyped bytes.
#[expect(clippy::option_option, reason = "untyped is an answer, not the lack of one")]
pub(super) fn storage_dtype(pickle: &Pickle<'_>, class: Node) -> Option<Option<Dtype>> {
    let class = pickle.global(class)?;
    if !matches!(class.module3(), "torch" | "torch.cuda" | "torch.storage" | "torch.sparse" | "torch.xpu") {
        return None;
    }
    if matches!(&*class.name, "UntypedStorage" | "_UntypedStorage" | "TypedStorage") {
        return Some(None);
    }
    CLASSES.iter().find(|row| row.0 == class.name).map(|row| Some(row.1))
}

/// Bytes of an element of a typed storage. The packed classes count bytes (`c10/util/quint4x2.h`).
fn storage_item(dtype: Dtype) -> u64 {
    dtype.item_bytes().unwrap_or(1)
}
