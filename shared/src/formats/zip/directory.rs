//! The central directory of a zip, read in one go.

use crate::bytes::{Cursor, ReadAt, Short};
use crate::facts::{Finding, Id, limits};

use super::Member;
use super::end::End;
use crate::formats::{Findings, unreadable};

/// Signature of an entry (APPNOTE.TXT 4.3.12).
const ENTRY: &[u8; 4] = b"PK\x01\x02";
/// The smallest entry: its fixed fields and no name.
const ENTRY_BYTES: u64 = 46;
/// Id of the extra field that holds what does not fit 32 bits (APPNOTE.TXT 4.5.3).
pub(super) const ZIP64: u16 = 1;
/// A 32-bit field that says "see the 64-bit one".
pub(super) const FULL: u32 = u32::MAX;

/// Reads every entry. `data` of the members is not known yet and stands at their headers.
pub(super) fn read(source: &dyn ReadAt, end: &End, findings: &mut Findings) -> Result<Vec<Member>, Finding> {
    if end.members > limits::ZIP_MEMBERS || end.bytes > limits::ZIP_DIRECTORY {
        return Err(Finding::new(Id::TooLarge, "the zip's central directory is too large").at(end.start).needed(
            format!("at most {} members and {} bytes", limits::ZIP_MEMBERS, limits::ZIP_DIRECTORY),
            format!("{} members and {} bytes", end.members, end.bytes),
        ));
    }
    let buffer = source.read_vec_at(end.bytes, end.start).map_err(|error| unreadable(&error, end.start))?;
    let mut cursor = Cursor::new(&buffer, end.start);
    // Never more room than the directory has bytes for.
    let room = end.members.min(end.bytes.checked_div(ENTRY_BYTES).unwrap_or(0));
    let mut members = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    while !cursor.rest().is_empty() {
        let at = cursor.offset();
        if !cursor.rest().starts_with(ENTRY) {
            findings.push(
                Finding::new(Id::ZipInvalid, "something that is no entry stands in the zip's central directory")
                    .at(at)
                    .needed(format!("{} members", end.members), format!("{} members", members.len())),
            );
            break;
        }
        match entry(&mut cursor, end, findings) {
            Ok(member) => members.push(member),
            Err(short) => {
                findings.push(
                    Finding::new(Id::ZipTruncated, format!("the zip's central directory is cut off: {short}")).at(at),
                );
                break;
            }
        }
    }
    if u64::try_from(members.len()) != Ok(end.members) {
        findings.push(
            Finding::new(Id::ZipInvalid, "the zip's end record counts other members than its directory holds")
                .at(end.start)
                .needed(end.members, members.len()),
        );
    }
    Ok(members)
}

fn entry(cursor: &mut Cursor<'_>, end: &End, findings: &mut Findings) -> Result<Member, Short> {
    let at = cursor.offset();
    // Signature, version made by, version needed.
    cursor.take(8)?;
    let flags = cursor.u16()?;
    let method = cursor.u16()?;
    // Time and date.
    cursor.take(4)?;
    let crc32 = cursor.u32()?;
    let packed = cursor.u32()?;
    let size = cursor.u32()?;
    let name_bytes = cursor.u16()?;
    let extra_bytes = cursor.u16()?;
    let comment_bytes = cursor.u16()?;
    let disk = cursor.u16()?;
    // Internal and external attributes.
    cursor.take(6)?;
    let header = cursor.u32()?;
    let name = cursor.take(u64::from(name_bytes))?;
    if flags & super::UTF8 != 0 && std::str::from_utf8(name).is_err() {
        let message = "the name of a zip member is said to be UTF-8 and is not";
        findings.push(Finding::new(Id::ZipInvalid, message).at(at));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let extra = cursor.take(u64::from(extra_bytes))?;
    cursor.take(u64::from(comment_bytes))?;
    // The 64-bit field holds only what was too large, in this order.
    let mut wide = Cursor::new(field(extra, ZIP64).unwrap_or_default(), at);
    let mut missing = false;
    let mut full = |narrow: u32| {
        let value = if narrow == FULL { wide.u64() } else { Ok(u64::from(narrow)) };
        value.unwrap_or_else(|_| {
            missing = true;
            u64::from(narrow)
        })
    };
    let (size, packed, header) = (full(size), full(packed), full(header));
    if missing {
        findings.push(
            Finding::new(Id::ZipInvalid, format!("the 64-bit sizes of the zip member {name} are missing")).at(at),
        );
    }
    if disk != 0 {
        let message = format!("the zip member {name} is said to be in another part of the archive");
        findings.push(Finding::new(Id::ZipInvalid, message).at(at).needed("part 0", disk));
    }
    if method == super::STORED && flags & super::ENCRYPTED == 0 && packed != size {
        let message = format!("the zip member {name} has two sizes, though it is not compressed");
        findings.push(Finding::new(Id::ZipInvalid, message).at(at).needed(size, packed));
    }
    if size == 0 && crc32 != 0 {
        let message = format!("the zip member {name} is empty and has the checksum of something");
        findings.push(Finding::new(Id::ZipInvalid, message).at(at).needed("00000000", format!("{crc32:08x}")));
    }
    let header = header.saturating_add(end.shift);
    Ok(Member { name, method, flags, crc32: Some(crc32), packed, size, header, data: header })
}

/// The content of the extra field of that id.
pub(super) fn field(extra: &[u8], id: u16) -> Option<&[u8]> {
    let mut cursor = Cursor::new(extra, 0);
    loop {
        let this = cursor.u16().ok()?;
        let bytes = cursor.u16().ok()?;
        let content = cursor.take(u64::from(bytes)).ok()?;
        if this == id {
            return Some(content);
        }
    }
}
