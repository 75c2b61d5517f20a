//! The stream of pickles that torch wrote before version 1.6: a magic number, a protocol, what the machine was like,
//! the object, the keys of the storages; then each storage, its element count before it (`torch/serialization.py`,
//! `_legacy_save`). The data are little-endian whatever the machine was.

use crate::bytes::{Cursor, ReadAt};
use crate::facts::{FileId, Finding, Id, Severity, limits};
use crate::formats::pickle::{self, Node, Pickle, Value};
use crate::formats::{Container, Findings, unreadable};

use super::interpret;
use super::storages::{Place, Storages};
use super::tensor::Origin;

/// `MAGIC_NUMBER`, in decimal digits as the machine gives integers beyond 64 bits.
const MAGIC: &str = "119547037146038801333356";
/// How a file begins: a pickle of protocol 2 or later that pushes a ten-byte integer, the magic number.
const START: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Bytes that are read first; the pickles of most files fit.
const FIRST: u64 = 1 << 20;

/// Whether a file begins (its first 32 bytes are enough) as one of torch's files of before version 1.6.
pub fn is_legacy(start: &[u8]) -> bool {
    let [0x80, _, rest @ ..] = start else { return false };
    // Since protocol 4 a frame of so many bytes may come first.
    let framed = rest.strip_prefix(&[0x95]).and_then(|rest| rest.get(8..));
    rest.starts_with(&START) || framed.is_some_and(|rest| rest.starts_with(&START))
}

/// Reads the geometry of such a file.
pub(super) fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    // Where the pickles end is known only when they are read: take more until they fit.
    let most = source.size().min(limits::PICKLE);
    let mut count = FIRST.min(most);
    loop {
        let bytes = source.read_vec_at(count, 0).map_err(|error| unreadable(&error, 0))?;
        match parse(source, file, &bytes) {
            Err(_) if count < most => count = count.saturating_mul(8).min(most),
            done => return done,
        }
    }
}

fn parse(source: &dyn ReadAt, file: FileId, bytes: &[u8]) -> Result<Container, Finding> {
    let mut cursor = Cursor::new(bytes, 0);
    let invalid = |message: &str, at: u64| Finding::new(Id::PickleInvalid, message).at(at);
    let (magic, root) = pickle::read(&mut cursor)?;
    if !matches!(magic.get(root), Value::Big(digits) if digits == MAGIC) {
        return Err(invalid("the magic number of torch's old format is wrong", 0));
    }
    let at = cursor.offset();
    let (protocol, root) = pickle::read(&mut cursor)?;
    if protocol.int(root) != Some(1001) {
        return Err(invalid("the file is of an unknown version of torch's old format", at));
    }
    pickle::read(&mut cursor)?;
    let (object, root) = pickle::read(&mut cursor)?;
    let at = cursor.offset();
    let (list, keys) = pickle::read(&mut cursor)?;
    let keys = list.sequence(keys).ok_or_else(|| invalid("the list of storages is none", at))?;

    let mut storages = Storages::of(&object);
    let mut findings = Findings::default();
    findings
        .push(Finding::new(Id::TorchLegacy, "the file is in the format of before torch 1.6, which cannot be mapped"));
    place(source, &mut storages, (&list, keys), cursor.offset(), &mut findings)?;
    Ok(interpret(&object, root, storages, Origin { file, big_endian: false }, findings))
}

/// Finds each storage behind the pickles, in the order of the list.
fn place(
    source: &dyn ReadAt,
    storages: &mut Storages,
    (list, keys): (&Pickle<'_>, &[Node]),
    start: u64,
    findings: &mut Findings,
) -> Result<(), Finding> {
    for entry in &mut storages.entries {
        entry.place = Place::Absent("its storage is not in the file".to_owned());
    }
    let mut at = start;
    for key in keys {
        let name = list.str(*key).unwrap_or_default();
        let Some(entry) = storages.by_key(name) else {
            let message = format!("the storage {name} is listed, but nothing says what its elements are");
            return Err(Finding::new(Id::PickleInvalid, message).at(start));
        };
        let cut = |needed: u64| {
            Finding::new(Id::TorchStorageShort, format!("the file is cut off in the storage {name}"))
                .at(at)
                .needed(format!("{needed} bytes"), format!("{} bytes", source.size().saturating_sub(at)))
        };
        let Ok(count) = source.read_vec_at(8, at) else {
            findings.push(cut(8));
            return Ok(());
        };
        let count = Cursor::new(&count, at).u64().unwrap_or(u64::MAX);
        let bytes = count.checked_mul(entry.item).filter(|_| i64::try_from(count).is_ok());
        let bytes = bytes.ok_or_else(|| {
            Finding::new(Id::PickleInvalid, format!("the storage {name} has a senseless size")).at(at)
        })?;
        let offset = at.saturating_add(8);
        let left = source.size().saturating_sub(offset);
        entry.place = Place::File { offset, bytes: bytes.min(left), crc32: None };
        if bytes > left {
            findings.push(cut(bytes.saturating_add(8)));
            return Ok(());
        }
        at = offset.saturating_add(bytes);
    }
    if at < source.size() {
        let message = format!("{} bytes follow the last storage", source.size().saturating_sub(at));
        findings.push(Finding::new(Id::PickleInvalid, message).at(at).severity(Severity::Warning));
    }
    Ok(())
}
