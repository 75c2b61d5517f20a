//! What holds pickles as members: zips, numpy's arrays of objects, tars, gzip.

use std::collections::HashSet;
use std::io::Read;

use crate::bytes::{Cursor, ReadAt};
use crate::facts::{Finding, Id, Severity, limits};
use crate::formats::tar;
use crate::formats::zip::{self, Member};

use super::{BEHIND, PICKLES, Place, Scan};

/// A part of a source.
pub(super) struct Window<'s> {
    source: &'s dyn ReadAt,
    start: u64,
    size: u64,
}

impl<'s> Window<'s> {
    pub(super) fn new(source: &'s dyn ReadAt, start: u64, size: u64) -> Window<'s> {
        let start = start.min(source.size());
        Window { source, start, size: size.min(source.size().saturating_sub(start)) }
    }
}

impl ReadAt for Window<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let count = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if offset.checked_add(count).is_none_or(|end| end > self.size) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buffer, self.start.saturating_add(offset))
    }
}

/// Method of a member whose bytes stand in the file as they are.
const STORED: u16 = 0;
/// Bit 0 of a member's flags.
const ENCRYPTED: u16 = 1;
/// Signature of a local header, and the bytes of its fixed fields (APPNOTE.TXT 4.3.7).
const LOCAL: &[u8; 4] = b"PK\x03\x04";
/// Bytes of a tar's block.
const BLOCK: u64 = 512;

impl Scan {
    /// Zips; several may stand one after another in a file, as torch.distributed writes them.
    pub(super) fn zip(&mut self, source: &dyn ReadAt, place: &Place) {
        let mut size = source.size();
        loop {
            let whole = Window::new(source, 0, size);
            let start = self.last_zip(&whole, place);
            let before = start.filter(|&start| start > 0 && start < size);
            match before
                .and_then(|start| Some((start, source.read_vec_at(LOCAL.as_slice().size().min(start), 0).ok()?)))
            {
                Some((start, head)) if head == LOCAL => size = start,
                _ => return,
            }
        }
    }

    /// The zip that ends where the source does; gives the byte at which it begins.
    fn last_zip(&mut self, source: &dyn ReadAt, place: &Place) -> Option<u64> {
        let members = match zip::read(source) {
            Ok(archive) => {
                let odd = [Id::ZipMismatch, Id::ZipOverlap, Id::ZipDuplicate];
                for finding in archive.findings.into_iter().filter(|finding| odd.contains(&finding.id)) {
                    self.say(place, finding);
                }
                archive.members
            }
            // Programs that mend zips read on from header to header; so does this.
            Err(finding) => {
                self.say(place, finding);
                local_members(source)
            }
        };
        let roots: HashSet<&str> = members.iter().filter_map(|member| member.name.strip_suffix("/data.pkl")).collect();
        // The bytes of torch's storages, which nothing takes for anything else.
        let is_storage = |name: &str| {
            let (root, key) = name.rsplit_once("/data/").unwrap_or_default();
            !key.is_empty() && !key.contains('/') && roots.contains(root)
        };
        for member in members.iter().filter(|member| member.size > 0 && !is_storage(&member.name)) {
            self.member(source, member, place);
        }
        members.iter().map(|member| member.header).min()
    }

    fn member(&mut self, source: &dyn ReadAt, member: &Member, place: &Place) {
        let encrypted = member.flags & ENCRYPTED != 0;
        if member.method == STORED {
            let inside = place.member(&member.name, place.base.saturating_add(member.data));
            let before = (self.findings.list.len(), self.findings.more);
            self.any(&Window::new(source, member.data, member.packed), &inside);
            // Some readers do not care for the flag; only if it is true can nothing be seen.
            if encrypted && (self.findings.list.len(), self.findings.more) == before {
                self.closed(member, place, "is encrypted");
            }
            return;
        }
        let inside = place.member(&member.name, 0);
        // Whoever unpickles a member does not always look at its CRC-32.
        let member = Member { crc32: None, flags: member.flags & !ENCRYPTED, ..member.clone() };
        self.unpacked = self.unpacked.saturating_add(member.size);
        if self.unpacked > limits::PICKLES_UNPACKED {
            let message = "the archive unpacks to more than is looked at";
            let finding = Finding::new(Id::PickleBomb, message).at(member.header);
            return self.say(&inside, finding.needed(limits::PICKLES_UNPACKED, self.unpacked));
        }
        match zip::contents(source, &member, limits::PICKLES_UNPACKED) {
            Ok(bytes) => self.any(&bytes, &inside),
            Err(_) if encrypted => self.closed(&member, place, "is encrypted"),
            Err(_) => self.closed(&member, place, "cannot be unpacked"),
        }
    }

    fn closed(&mut self, member: &Member, place: &Place, why: &str) {
        let message = format!("the member {} {why}; what is in it was not judged", member.name);
        let finding = Finding::new(Id::PickleUnscanned, message).at(member.header);
        self.say(place, finding);
    }

    /// numpy's array file: arrays of objects are pickled behind the header.
    pub(super) fn npy(&mut self, source: &dyn ReadAt, place: &Place) {
        let Some((header, data)) = npy_header(source) else {
            let message = "the header of the array is broken; what is behind it was not judged";
            return self.say(place, Finding::new(Id::PickleUnscanned, message).at(place.base));
        };
        let objects = header.windows(2).any(|pair| matches!(pair, [b'|' | b'\'' | b'"', b'O']));
        if !objects {
            return;
        }
        let rest = Window::new(source, data, u64::MAX);
        let firm = header.windows(3).any(|three| matches!(three, [b'|', b'O', b'\'' | b'"']));
        let inside = Place { base: place.base.saturating_add(data), ..place.clone() };
        self.pickles(&rest, &inside, PICKLES, firm);
    }

    pub(super) fn gzip(&mut self, source: &dyn ReadAt, place: &Place) {
        let left = limits::PICKLES_UNPACKED.saturating_sub(self.unpacked);
        // What is packed a thousand to one and more is not held in memory to be looked at.
        let most = left.min(1 << 28);
        let Ok(packed) = source.read_vec_at(source.size().min(most), 0) else { return };
        let mut bytes = Vec::new();
        let unpacked = flate2::read::MultiGzDecoder::new(packed.as_slice()).take(most).read_to_end(&mut bytes);
        self.unpacked = self.unpacked.saturating_add(bytes.size());
        let inside = place.member("what gzip packed", 0);
        if unpacked.is_err() || bytes.size() >= most {
            let message = "what gzip packed was not unpacked to its end";
            let finding = Finding::new(Id::PickleUnscanned, message).at(place.base);
            self.say(place, finding.severity(Severity::Note));
        }
        if !bytes.is_empty() {
            self.any(&bytes, &inside);
        }
    }

    pub(super) fn tar(&mut self, source: &dyn ReadAt, place: &Place) {
        // torch's tars of 2016 hold files of many pickles with storages between them.
        let place = &Place { series: true, ..place.clone() };
        let found = tar::read(source).map(|archive| archive.members).unwrap_or_default();
        let known = found.into_iter().map(|member| (member.name, member.data, member.size));
        // Who knows nothing of pax, or minds no checksum, finds other members: those are looked at as well.
        let plain = plain_members(source);
        let mut seen = HashSet::new();
        for (name, data, size) in known.chain(plain) {
            if size > 0 && seen.insert((data, size)) {
                let inside = place.member(&name, place.base.saturating_add(data));
                self.any(&Window::new(source, data, size), &inside);
            }
        }
    }
}

/// Members of a tar by nothing but names and sizes: name, first byte, bytes.
fn plain_members(source: &dyn ReadAt) -> Vec<(String, u64, u64)> {
    let mut members = Vec::new();
    let mut at = 0u64;
    while members.len() < limits::TAR_MEMBERS {
        let Ok(block) = source.read_vec_at(BLOCK, at) else { break };
        let Some((name, size)) = tar_header(&block) else { break };
        let data = at.saturating_add(BLOCK);
        members.push((name, data, size));
        at = data.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    members
}

/// The header's text, and where the data begin.
fn npy_header(source: &dyn ReadAt) -> Option<(Vec<u8>, u64)> {
    let start = source.read_vec_at(12.min(source.size()), 0).ok()?;
    let mut cursor = Cursor::new(&start, 0);
    cursor.take(6).ok()?;
    let [major, _] = cursor.array::<2>().ok()?;
    let length = if major < 2 { u64::from(cursor.u16().ok()?) } else { u64::from(cursor.u32().ok()?) };
    let data = cursor.offset().checked_add(length)?;
    // numpy itself refuses longer ones unless told otherwise.
    let header = source.read_vec_at(length.min(1 << 20), cursor.offset()).ok()?;
    Some((header, data))
}

/// Name and size in a header of a tar; none at its end.
fn tar_header(block: &[u8]) -> Option<(String, u64)> {
    let name = block.get(..100)?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(name.get(..end)?).into_owned();
    let field = block.get(124..136)?;
    let size = match field {
        // GNU's form for sizes beyond eight gigabytes.
        [0x80, rest @ ..] => {
            rest.iter().try_fold(0u64, |size, &byte| Some(size.checked_mul(256)? | u64::from(byte)))?
        }
        octal => {
            let text = std::str::from_utf8(octal).ok()?.trim_matches(['\0', ' ']);
            if text.is_empty() { 0 } else { u64::from_str_radix(text, 8).ok()? }
        }
    };
    (!name.is_empty()).then_some((name, size))
}

/// Members by their local headers alone, one after another, as long as that goes.
fn local_members(source: &dyn ReadAt) -> Vec<Member> {
    let mut members = Vec::new();
    let mut at = 0u64;
    while let Some(member) = local_member(source, at) {
        at = member.data.saturating_add(member.packed);
        members.push(member);
    }
    members
}

/// Bytes from `at` to the next header or descriptor of a zip, or to the end of what is looked at.
fn next_signature(source: &dyn ReadAt, at: u64) -> Option<u64> {
    let bytes = source.read_vec_at(BEHIND.min(source.size().saturating_sub(at)), at).ok()?;
    let is_signature = |four: &[u8]| matches!(four, [b'P', b'K', 1, 2] | [b'P', b'K', 3, 4] | [b'P', b'K', 7, 8]);
    let place = bytes.windows(4).position(is_signature).unwrap_or(bytes.len());
    u64::try_from(place).ok()
}

fn local_member(source: &dyn ReadAt, header: u64) -> Option<Member> {
    let fixed = source.read_vec_at(30, header).ok()?;
    let mut cursor = Cursor::new(&fixed, header);
    if cursor.take(4).ok()? != LOCAL {
        return None;
    }
    cursor.take(2).ok()?;
    let (flags, method) = (cursor.u16().ok()?, cursor.u16().ok()?);
    cursor.take(4).ok()?;
    let (crc32, packed, size) = (cursor.u32().ok()?, cursor.u32().ok()?, cursor.u32().ok()?);
    let (name_bytes, extra_bytes) = (u64::from(cursor.u16().ok()?), u64::from(cursor.u16().ok()?));
    let name = source.read_vec_at(name_bytes, cursor.offset()).ok()?;
    let data = cursor.offset().checked_add(name_bytes)?.checked_add(extra_bytes)?;
    let left = source.size().checked_sub(data)?;
    // Sizes that stand behind the data are not known here: they end at the next signature.
    let unknown = packed == 0 || packed == u32::MAX;
    let packed = if unknown { next_signature(source, data)? } else { u64::from(packed).min(left) };
    let size = if method == STORED { packed } else { u64::from(size) };
    let name = String::from_utf8_lossy(&name).into_owned();
    let crc32 = Some(crc32).filter(|crc32| *crc32 != 0);
    Some(Member { name, method, flags, crc32, packed, size, header, data })
}
