//! A bounded reader of tars: ustar, GNU and pax. Members are found, and nothing is unpacked.

use crate::bytes::{Cursor, ReadAt};
use crate::facts::{Finding, Id, limits};

use super::{Findings, unreadable};

/// Bytes of a block; headers are one, data fill several.
const BLOCK: u64 = 512;

/// What a member is, by the type flag of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder, a link, a device: nothing with data.
    Other,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, as written; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// First byte of its data.
    pub data: u64,
    /// Bytes it has.
    pub size: u64,
}

/// A tar: its members in their order, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Archive {
    /// The members whose data are in the file.
    pub members: Vec<Member>,
    /// Damage that did not keep the members from being read.
    pub findings: Vec<Finding>,
}

impl Archive {
    /// The file of that path, without the `./` that tar may put before it; the last one, as unpacking would leave it.
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.files().filter(|(path, _)| *path == name).last().map(|(_, member)| member)
    }

    /// The files and their paths, without the `./` that tar may put before them.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Member)> {
        let files = self.members.iter().filter(|member| member.kind == Kind::File);
        files.map(|member| (member.name.strip_prefix("./").unwrap_or(&member.name), member))
    }
}

/// Whether a block is the header of a tar: it says so, or its checksum does, as those from before ustar have it.
pub fn is_tar(block: &[u8]) -> bool {
    let named = |header: Header| !header.name.is_empty();
    block.get(257..262) == Some(b"ustar") || Header::read(block.get(..512).unwrap_or_default()).is_some_and(named)
}

/// Finds the members of a tar.
///
/// # Errors
/// [`Id::TarInvalid`] if the first block is no header, [`Id::TooLarge`] for too many members, [`Id::FileUnreadable`].
/// All else is in [`Archive::findings`].
pub fn read(source: &dyn ReadAt) -> Result<Archive, Finding> {
    let mut findings = Findings::default();
    let mut members = Vec::new();
    let (mut at, mut next) = (0u64, Next::default());
    loop {
        if at.saturating_add(BLOCK) > source.size() {
            let message = "the tar ends without the blocks of zeros that end one: it may have been cut off";
            findings.push(Finding::new(Id::TarTruncated, message).at(at.min(source.size())));
            break;
        }
        let block = source.read_vec_at(BLOCK, at).map_err(|error| unreadable(&error, at))?;
        if block.iter().all(|&byte| byte == 0) {
            break;
        }
        let Some(header) = Header::read(&block) else {
            let message = "there is no header of a member here, or one with a wrong checksum";
            let finding = Finding::new(Id::TarInvalid, message).at(at);
            if members.is_empty() {
                return Err(finding);
            }
            findings.push(finding);
            break;
        };
        if members.len() >= limits::TAR_MEMBERS {
            let message = format!("the tar has more than {} members", limits::TAR_MEMBERS);
            return Err(Finding::new(Id::TooLarge, message).at(at));
        }
        let data = at.saturating_add(BLOCK);
        let size = if header.is_note() { header.size } else { next.size.unwrap_or(header.size) };
        let left = source.size().saturating_sub(data);
        if size > left {
            let name = next.name.unwrap_or(header.name);
            let finding = Finding::new(Id::TarTruncated, format!("the file ends inside the member {name}"))
                .at(data.min(source.size()));
            findings.push(finding.needed(format!("{size} bytes"), format!("{left} bytes")));
            break;
        }
        if header.is_note() {
            next.take(source, &header, data)?;
        } else {
            let told = std::mem::take(&mut next);
            let kind = if matches!(header.kind, b'0' | 0 | b'7') { Kind::File } else { Kind::Other };
            members.push(Member { name: told.name.unwrap_or(header.name), kind, data, size });
        }
        at = data.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    Ok(Archive { members, findings: findings.list() })
}

/// A header block.
struct Header {
    name: String,
    size: u64,
    kind: u8,
}

impl Header {
    /// The header that a block is, if its checksum says that it is one.
    fn read(block: &[u8]) -> Option<Header> {
        let sum = number(block.get(148..156)?)?;
        // The checksum counts as eight spaces in its own sum.
        let bytes = block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
        if bytes.map(u64::from).sum::<u64>() != sum {
            return None;
        }
        let name = text(block.get(..100)?);
        // GNU's own form keeps other things where ustar keeps the folders.
        let prefix = if block.get(257..263) == Some(b"ustar\0") { text(block.get(345..500)?) } else { String::new() };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        Some(Header { name, size: number(block.get(124..136)?)?, kind: *block.get(156)? })
    }

    /// Whether it only says something of the member that follows, or of all.
    fn is_note(&self) -> bool {
        matches!(self.kind, b'L' | b'K' | b'x' | b'X' | b'g')
    }
}

/// What notes say of the next member.
#[derive(Debug, Default)]
struct Next {
    name: Option<String>,
    size: Option<u64>,
}

impl Next {
    fn take(&mut self, source: &dyn ReadAt, header: &Header, data: u64) -> Result<(), Finding> {
        if header.size > limits::TAR_NAME {
            let finding = Finding::new(Id::TooLarge, "a note on a member is longer than any real one").at(data);
            return Err(finding.needed(format!("at most {} bytes", limits::TAR_NAME), header.size));
        }
        let bytes = source.read_vec_at(header.size, data).map_err(|error| unreadable(&error, data))?;
        match header.kind {
            b'L' => self.name = Some(text(&bytes)),
            b'x' | b'X' => {
                for (key, value) in records(&bytes) {
                    match key {
                        b"path" => self.name = Some(String::from_utf8_lossy(value).into_owned()),
                        b"size" => self.size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The records of a pax header: `length key=value\n`.
fn records(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut records = Vec::new();
    let record = |cursor: &mut Cursor<'_>| -> Option<u64> {
        let digits = cursor.rest().iter().position(|&byte| byte == b' ')?;
        std::str::from_utf8(cursor.rest().get(..digits)?).ok()?.parse().ok()
    };
    while let Some(length) = record(&mut cursor) {
        let Ok(line) = cursor.take(length) else { break };
        let text = line.strip_suffix(b"\n").and_then(|line| line.splitn(2, |&byte| byte == b' ').nth(1));
        let split = text.and_then(|text| Some((text, text.iter().position(|&byte| byte == b'=')?)));
        let Some((text, equals)) = split else { break };
        let (key, value) = text.split_at(equals);
        records.push((key, value.get(1..).unwrap_or_default()));
    }
    records
}

/// The text of a field that ends at its first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// The number of a field: octal digits, or GNU's form for what is larger.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        return rest.iter().try_fold(0u64, |number, &byte| Some(number.checked_mul(256)? | u64::from(byte)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and its data, padded.
    fn member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
        let mut block = vec![0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend(data);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }

    fn ids(bytes: &[u8]) -> Vec<Id> {
        match read(&bytes.to_vec()) {
            Ok(archive) => archive.findings.iter().map(|finding| finding.id).collect(),
            Err(finding) => vec![finding.id],
        }
    }

    #[test]
    fn members_and_their_long_names() {
        let long = "f/".repeat(60) + "w";
        let pax = format!("{} path={long}\n", long.len() + 10);
        let file = [
            member("./a", b'0', b"data"),
            member("d", b'5', b""),
            member("@LongLink", b'L', long.as_bytes()),
            member("short", b'0', b"1"),
            member("p", b'x', pax.as_bytes()),
            member("short", 0, &[7; 600]),
            vec![0; 1024],
        ]
        .concat();
        let archive = read(&file).unwrap();
        assert_eq!(archive.findings, []);
        let names: Vec<&str> = archive.files().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", &long, &long]);
        let last = archive.find(&long).unwrap();
        assert_eq!(file.read_vec_at(last.size, last.data).unwrap(), [7; 600]);
        assert_eq!(archive.find("a").map(|member| (member.data, member.size)), Some((512, 4)));
    }

    #[test]
    fn a_tar_is_known_by_its_checksum_too() {
        let mut old = member("pickle", 0, b"data");
        old[257..265].fill(0);
        assert!(!is_tar(&old) && !is_tar(&[0; 512]) && !is_tar(b"ustar"));
        old[148..156].fill(b' ');
        let sum: u32 = old[..512].iter().map(|&byte| u32::from(byte)).sum();
        old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_tar(&old));
    }

    #[test]
    fn no_form_of_a_tar_hides_a_pickle() {
        let evil = b"cos\nsystem\n(S'x'\ntR.".as_slice();
        let dangers = |file: Vec<u8>| {
            let said = crate::formats::scan::scan(&file);
            said.iter().filter(|finding| finding.id == Id::PickleDangerous).count()
        };
        let end = vec![0; 1024];
        assert_eq!(dangers([member("pickle", b'0', evil), end.clone()].concat()), 1);
        // A size that only pax knows, over data that would be no header.
        let mut sized = member("storages", b'0', &[0xff; 600]);
        sized[124..136].copy_from_slice(format!("{:011o}\0", 0).as_bytes());
        sized[148..156].fill(b' ');
        let sum: u32 = sized[..512].iter().map(|&byte| u32::from(byte)).sum();
        sized[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let pax = member("p", b'x', b"12 size=600\n");
        assert_eq!(dangers([pax, sized, member("pickle", b'0', evil), end.clone()].concat()), 1);
        // A header with a wrong checksum before it, a name that looks like a zip, no magic.
        let mut wrong = member("a", b'0', b"data");
        wrong[0] = b'b';
        assert_eq!(dangers([member("z", b'0', b"1"), wrong, member("pickle", b'0', evil), end.clone()].concat()), 1);
        assert_eq!(dangers([member("PK\x03\x04", b'0', b"1"), member("pickle", b'0', evil), end.clone()].concat()), 1);
        let mut old = member("pickle", 0, evil);
        old[257..265].fill(0);
        old[148..156].fill(b' ');
        let sum: u32 = old[..512].iter().map(|&byte| u32::from(byte)).sum();
        old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(dangers([old, end].concat()), 1);
    }

    #[test]
    fn damage_is_named() {
        let file = [member("a", b'0', b"data"), member("b", b'0', b"more"), vec![0; 1024]].concat();
        assert_eq!(ids(&file), []);
        assert_eq!(ids(&file[..2048]), [Id::TarTruncated]);
        assert_eq!(ids(&file[..1538]), [Id::TarTruncated]);
        assert_eq!(ids(&file[..600]), [Id::TarTruncated]);
        let changed = |at: usize| [&file[..at], &[file[at] ^ 1], &file[at + 1..]].concat();
        assert_eq!(ids(&changed(0)), [Id::TarInvalid]);
        assert_eq!(ids(&changed(1024)), [Id::TarInvalid]);
        let long = member("n", b'L', &vec![b'x'; 1 << 21]);
        assert_eq!(ids(&long), [Id::TooLarge]);
    }
}
