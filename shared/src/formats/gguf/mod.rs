//! GGUF of llama.cpp: keys with values, a table of tensors, and the tensors, each padded to the alignment.
//!
//! `GGUF | u32 version | u64 tensors | u64 keys | keys | table | padding | data`. Sizes in the table are fastest first, so
//! shapes are its sizes reversed. Versions 2 and 3, little- and big-endian, are read.

mod strings;
mod types;
mod value;
pub mod write;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::window::Window;
use super::{Container, Findings, Object};
use crate::bytes::{ReadAt, to_u64};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Severity, Tensor, limits};

pub use write::Put;

/// Where tensors begin unless `general.alignment` says otherwise (`GGUF_DEFAULT_ALIGNMENT`).
const ALIGNMENT: u64 = 32;
/// Dimensions that ggml has (`GGML_MAX_DIMS`).
const DIMS: u32 = 4;
/// Bytes that an entry of the table has at least: two lengths, a type, an offset.
const ENTRY: u64 = 24;
/// Bytes that a key with its value has at least.
const KEY: u64 = 13;

/// Reads the header of a GGUF file. Its values are the container's objects; arrays longer than a few hundred elements
/// are described and not kept, see [`arrays`].
///
/// # Errors
/// A finding with the offset if the header cannot be read; what is wrong with single tensors is in
/// [`Container::findings`], and such a tensor is left out.
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let mut window = Window::new(source, strings::SHORT);
    let (tensors, keys) = counts(&mut window)?;
    let mut findings = Findings::default();
    let objects = read_keys(&mut window, keys, &[], &mut findings)?;
    let alignment = alignment(&objects, &mut findings);
    let mut entries = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..tensors {
        let entry = Entry::read(&mut window)?;
        if names.insert(entry.name.clone()) {
            entries.push(entry);
        } else {
            let message = "the table holds a tensor of this name twice";
            findings.push(Finding::new(Id::GgufDuplicate, message).at(entry.place).tensor(entry.name));
        }
    }
    let data = window.at().next_multiple_of(alignment);
    let mut placed: Vec<Placed> = Vec::new();
    for entry in entries {
        match entry.placed(data, alignment, source.size()) {
            Ok(tensor) => placed.push(tensor),
            Err(finding) => findings.push(finding),
        }
    }
    placed.sort_by(|a, b| (a.offset, a.bytes, &a.name).cmp(&(b.offset, b.bytes, &b.name)));
    tiling(&placed, data, alignment, source.size(), &mut findings);
    let big = window.big;
    let mut tensors = Vec::with_capacity(placed.len());
    for Placed { name, dtype, shape, offset, .. } in placed {
        let recipe = Recipe::bytes(dtype, shape.clone(), file, offset);
        let recipe = match (dtype.item_bytes(), dtype.halves()) {
            _ if !big => recipe,
            (Some(1), _) | (_, Some([])) => recipe,
            (Some(_), _) | (_, Some(_)) => Recipe { dtype, shape, op: Op::ByteSwap(Arc::new(recipe)) },
            (None, None) => {
                let message = format!(
                    "{dtype} blocks of a big-endian file are not read: what of them is turned round is not written \
                     anywhere; convert the model again to a little-endian file"
                );
                findings.push(Finding::new(Id::Unsupported, message).at(offset).tensor(name));
                continue;
            }
        };
        tensors.push(Tensor { name, recipe, crc32: None });
    }
    Ok(Container { tensors, objects, findings: findings.list(), ..Container::default() })
}

/// Elements of an array among the objects, also of one that was only described.
pub fn length(value: &Value) -> Option<u64> {
    match value {
        Value::Array(values) => Some(to_u64(values.len())),
        Value::String(text) => text.strip_prefix('<')?.split_once(" x ")?.0.parse().ok(),
        _ => None,
    }
}

/// The whole arrays under some keys, for those who need a vocabulary.
///
/// # Errors
/// A finding if the header cannot be read.
pub fn arrays(source: &dyn ReadAt, wanted: &[&str]) -> Result<BTreeMap<String, Vec<Value>>, Finding> {
    let mut window = Window::new(source, strings::SHORT);
    let (_, keys) = counts(&mut window)?;
    let objects = read_keys(&mut window, keys, wanted, &mut Findings::default())?;
    let arrays = objects.into_iter().filter_map(|object| match object.value {
        Value::Array(values) if wanted.contains(&object.path.as_str()) => Some((object.path, values)),
        _ => None,
    });
    Ok(arrays.collect())
}

/// Reads what stands before the keys: how many tensors and how many keys there are.
fn counts(window: &mut Window<'_>) -> Result<(u64, u64), Finding> {
    window.take(4)?;
    let version = window.u32()?;
    // Small numbers have their bits in the other half of a word of the other byte order.
    window.big = version.trailing_zeros() >= 16;
    let version = if window.big { version.swap_bytes() } else { version };
    if !(2..=3).contains(&version) {
        let message = format!("this is GGUF version {version}; versions 2 and 3 are read here");
        return Err(Finding::new(Id::Unsupported, message).at(4).needed("2 or 3", version));
    }
    let place = window.at();
    let (tensors, keys) = (window.u64()?, window.u64()?);
    if keys > limits::GGUF_KEYS {
        let message = "the header claims more keys than any real one";
        return Err(Finding::new(Id::TooLarge, message).at(place).needed(limits::GGUF_KEYS, keys));
    }
    let least = tensors.checked_mul(ENTRY).and_then(|bytes| bytes.checked_add(keys.checked_mul(KEY)?));
    if least.is_none_or(|least| least > window.left()) {
        let message = format!("the file is too short for the {keys} keys and {tensors} tensors that it claims");
        return Err(Finding::new(Id::GgufTruncated, message).at(place));
    }
    Ok((tensors, keys))
}

fn read_keys(
    window: &mut Window<'_>,
    count: u64,
    whole: &[&str],
    findings: &mut Findings,
) -> Result<Vec<Object>, Finding> {
    let mut seen = HashSet::new();
    let mut objects = Vec::new();
    for _ in 0..count {
        let place = window.at();
        let path = text(window, "a key")?;
        let value = value::read(window, whole.contains(&path.as_str()))?;
        if !seen.insert(path.clone()) {
            let message = format!("the header holds the key {path:?} twice, and readers disagree on which one counts");
            findings.push(Finding::new(Id::GgufDuplicate, message).at(place));
            continue;
        }
        objects.push(Object { path, value });
    }
    Ok(objects)
}

/// A name: text that is UTF-8.
fn text(window: &mut Window<'_>, what: &str) -> Result<String, Finding> {
    let place = window.at();
    String::from_utf8(strings::string(window)?.to_vec())
        .map_err(|_| Finding::new(Id::GgufInvalid, format!("{what} is not UTF-8")).at(place))
}

/// The alignment that the header says, or the usual one with a finding.
fn alignment(objects: &[Object], findings: &mut Findings) -> u64 {
    let Some(said) = objects.iter().find(|object| object.path == "general.alignment") else { return ALIGNMENT };
    let fits = |alignment: &u64| alignment.is_power_of_two() && *alignment <= limits::GGUF_ALIGNMENT;
    said.value.as_u64().filter(fits).unwrap_or_else(|| {
        let message = "general.alignment is no power of two that could be meant";
        findings.push(Finding::new(Id::GgufAlignment, message).needed("a power of two", &said.value));
        ALIGNMENT
    })
}

/// An entry of the table.
struct Entry {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
    /// Byte at which it begins.
    place: u64,
}

/// A tensor whose bytes lie in the file.
struct Placed {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    /// First byte in the file.
    offset: u64,
    bytes: u64,
}

impl Entry {
    fn read(window: &mut Window<'_>) -> Result<Entry, Finding> {
        let place = window.at();
        let name = text(window, "the name of a tensor")?;
        let dims = window.u32()?;
        if dims > DIMS {
            let message = "a tensor has more dimensions than the format allows";
            return Err(Finding::new(Id::GgufInvalid, message).at(place).tensor(name).needed("at most 4", dims));
        }
        let mut shape = (0..dims).map(|_| window.u64()).collect::<Result<Vec<u64>, Finding>>()?;
        shape.reverse();
        Ok(Entry { name, shape, kind: window.u32()?, offset: window.u64()?, place })
    }

    /// Checks it against its own sizes and the file.
    fn placed(self, data: u64, alignment: u64, size: u64) -> Result<Placed, Finding> {
        let Entry { name, shape, kind, offset, place } = self;
        let wrong = |id, message: String| Finding::new(id, message).at(place).tensor(&*name);
        let Some(dtype) = types::dtype(kind) else {
            return Err(wrong(Id::GgufType, format!("the type {kind} is unknown, or was taken out of the format")));
        };
        let (block, _) = dtype.block();
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block) {
            let message = format!("the rows of the tensor are not whole blocks of {dtype}");
            return Err(wrong(Id::GgufInvalid, message).needed(format!("a multiple of {block}"), row));
        }
        let Some(bytes) = elements(&shape).and_then(|count| dtype.bytes_of(count)) else {
            return Err(wrong(Id::GgufInvalid, format!("the shape {shape:?} has more elements than fit 64 bits")));
        };
        if !offset.is_multiple_of(alignment) {
            let message = "the tensor does not begin where the alignment allows".to_owned();
            return Err(wrong(Id::GgufAlignment, message).needed(format!("a multiple of {alignment}"), offset));
        }
        let begin = data.saturating_add(offset);
        if begin.checked_add(bytes).is_none_or(|end| end > size) {
            let found = size.saturating_sub(begin).min(bytes);
            return Err(wrong(Id::GgufTruncated, "the file ends before the tensor does".to_owned())
                .needed(format!("{bytes} bytes at byte {begin}"), format!("{found} bytes")));
        }
        Ok(Placed { name, dtype, shape, offset: begin, bytes })
    }
}

/// Tensors, in the order of their bytes, stand one after the other with nothing but padding between.
fn tiling(placed: &[Placed], data: u64, alignment: u64, size: u64, findings: &mut Findings) {
    let mut reached = data;
    for tensor in placed {
        let finding = |id, message: &str| Finding::new(id, message).at(tensor.offset).tensor(&*tensor.name);
        let next = reached.next_multiple_of(alignment);
        if tensor.offset < reached && tensor.bytes > 0 {
            findings.push(
                finding(Id::GgufOverlap, "the tensor shares bytes with the one before it")
                    .needed(format!("begin at byte {next}"), tensor.offset),
            );
        } else if tensor.offset > next {
            findings.push(
                finding(Id::GgufHole, "bytes before this tensor belong to none")
                    .needed(format!("begin at byte {next}"), tensor.offset),
            );
        }
        reached = reached.max(tensor.offset.saturating_add(tensor.bytes));
    }
    // gguf-py pads the last tensor as well, other writers do not.
    let end = reached.next_multiple_of(alignment);
    if size > end && findings.list.is_empty() {
        let message = "the file goes on after its last tensor";
        let found = format!("{} bytes more", size.saturating_sub(end));
        let finding = Finding::new(Id::GgufTrailing, message).at(end).needed("the end of the file", found);
        findings.push(finding.severity(Severity::Warning));
    }
}

#[cfg(test)]
mod tests;
