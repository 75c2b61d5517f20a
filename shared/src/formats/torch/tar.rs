//! The tar that torch wrote in 2016, before the stream of pickles: `storages`, `tensors` and `pickle`, which refers to
//! tensors by their keys (`torch/serialization.py`, `legacy_load`).

use std::collections::HashMap;

use crate::bytes::{Cursor, Part, ReadAt};
use crate::facts::{FileId, Finding, Id, limits};
use crate::formats::pickle::{self, Node, Pickle, Value};
use crate::formats::tar::{Archive, Member};
use crate::formats::{Container, Findings, unreadable};

use super::interpret_keyed;
use super::storages::{Place, Reference, Storages, storage_dtype};
use super::tensor::{Origin, View};

/// Bytes that are read first of a pickle; those before storages and tensors have a hundred.
const FIRST: u64 = 4096;

/// Whether a tar is one of torch.
pub(in crate::formats) fn is_archive(archive: &Archive) -> bool {
    ["storages", "tensors", "pickle"].iter().all(|name| archive.find(name).is_some())
}

/// Reads the geometry of such a tar.
///
/// # Errors
/// [`Id::PickleInvalid`], [`Id::TarInvalid`], [`Id::TooLarge`] where members are not what torch wrote.
pub(in crate::formats) fn read(source: &dyn ReadAt, archive: &Archive, file: FileId) -> Result<Container, Finding> {
    let mut findings = Findings::default();
    archive.findings.iter().cloned().for_each(|finding| findings.push(finding));
    findings.push(Finding::new(
        Id::TorchLegacy,
        "the file is a tar, as torch wrote them in 2016; newer ones load it only with weights_only=False",
    ));
    let open = |name: &str| -> Result<Stream<'_>, Finding> {
        let missing = || Finding::new(Id::TarInvalid, format!("the tar lacks the member {name}"));
        let &Member { data, size, .. } = archive.find(name).ok_or_else(missing)?;
        let part = Part::new(source, data, size).map_err(|error| unreadable(&error, data))?;
        Ok(Stream { part, base: data, at: 0, name: name.to_owned() })
    };
    let mut storages = Storages::default();
    let by_key = read_storages(&mut open("storages")?, &mut storages)?;
    let tensors = read_tensors(&mut open("tensors")?, &by_key)?;
    let member = open("pickle")?;
    let count = member.part.size().min(limits::PICKLE);
    let bytes = member.part.read_vec_at(count, 0).map_err(|error| unreadable(&error, member.base))?;
    let (pickle, root) = pickle::read(&mut Cursor::new(&bytes, member.base))?;
    let origin = Origin { file, big_endian: false };
    Ok(interpret_keyed(&pickle, root, storages, origin, findings, tensors))
}

/// Pickles and numbers, one after another, in a member.
struct Stream<'s> {
    part: Part<'s>,
    /// Byte of the file at which the member begins.
    base: u64,
    /// Byte of the member at which the next read begins.
    at: u64,
    name: String,
}

impl Stream<'_> {
    fn place(&self) -> u64 {
        self.base.saturating_add(self.at)
    }

    fn wrong(&self, what: &str) -> Finding {
        Finding::new(Id::TarInvalid, format!("the member {} {what}", self.name)).at(self.place())
    }

    /// Reads the next pickle and takes from it what is wanted.
    fn pickle<T>(&mut self, take: impl Fn(&Pickle<'_>, Node) -> Option<T>) -> Result<T, Finding> {
        let left = self.part.size().saturating_sub(self.at).min(limits::PICKLE);
        let mut count = FIRST.min(left);
        loop {
            let bytes = self.part.read_vec_at(count, self.at).map_err(|error| unreadable(&error, self.place()))?;
            let mut cursor = Cursor::new(&bytes, self.place());
            match pickle::read(&mut cursor) {
                Ok((pickle, root)) => {
                    let taken = take(&pickle, root).ok_or_else(|| self.wrong("does not say what torch says there"))?;
                    self.at = cursor.offset().saturating_sub(self.base);
                    return Ok(taken);
                }
                Err(_) if count < left => count = count.saturating_mul(8).min(left),
                Err(finding) => return Err(finding),
            }
        }
    }

    /// Reads a number of things that follow.
    fn count(&mut self) -> Result<usize, Finding> {
        let count = self.pickle(|pickle, root| usize::try_from(pickle.int(root)?).ok())?;
        if count > limits::TENSORS {
            let finding = Finding::new(Id::TooLarge, format!("the member {} promises too much", self.name));
            return Err(finding.at(self.place()).needed(format!("at most {}", limits::TENSORS), count));
        }
        Ok(count)
    }

    /// Reads `count` numbers of 64 bits that are not negative.
    fn numbers(&mut self, count: u64) -> Result<Vec<u64>, Finding> {
        let short = || self.wrong("ends too soon");
        let bytes = count.checked_mul(8).ok_or_else(short)?;
        let read = self.part.read_vec_at(bytes, self.at).map_err(|_| short())?;
        let mut cursor = Cursor::new(&read, self.place());
        let numbers: Option<Vec<u64>> =
            (0..count).map(|_| cursor.u64().ok().filter(|&number| i64::try_from(number).is_ok())).collect();
        let numbers = numbers.ok_or_else(|| self.wrong("has a negative size"))?;
        self.at = self.at.saturating_add(bytes);
        Ok(numbers)
    }
}

/// A key: a pointer's digits, however they are spelt.
fn key_of(pickle: &Pickle<'_>, node: Node) -> Option<String> {
    match pickle.get(node) {
        Value::Str(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Big(digits) => Some(digits.clone()),
        _ => None,
    }
}

/// `n`, then of each storage its key, place and class, its number of elements, its elements; then the storages that are
/// parts of others.
fn read_storages(stream: &mut Stream<'_>, storages: &mut Storages) -> Result<HashMap<String, Reference>, Finding> {
    let mut by_key = HashMap::new();
    for _ in 0..stream.count()? {
        let (key, dtype) = stream.pickle(|pickle, root| {
            let [key, _, class, ..] = pickle.sequence(root)? else { return None };
            Some((key_of(pickle, *key)?, storage_dtype(pickle, *class)?))
        })?;
        let count = stream.numbers(1)?.first().copied().unwrap_or(0);
        let item = dtype.and_then(crate::facts::Dtype::item_bytes).unwrap_or(1);
        let bytes = count.checked_mul(item).ok_or_else(|| stream.wrong("has a storage without end"))?;
        let left = stream.part.size().saturating_sub(stream.at);
        if bytes > left {
            let finding = Finding::new(Id::TorchStorageShort, format!("the tar is cut off in the storage {key}"));
            return Err(finding.at(stream.place()).needed(format!("{bytes} bytes"), format!("{left} bytes")));
        }
        let place = Place::File { offset: stream.place(), bytes, crc32: None };
        by_key.insert(key.clone(), storages.insert(key, bytes, dtype, place));
        stream.at = stream.at.saturating_add(bytes);
    }
    let views = stream.pickle(|pickle, root| {
        let view = |node: &Node| {
            let [target, root, start, _] = pickle.sequence(*node)? else { return None };
            Some((key_of(pickle, *target)?, key_of(pickle, *root)?, u64::try_from(pickle.int(*start)?).ok()?))
        };
        pickle.sequence(root)?.iter().map(view).collect::<Option<Vec<_>>>()
    })?;
    for (target, root, start) in views {
        let whole = by_key.get(&root).copied().ok_or_else(|| stream.wrong("has a part of no storage"))?;
        let item = whole.dtype.and_then(crate::facts::Dtype::item_bytes).unwrap_or(1);
        let skip = start.checked_mul(item).and_then(|bytes| bytes.checked_add(whole.skip));
        let skip = skip.ok_or_else(|| stream.wrong("has a part beyond any storage"))?;
        by_key.insert(target, Reference { skip, ..whole });
    }
    Ok(by_key)
}

/// `n`, then of each tensor its key, its storage and class; its number of dimensions, its sizes, strides and offset.
fn read_tensors(
    stream: &mut Stream<'_>,
    storages: &HashMap<String, Reference>,
) -> Result<HashMap<String, View>, Finding> {
    let mut tensors = HashMap::new();
    for _ in 0..stream.count()? {
        let (key, storage) = stream.pickle(|pickle, root| {
            let [key, storage, ..] = pickle.sequence(root)? else { return None };
            Some((key_of(pickle, *key)?, key_of(pickle, *storage)?))
        })?;
        // Four bytes of padding follow: once it was a number of eight.
        let dims = stream.numbers(1)?.first().map_or(0, |dims| dims & u64::from(u32::MAX));
        if dims > u64::try_from(limits::DIMS).unwrap_or(u64::MAX) {
            return Err(Finding::new(Id::TooLarge, format!("a tensor has {dims} dimensions")).at(stream.place()));
        }
        let (shape, strides) = (stream.numbers(dims)?, stream.numbers(dims)?);
        let start = stream.numbers(1)?.first().copied().unwrap_or(0);
        let reference = *storages.get(&storage).ok_or_else(|| stream.wrong("names a storage that is not there"))?;
        let Some(dtype) = reference.dtype else { return Err(stream.wrong("has a tensor without a dtype")) };
        let view = View { reference, dtype, start, shape, strides, conj: false, neg: false };
        tensors.insert(key, view);
    }
    Ok(tensors)
}
