//! The end of a zip: the end-of-central-directory record, and its 64-bit form where there is one.

use crate::bytes::{Cursor, ReadAt, Short};
use crate::facts::{Finding, Id};

use crate::formats::{Findings, unreadable};

// Signatures and sizes are those of PKWARE's APPNOTE.TXT 6.3, sections 4.3.14 to 4.3.16.
const END: &[u8; 4] = b"PK\x05\x06";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR64: &[u8; 4] = b"PK\x06\x07";
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const LOCATOR64_BYTES: u64 = 20;
/// The longest comment, which may stand between the record and the end of the file.
const COMMENT: u64 = 0xffff;
/// Where the end record is looked for first.
const NEAR: u64 = 1024;

/// Where the central directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Members it lists.
    pub members: u64,
    /// Byte of the file at which it begins.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes that were put before the archive after it was written: offsets in it are short by these.
    pub shift: u64,
}

/// Finds the end record and what it says of the central directory.
pub(super) fn find(source: &dyn ReadAt, findings: &mut Findings) -> Result<End, Finding> {
    let size = source.size();
    let mut broken = None;
    // Nearly every archive has no comment: its record is found near the end, without reading all that a comment may take.
    for window in [NEAR, COMMENT.saturating_add(END_BYTES)] {
        let window = size.min(window);
        let base = size.saturating_sub(window);
        let tail = source.read_vec_at(window, base).map_err(|error| unreadable(&error, base))?;
        // From the end backwards: a comment may hold the signature, so only a record that makes sense counts.
        for (at, _) in tail.windows(4).enumerate().rev().filter(|(_, bytes)| bytes == END) {
            let at = base.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
            match parse(source, at) {
                Ok((end, after, doubts)) => {
                    if size > after {
                        let left = size.saturating_sub(after);
                        let message = format!("{left} bytes follow the end of the zip");
                        findings.push(
                            Finding::new(Id::ZipInvalid, message).at(after).severity(crate::facts::Severity::Warning),
                        );
                    }
                    for doubt in doubts {
                        findings.push(doubt);
                    }
                    return Ok(end);
                }
                Err(finding) => broken = broken.or(Some(finding)),
            }
        }
    }
    Err(broken.unwrap_or_else(|| {
        Finding::new(Id::ZipTruncated, "the zip has no central directory at its end: the file is cut off")
            .at(size)
            .needed("an end-of-central-directory record", "none")
    }))
}

/// Reads the end record at byte `at`; also gives the byte after its comment and what is doubtful about it.
fn parse(source: &dyn ReadAt, at: u64) -> Result<(End, u64, Vec<Finding>), Finding> {
    let cut = |short: Short| Finding::new(Id::ZipTruncated, format!("the zip's end is cut off: {short}")).at(at);
    let invalid = |message: &str| Finding::new(Id::ZipInvalid, message).at(at);
    let record = source
        .read_vec_at(END_BYTES.min(source.size().saturating_sub(at)), at)
        .map_err(|error| unreadable(&error, at))?;
    let mut cursor = Cursor::new(&record, at);
    cursor.take(4).map_err(cut)?;
    let disk = cursor.u16().map_err(cut)?;
    let directory_disk = cursor.u16().map_err(cut)?;
    let members_here = cursor.u16().map_err(cut)?;
    let members = cursor.u16().map_err(cut)?;
    let bytes = cursor.u32().map_err(cut)?;
    let start = cursor.u32().map_err(cut)?;
    let comment = cursor.u16().map_err(cut)?;
    let after = at.saturating_add(END_BYTES).saturating_add(u64::from(comment));
    if after > source.size() {
        return Err(Finding::new(Id::ZipTruncated, "the zip's comment is cut off").at(at));
    }
    let mut doubts = Vec::new();
    let wide = wide(source, at, &mut doubts)?;
    if wide.is_none() && (disk != 0 || directory_disk != 0 || members_here != members) {
        return Err(invalid("the zip is one part of several"));
    }
    // What a part's number says where the 64-bit record says none is a contradiction; all ones mean "see there".
    if [disk, directory_disk].iter().any(|number| !matches!(*number, 0 | u16::MAX)) {
        doubts.push(invalid("the zip's end record says that it is one part of several"));
    }
    let narrow = (u64::from(members), u64::from(bytes), u64::from(start));
    let (members, bytes, start, directory_end, said) = match wide {
        Some((members, bytes, start, end, said)) => {
            // What the narrow record can hold it should say as well.
            let agree = |narrow: u64, full: u64, wide: u64| narrow == full || narrow == wide;
            if !(agree(narrow.0, 0xffff, members)
                && agree(narrow.1, 0xffff_ffff, bytes)
                && agree(narrow.2, 0xffff_ffff, start))
            {
                doubts.push(invalid("the zip's end record disagrees with its 64-bit form"));
            }
            (members, bytes, start, end, Some(said))
        }
        None => (narrow.0, narrow.1, narrow.2, at, None),
    };
    // The directory ends where the end records begin; if it does not, bytes were put before the archive.
    let shift = start
        .checked_add(bytes)
        .and_then(|end| directory_end.checked_sub(end))
        .ok_or_else(|| Finding::new(Id::ZipTruncated, "the zip's central directory begins beyond its end").at(at))?;
    if said.is_some_and(|said| said.saturating_add(shift) != directory_end) {
        doubts.push(invalid("the zip's 64-bit end record is not where its locator says"));
    }
    Ok((End { members, start: start.saturating_add(shift), bytes, shift }, after, doubts))
}

/// Members, bytes, start and own place of the 64-bit end record that belongs to the end record at `at`, and the place
/// that its locator gives it.
type Wide = Option<(u64, u64, u64, u64, u64)>;

fn wide(source: &dyn ReadAt, at: u64, doubts: &mut Vec<Finding>) -> Result<Wide, Finding> {
    let Some(place) = at.checked_sub(LOCATOR64_BYTES) else { return Ok(None) };
    let locator = source.read_vec_at(LOCATOR64_BYTES, place).map_err(|error| unreadable(&error, place))?;
    let mut cursor = Cursor::new(&locator, place);
    let cut =
        |short: Short| Finding::new(Id::ZipInvalid, format!("the zip's 64-bit end is cut off: {short}")).at(place);
    if cursor.take(4).map_err(cut)? != LOCATOR64 {
        return Ok(None);
    }
    let disk = cursor.u32().map_err(cut)?;
    let said = cursor.u64().map_err(cut)?;
    if disk != 0 || cursor.u32().map_err(cut)? > 1 {
        doubts.push(Finding::new(Id::ZipInvalid, "the zip is said to be one part of several").at(place));
    }
    // Where the locator says, or else right before it, where it stands when bytes were put before the archive.
    let beside = place.checked_sub(END64_BYTES);
    let Some((found, record)) = [Some(said), beside].into_iter().flatten().find_map(|offset| {
        let record = source.read_vec_at(END64_BYTES, offset).ok()?;
        (record.starts_with(END64) && offset < place).then_some((offset, record))
    }) else {
        return Err(Finding::new(Id::ZipInvalid, "the zip's 64-bit end record is not where it should be").at(place));
    };
    let mut cursor = Cursor::new(&record, found);
    cursor.take(4).map_err(cut)?;
    let length = cursor.u64().map_err(cut)?;
    if found.checked_add(12).and_then(|start| start.checked_add(length)) != Some(place) {
        doubts.push(Finding::new(Id::ZipInvalid, "the zip's 64-bit end record has a wrong length").at(found));
    }
    cursor.take(4).map_err(cut)?;
    let disks = (cursor.u32().map_err(cut)?, cursor.u32().map_err(cut)?);
    let here = cursor.u64().map_err(cut)?;
    let members = cursor.u64().map_err(cut)?;
    if disks != (0, 0) || here != members {
        return Err(Finding::new(Id::ZipInvalid, "the zip is one part of several").at(found));
    }
    let bytes = cursor.u64().map_err(cut)?;
    let start = cursor.u64().map_err(cut)?;
    Ok(Some((members, bytes, start, found, said)))
}
