//! The local headers of a zip, held against its central directory, and the room that members take.

use std::collections::BTreeSet;

use crate::bytes::{Cursor, ReadAt, Short};
use crate::facts::{Finding, Id};

use super::Member;
use super::directory::{FULL, ZIP64, field};
use super::end::End;
use crate::formats::{Findings, unreadable};

/// Signature of a local header (APPNOTE.TXT 4.3.7).
const LOCAL: &[u8; 4] = b"PK\x03\x04";
/// Its fixed fields.
const LOCAL_BYTES: u64 = 30;
/// Bit 3 of the flags: CRC and sizes stand behind the data, and may be zero before them.
const DESCRIPTOR: u16 = 8;

/// Reads the local header of every member, fills in where its data begin, and drops the members whose header or
/// data are not in the file.
pub(super) fn check(
    source: &dyn ReadAt,
    entries: Vec<Member>,
    end: &End,
    findings: &mut Findings,
) -> Result<Vec<Member>, Finding> {
    if let Some(first) = entries.iter().map(|entry| entry.header).min().filter(|&first| first > 0) {
        findings.push(
            Finding::new(Id::ZipLeading, "bytes stand before the zip's first member; torch refuses such a file")
                .at(0)
                .needed("the first member at byte 0", format!("it at byte {first}")),
        );
    }
    let mut members = Vec::with_capacity(entries.len());
    let mut window = Window::new(source);
    for mut member in entries {
        match header(&mut window, &mut member, findings) {
            Ok(()) => members.push(member),
            Err(finding) if finding.id == Id::FileUnreadable => return Err(finding),
            Err(finding) => findings.push(finding),
        }
    }
    names(&members, findings);
    overlaps(&members, end, findings);
    Ok(members)
}

fn header(window: &mut Window<'_>, member: &mut Member, findings: &mut Findings) -> Result<(), Finding> {
    let source = window.source;
    let at = member.header;
    let outside = || {
        Finding::new(Id::ZipTruncated, format!("the zip member {} is not within the file", member.name))
            .at(at)
            .needed(format!("{} bytes", member.packed), format!("a file of {} bytes", source.size()))
    };
    // The fixed fields and, as the directory has it, the name.
    let name_bytes = u64::try_from(member.name.len()).unwrap_or(u64::MAX);
    let wanted = LOCAL_BYTES.saturating_add(name_bytes).min(source.size().saturating_sub(at));
    let buffer = window.get(at, wanted).map_err(|error| unreadable(&error, at))?;
    let mut cursor = Cursor::new(buffer, at);
    let fields = Fields::read(&mut cursor).map_err(|_| outside())?;
    if fields.signature != *LOCAL {
        let message = format!("the zip member {} does not begin with a local header", member.name);
        return Err(Finding::new(Id::ZipInvalid, message).at(at));
    }
    let mut differs = |what: &str, here: &dyn std::fmt::Display, there: &dyn std::fmt::Display| {
        let message =
            format!("the local header of the zip member {} has another {what} than the directory", member.name);
        findings.push(Finding::new(Id::ZipMismatch, message).at(at).needed(there, here));
    };
    if member.name.contains(char::REPLACEMENT_CHARACTER) {
        // Bytes that are no UTF-8 have become longer.
        let place = at.saturating_add(LOCAL_BYTES);
        let bytes = source.read_vec_at(u64::from(fields.name_bytes), place).map_err(|_| outside())?;
        let name = String::from_utf8_lossy(&bytes);
        if name != member.name {
            differs("name", &name, &member.name);
        }
    } else {
        let name = String::from_utf8_lossy(cursor.rest());
        if u64::from(fields.name_bytes) != name_bytes || name != member.name {
            differs("name", &name, &member.name);
        }
    }
    if fields.flags != member.flags {
        differs("set of flags", &fields.flags, &member.flags);
    }
    if fields.method != member.method {
        differs("method", &fields.method, &member.method);
    }
    let (mut packed, mut size) = (u64::from(fields.packed), u64::from(fields.size));
    if (fields.packed == FULL || fields.size == FULL) && fields.extra_bytes > 0 {
        let place = at.saturating_add(LOCAL_BYTES).saturating_add(u64::from(fields.name_bytes));
        let extra = source.read_vec_at(u64::from(fields.extra_bytes), place).map_err(|_| outside())?;
        let mut wide = Cursor::new(field(&extra, ZIP64).unwrap_or_default(), place);
        size = wide.u64().unwrap_or(size);
        packed = wide.u64().unwrap_or(packed);
    }
    let later = fields.flags & DESCRIPTOR != 0;
    for (what, here, there) in [
        ("CRC-32", u64::from(fields.crc32), u64::from(member.crc32.unwrap_or(0))),
        ("packed size", packed, member.packed),
        ("size", size, member.size),
    ] {
        if here != there && !(later && here == 0) {
            differs(what, &here, &there);
        }
    }
    let data = at
        .checked_add(LOCAL_BYTES)
        .and_then(|byte| byte.checked_add(u64::from(fields.name_bytes)))
        .and_then(|byte| byte.checked_add(u64::from(fields.extra_bytes)))
        .filter(|byte| byte.checked_add(member.packed).is_some_and(|end| end <= source.size()))
        .ok_or_else(outside)?;
    member.data = data;
    Ok(())
}

/// Reads that come close one after another, done as fewer larger ones: many small members cost a read each only
/// where they are large.
struct Window<'s> {
    source: &'s dyn ReadAt,
    buffer: Vec<u8>,
    start: u64,
}

impl<'s> Window<'s> {
    /// How far the next header may be for the bytes between to be read as well.
    const NEAR: u64 = 4096;
    /// How much is then read at once.
    const AHEAD: u64 = 65_536;

    fn new(source: &'s dyn ReadAt) -> Window<'s> {
        Window { source, buffer: Vec::new(), start: 0 }
    }

    fn get(&mut self, at: u64, count: u64) -> std::io::Result<&[u8]> {
        let end = self.start.saturating_add(self.buffer.size());
        if at < self.start || at.saturating_add(count) > end {
            let near = at >= self.start && at.saturating_sub(end) < Self::NEAR;
            let left = self.source.size().saturating_sub(at);
            let wanted = if near { count.max(Self::AHEAD.min(left)) } else { count };
            self.buffer = self.source.read_vec_at(wanted, at)?;
            self.start = at;
        }
        let range = at.checked_sub(self.start).and_then(|start| {
            let start = usize::try_from(start).ok()?;
            Some(start..start.checked_add(usize::try_from(count).ok()?)?)
        });
        range.and_then(|range| self.buffer.get(range)).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// The fixed fields of a local header, in their order; times and the version needed are passed over.
struct Fields {
    signature: [u8; 4],
    flags: u16,
    method: u16,
    crc32: u32,
    packed: u32,
    size: u32,
    name_bytes: u16,
    extra_bytes: u16,
}

impl Fields {
    fn read(cursor: &mut Cursor<'_>) -> Result<Fields, Short> {
        let signature = cursor.array()?;
        cursor.take(2)?;
        let flags = cursor.u16()?;
        let method = cursor.u16()?;
        cursor.take(4)?;
        Ok(Fields {
            signature,
            flags,
            method,
            crc32: cursor.u32()?,
            packed: cursor.u32()?,
            size: cursor.u32()?,
            name_bytes: cursor.u16()?,
            extra_bytes: cursor.u16()?,
        })
    }
}

fn names(members: &[Member], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for member in members {
        if !seen.insert(member.name.as_str()) {
            findings.push(
                Finding::new(Id::ZipDuplicate, format!("the zip holds the member {} more than once", member.name))
                    .at(member.header),
            );
        }
    }
}

fn overlaps(members: &[Member], end: &End, findings: &mut Findings) {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| (member.header, member.data));
    let starts =
        order.iter().skip(1).map(|next| (next.header, next.name.as_str())).chain([(end.start, "the directory")]);
    for (member, (next, name)) in order.iter().zip(starts) {
        let stop = member.data.saturating_add(member.packed);
        if stop > next {
            findings.push(
                Finding::new(Id::ZipOverlap, format!("the zip member {} reaches into {name}", member.name))
                    .at(member.header)
                    .needed(format!("its end before byte {next}"), format!("byte {stop}")),
            );
        }
    }
}
