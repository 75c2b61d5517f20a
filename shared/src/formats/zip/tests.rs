//! Archives made here, whole and damaged in one place each.

use super::*;

/// How a test wants an archive to be.
#[derive(Default)]
pub(crate) struct Packing {
    /// Bytes before the first member, which its offsets do not know of.
    pub before: Vec<u8>,
    /// Bytes after the end.
    pub after: Vec<u8>,
    /// Members are deflated.
    pub deflate: bool,
}

/// An archive of these members, sizes and check sums in their local headers.
pub(crate) fn pack(members: &[(&str, &[u8])], packing: &Packing) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, bytes) in members {
        let packed = if packing.deflate { deflate(bytes) } else { bytes.to_vec() };
        let method = if packing.deflate { DEFLATED } else { STORED };
        let header = u32::try_from(file.len()).unwrap();
        let mut fields = vec![0, 0];
        fields.extend(method.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(crc32fast::hash(bytes).to_le_bytes());
        fields.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        fields.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        fields.extend([0, 0]);
        file.extend(b"PK\x03\x04\x14\0");
        file.extend(&fields);
        file.extend(name.as_bytes());
        file.extend(packed);
        directory.extend(b"PK\x01\x02\x14\0\x14\0");
        directory.extend(fields);
        directory.extend([0; 10]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = u32::try_from(file.len()).unwrap();
    let count = u16::try_from(members.len()).unwrap();
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    [packing.before.clone(), file, packing.after.clone()].concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const MEMBERS: &[(&str, &[u8])] = &[("m/data.pkl", b"}."), ("m/data/0", b"01234567"), ("m/version", b"3\n")];

fn plain() -> Vec<u8> {
    pack(MEMBERS, &Packing::default())
}

/// Byte at which `needle` first stands.
fn find(file: &[u8], needle: &[u8]) -> usize {
    file.windows(needle.len()).position(|bytes| bytes == needle).unwrap()
}

/// The findings about a file whose byte at `at` has become `byte`.
fn with_byte(at: usize, byte: u8) -> Vec<Id> {
    let mut file = plain();
    file[at] = byte;
    match read(&file) {
        Ok(archive) => archive.findings.iter().map(|finding| finding.id).collect(),
        Err(finding) => vec![finding.id],
    }
}

#[test]
fn members_come_with_their_places_and_contents() {
    let file = plain();
    let archive = read(&file).unwrap();
    assert_eq!(archive.findings, []);
    assert_eq!(archive.members.len(), MEMBERS.len());
    for (name, bytes) in MEMBERS {
        let member = archive.find(name).unwrap();
        assert!(member.is_plain());
        assert_eq!(contents(&file, member, 100).unwrap(), *bytes);
    }
    assert_eq!(contents(&file, &archive.members[1], 7).unwrap_err().id, Id::TooLarge);
}

#[test]
fn packed_members_are_unpacked_up_to_their_size() {
    let file = pack(&[("m/data.pkl", &[7; 1000])], &Packing { deflate: true, ..Packing::default() });
    let archive = read(&file).unwrap();
    let mut member = archive.members[0].clone();
    assert!(!member.is_plain());
    assert_eq!(contents(&file, &member, 1000).unwrap(), [7; 1000]);
    member.size = 999;
    assert_eq!(contents(&file, &member, 1000).unwrap_err().id, Id::ZipInvalid);
}

#[test]
fn bytes_around_the_archive_are_found() {
    let file = pack(MEMBERS, &Packing { before: b"#!/bin/sh\n".to_vec(), after: b"more".to_vec(), deflate: false });
    let archive = read(&file).unwrap();
    assert_eq!(archive.findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), [Id::ZipInvalid, Id::ZipLeading]);
    assert_eq!(contents(&file, archive.find("m/data/0").unwrap(), 100).unwrap(), b"01234567");
}

#[test]
fn each_damage_has_its_finding() {
    let file = plain();
    let local = find(&file, b"PK\x03\x04");
    let entry = find(&file, b"PK\x01\x02");
    let end = find(&file, b"PK\x05\x06");
    // Flags, method, CRC-32 and name of a local header.
    assert_eq!(with_byte(local + 6, 2), [Id::ZipMismatch]);
    assert_eq!(with_byte(local + 8, 8), [Id::ZipMismatch]);
    assert_eq!(with_byte(local + 14, file[local + 14] ^ 1), [Id::ZipMismatch]);
    assert_eq!(with_byte(local + 30, b'n'), [Id::ZipMismatch]);
    // A local header that is none; an entry that is none, which hides those behind it.
    assert_eq!(with_byte(local, b'Q'), [Id::ZipInvalid]);
    assert_eq!(with_byte(entry, b'Q'), [Id::ZipInvalid, Id::ZipInvalid]);
    // A member that reaches into the next one, in both headers.
    let mut longer = file.clone();
    for field in [local + 18, local + 22, entry + 20, entry + 24] {
        longer[field] = 20;
    }
    assert_eq!(read(&longer).unwrap().findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), [Id::ZipOverlap]);
    // The end: a count too many, a part of several, a directory beyond the end.
    assert_eq!(with_byte(end + 10, 4), [Id::ZipInvalid]);
    assert_eq!(with_byte(end + 4, 1), [Id::ZipInvalid]);
    assert_eq!(with_byte(end + 15, 1), [Id::ZipTruncated]);
    assert_eq!(read(&file[..end].to_vec()).unwrap_err().id, Id::ZipTruncated);
    let twice = pack(&[("m/a", b"1"), ("m/a", b"2")], &Packing::default());
    let archive = read(&twice).unwrap();
    assert_eq!(archive.findings[0].id, Id::ZipDuplicate);
    assert_eq!(contents(&twice, archive.find("m/a").unwrap(), 9).unwrap(), b"2");
}

#[test]
fn no_damage_makes_it_panic_or_point_outside_the_file() {
    let file = plain();
    let check = |file: &Vec<u8>| {
        if let Ok(archive) = read(file) {
            for member in &archive.members {
                assert!(member.data + member.packed <= file.size());
            }
        }
    };
    for cut in 0..file.len() {
        check(&file[..cut].to_vec());
    }
    for at in 0..file.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = byte;
            check(&damaged);
        }
    }
}
