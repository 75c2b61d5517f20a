//! A bounded reader of zip archives: every member with its place, and everything that is wrong with the archive.
//!
//! Only what weights need: members are found through the central directory, each local header is read once and
//! held against it, and no member is unpacked unless asked for.

mod crc;
mod directory;
mod end;
mod local;

use std::io::Read;

use super::{Findings, unreadable};
use crate::bytes::ReadAt;
use crate::facts::{Finding, Id};

/// Compression method 0: the bytes as they are.
pub const STORED: u16 = 0;
/// Compression method 8: deflate.
pub const DEFLATED: u16 = 8;
/// Bit 0 of a member's flags: encrypted.
const ENCRYPTED: u16 = 1;
/// Bit 11 of a member's flags: its name is UTF-8.
const UTF8: u16 = 1 << 11;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name as the central directory spells it; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Compression method, [`STORED`] and [`DEFLATED`] among them.
    pub method: u16,
    /// General purpose flags.
    pub flags: u16,
    /// CRC-32 of the unpacked bytes; none where the writer took none and left 0. torch can be told to take none at all
    /// (`torch.serialization.set_crc32_options(False)`) or none of storages (`skip_data`): a 0 is a checksum like any
    /// other unless all members under `data/`, or all others, have it.
    pub crc32: Option<u32>,
    /// Bytes in the archive.
    pub packed: u64,
    /// Bytes unpacked.
    pub size: u64,
    /// Byte of the file at which the local header begins.
    pub header: u64,
    /// Byte of the file at which the data begin.
    pub data: u64,
}

impl Member {
    /// Whether the bytes of the member stand in the file as they are.
    pub fn is_plain(&self) -> bool {
        self.method == STORED && self.flags & ENCRYPTED == 0 && self.packed == self.size
    }
}

/// An archive: its members in the order of the central directory, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Archive {
    /// The members whose headers could be read.
    pub members: Vec<Member>,
    /// Damage that did not keep the members from being read.
    pub findings: Vec<Finding>,
}

/// Reads an archive's directory and every local header.
///
/// # Errors
/// What leaves no directory to read: [`Id::ZipTruncated`], [`Id::ZipInvalid`], [`Id::TooLarge`],
/// [`Id::FileUnreadable`]. All else is in [`Archive::findings`].
pub fn read(source: &dyn ReadAt) -> Result<Archive, Finding> {
    let mut findings = Findings::default();
    let end = end::find(source, &mut findings)?;
    let entries = directory::read(source, &end, &mut findings)?;
    let mut members = local::check(source, entries, &end, &mut findings)?;
    for storages in [true, false] {
        let of_kind = |member: &Member| member.size > 0 && member.name.contains("/data/") == storages;
        if members.iter().filter(|member| of_kind(member)).all(|member| member.crc32 == Some(0)) {
            members.iter_mut().filter(|member| of_kind(member)).for_each(|member| member.crc32 = None);
        }
    }
    Ok(Archive { members, findings: findings.list() })
}

pub use crc::unpacked_crc32;

impl Archive {
    /// The member of that name; the last one, if there are several, as zip readers commonly take it.
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().rev().find(|member| member.name == name)
    }
}

/// The unpacked bytes of a member of at most `limit` bytes, checked against the recorded CRC-32 if there is one.
///
/// # Errors
/// [`Id::TooLarge`] above the limit, [`Id::ZipInvalid`] for what cannot be unpacked or has another CRC-32,
/// [`Id::FileUnreadable`].
pub fn contents(source: &dyn ReadAt, member: &Member, limit: u64) -> Result<Vec<u8>, Finding> {
    let invalid = |message: String| Finding::new(Id::ZipInvalid, message).at(member.data);
    if member.size > limit || member.packed > limit {
        return Err(Finding::new(Id::TooLarge, format!("the member {} is too large", member.name))
            .at(member.header)
            .needed(format!("at most {limit} bytes"), member.size.max(member.packed)));
    }
    if member.flags & ENCRYPTED != 0 {
        return Err(invalid(format!("the member {} is encrypted", member.name)));
    }
    let packed = source.read_vec_at(member.packed, member.data).map_err(|error| unreadable(&error, member.data))?;
    let bytes = match member.method {
        STORED => packed,
        DEFLATED => {
            let mut bytes = Vec::new();
            // One byte more than announced, to see data that goes on.
            let mut unpacked = flate2::read::DeflateDecoder::new(packed.as_slice()).take(member.size.saturating_add(1));
            unpacked
                .read_to_end(&mut bytes)
                .map_err(|error| invalid(format!("the member {} cannot be unpacked: {error}", member.name)))?;
            bytes
        }
        method => return Err(invalid(format!("the member {} is packed by unknown method {method}", member.name))),
    };
    if bytes.size() != member.size {
        return Err(invalid(format!("the member {} does not have its size", member.name))
            .needed(format!("{} bytes", member.size), format!("{} bytes", bytes.size())));
    }
    let crc32 = crc32fast::hash(&bytes);
    if let Some(recorded) = member.crc32.filter(|recorded| *recorded != crc32) {
        return Err(invalid(format!("the member {} does not have the CRC-32 recorded for it", member.name))
            .needed(format!("{recorded:08x}"), format!("{crc32:08x}")));
    }
    Ok(bytes)
}

/// The first unpacked bytes of a member, at most `count` and as many as a start of its packed bytes gives.
///
/// # Errors
/// [`Id::FileUnreadable`]; what cannot be unpacked only ends the bytes.
pub fn start(source: &dyn ReadAt, member: &Member, count: u64) -> Result<Vec<u8>, Finding> {
    let packed =
        source.read_vec_at(member.packed.min(count), member.data).map_err(|error| unreadable(&error, member.data))?;
    if member.method != DEFLATED {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    let _ = flate2::read::DeflateDecoder::new(packed.as_slice()).take(count).read_to_end(&mut bytes);
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests;
