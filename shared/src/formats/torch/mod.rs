//! Files of `torch.save`: a zip of one pickle and one record a storage, TorchScript's likewise, and the stream of
//! pickles that came before.
//!
//! Names are the keys that lead to a tensor, joined by `.`, through dictionaries, sequences and the attributes of
//! objects. A tensor of parts (sparse, nested, quantized, a wrapper such as `DTensor`) gives its parts, named below
//! it. numpy arrays of plain numbers count as tensors. A tensor that is itself the root has the empty name.

mod call;
mod describe;
mod dtensor;
mod exported;
mod legacy;
mod numpy;
mod storages;
mod tar;
mod tensor;
mod walk;
pub mod write;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::zip::{self, Archive, Member};
use super::{Container, pickle};
use crate::bytes::{Cursor, ReadAt};
use crate::facts::{FileId, Finding, Id, Severity, limits};
pub use call::{dtype_of, numbers};
pub(super) use exported::{is_archive as is_exported, read as read_exported};
pub use legacy::is_legacy;
use storages::{Place, Storages};
pub(super) use tar::{is_archive as is_tar, read as read_tar};
use tensor::{Origin, View};
use walk::Walk;

/// Bytes of the small records that describe the file.
const SMALL: u64 = 4096;
/// Versions of the archive that torch reads: `kMinSupportedFileFormatVersion` and `kMaxSupportedFileFormatVersion`.
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=10;
/// The first protocol with opcodes that `weights_only` does not know (`torch/_weights_only_unpickler.py`).
const NEW_PROTOCOL: u8 = 4;
/// Bytes from which the kind of the file is seen.
const START: u64 = 512;

/// Reads the geometry of a torch file; no tensor data is touched.
///
/// # Errors
/// What leaves no tensors to list: the zip's or the pickle's own damage, [`Id::TorchRecordMissing`] without a
/// pickle. All else is in the container's findings.
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let start = source.read_vec_at(START.min(source.size()), 0).map_err(|error| super::unreadable(&error, 0))?;
    if legacy::is_legacy(&start) {
        return legacy::read(source, file);
    }
    read_archive(source, &zip::read(source)?, file)
}

/// Whether an archive holds a pickle as `torch.save` names it.
pub(super) fn is_archive(archive: &Archive) -> bool {
    archive.members.iter().any(|member| member.name.ends_with("/data.pkl"))
}

/// Reads the geometry of a zip of `torch.save` or `torch.jit.save`.
pub(super) fn read_archive(source: &dyn ReadAt, archive: &Archive, file: FileId) -> Result<Container, Finding> {
    let records = Records::new(archive)?;
    let Some(member) = records.get("data.pkl") else {
        return Err(records.no_pickle());
    };
    let mut metadata = BTreeMap::new();
    for name in ["version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"] {
        // torch looks at no checksum, so what stands there counts.
        let unchecked = records.get(name).map(|member| Member { crc32: None, ..member.clone() });
        if let Some(text) = unchecked.and_then(|member| zip::contents(source, &member, SMALL).ok()) {
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            metadata.insert(name.trim_start_matches(".data/").trim_start_matches('.').to_owned(), text);
        }
    }
    let bytes = zip::contents(source, member, limits::PICKLE)?;
    // Within a compressed pickle, offsets count from its own start.
    let base = if member.is_plain() { member.data } else { 0 };
    let mut cursor = Cursor::new(&bytes, base);
    let (pickle, root) = pickle::read(&mut cursor)?;
    let behind = cursor.rest().len();

    let mut storages = Storages::of(&pickle);
    let mut findings = super::Findings::default();
    archive.findings.iter().cloned().for_each(|finding| findings.push(finding));
    if records.get("version").is_none() {
        let message = "the record `version` is missing, without which torch refuses the file";
        findings.push(Finding::new(Id::TorchRecordMissing, message).needed("version", "no such record"));
    }
    strictness(archive, &records, &metadata, &mut findings);
    if let Some(at) = pickle.garbled {
        let message = "a text in the pickle is not UTF-8, and no unpickler reads it";
        findings.push(Finding::new(Id::PickleInvalid, message).at(at));
    }
    if let Some(at) = pickle.surrogates {
        let message = "a text in the pickle holds half of a surrogate pair, which `torch.load` reads only with weights_only=False";
        findings.push(Finding::new(Id::PickleInvalid, message).at(at).severity(Severity::Warning));
    }
    if pickle.protocol >= NEW_PROTOCOL {
        let message = format!(
            "the pickle is of protocol {}, which `torch.load` reads only with weights_only=False",
            pickle.protocol
        );
        findings.push(Finding::new(Id::TorchProtocol, message).at(base));
    }
    if behind > 0 {
        let message = format!("{behind} bytes follow the end of the pickle, which torch never writes");
        findings.push(Finding::new(Id::PickleInvalid, message).at(cursor.offset()).severity(Severity::Warning));
    }
    let strange = storages.strange;
    records.place(&mut storages, &mut findings);
    let big_endian = metadata.get("byteorder").is_some_and(|order| order == "big");
    if big_endian {
        findings.push(Finding::new(
            Id::TorchByteorder,
            "the file is big-endian; torch does not swap what it saves as untyped bytes (uint16, float8 and others)",
        ));
    }
    let script = records.get("constants.pkl").is_some() || records.has("code/");
    let mut container = interpret(&pickle, root, storages, Origin { file, big_endian }, findings);
    container.script = script;
    if strange > 0 {
        let message = format!("{strange} persistent ids are no storages of torch, which refuses them");
        container.findings.push(Finding::new(Id::PickleTensor, message));
    }
    container.metadata.append(&mut metadata);
    Ok(container)
}

/// What torch refuses of an archive that holds all its records (`caffe2/serialize/inline_container.cc`,
/// `torch/serialization.py`).
fn strictness(
    archive: &Archive,
    records: &Records<'_>,
    metadata: &BTreeMap<String, String>,
    findings: &mut super::Findings,
) {
    let stray = |member: &&Member| !records.holds(&member.name);
    if let Some(member) = archive.members.iter().find(stray) {
        let message =
            format!("the member {} is not in the folder {}; torch refuses such a file", member.name, records.root);
        findings.push(Finding::new(Id::TorchStrayMember, message).at(member.header));
    }
    let mut odd = |name: &str, needed: String, found: &str| {
        let message = format!("the record `{name}` is none that torch reads, so it refuses the file");
        findings.push(Finding::new(Id::TorchDescription, message).needed(needed, format!("{found:?}")));
    };
    if let Some(text) = metadata.get("version") {
        // As `std::stoull` reads it: what follows the number is passed over.
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
        if !digits.parse().is_ok_and(|version: u64| VERSIONS.contains(&version)) {
            odd("version", format!("a number from {} to {}", VERSIONS.start(), VERSIONS.end()), text);
        }
    }
    if let Some(text) = metadata.get("byteorder").filter(|text| !matches!(text.as_str(), "little" | "big")) {
        odd("byteorder", "little or big".to_owned(), text);
    }
    if let Some(text) = metadata.get("serialization_id").filter(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
        odd(".data/serialization_id", "text".to_owned(), text);
    }
}

/// The pickle of a zip of `torch.save`, and the byte of the file at which it begins, for a reader that knows what its
/// writer meant by it.
///
/// # Errors
/// The zip's own damage; [`Id::TorchRecordMissing`] if it holds no pickle.
pub fn pickle_of(source: &dyn ReadAt) -> Result<(Vec<u8>, u64), Finding> {
    let archive = zip::read(source)?;
    let records = Records::new(&archive)?;
    let member = records.get("data.pkl").ok_or_else(|| records.no_pickle())?;
    Ok((zip::contents(source, member, limits::PICKLE)?, if member.is_plain() { member.data } else { 0 }))
}

/// Walks through a pickle whose storages have their places.
fn interpret(
    pickle: &pickle::Pickle<'_>,
    root: pickle::Node,
    storages: Storages,
    origin: Origin,
    findings: super::Findings,
) -> Container {
    interpret_keyed(pickle, root, storages, origin, findings, HashMap::new())
}

/// The same where the pickle refers to tensors by keys.
fn interpret_keyed(
    pickle: &pickle::Pickle<'_>,
    root: pickle::Node,
    storages: Storages,
    origin: Origin,
    findings: super::Findings,
    keyed: HashMap<String, View>,
) -> Container {
    let mut walk = Walk::new(pickle, storages, origin);
    walk.keyed = keyed;
    walk.findings = findings;
    walk.run(root);
    odd_storages(&walk.storages, &mut walk.findings);
    let (globals, unknown) = walk::classes(pickle);
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().take(20).map(String::as_str).collect();
        let more = unknown.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message =
            format!("the pickle names classes that are not torch's, kept as data: {}{more}", names.join(", "));
        walk.findings.push(Finding::new(Id::PickleUnknownClass, message));
    }
    super::twice(&walk.tensors, &mut walk.findings);
    Container {
        tensors: walk.tensors,
        objects: walk.objects,
        objects_left_out: walk.objects_left_out,
        storages: walk.storages.table(origin.file),
        globals: globals.into_iter().collect(),
        pieces: walk.pieces,
        metadata: walk.shard.map(|(rank, of)| ("shard".to_owned(), format!("{rank} of {of}"))).into_iter().collect(),
        findings: walk.findings.list(),
        ..Container::default()
    }
}

/// Storages that have not the size the pickle says, unless a tensor has said so already: torch refuses them even if
/// all its tensors are there.
fn odd_storages(storages: &Storages, findings: &mut super::Findings) {
    for entry in &storages.entries {
        let Place::File { offset, bytes, .. } = entry.place else { continue };
        let (id, what) = match bytes.cmp(&entry.declared) {
            Ordering::Less if entry.end() <= bytes => (Id::TorchStorageShort, "shorter"),
            Ordering::Greater => (Id::TorchStorageLong, "longer"),
            Ordering::Less | Ordering::Equal => continue,
        };
        let message = format!("the storage {} is {what} than the pickle says, and torch refuses it", entry.key);
        let sizes = (format!("{} bytes", entry.declared), format!("{bytes} bytes"));
        findings.push(Finding::new(id, message).at(offset).needed(sizes.0, sizes.1));
    }
}

/// The records of a torch zip: members under one root folder.
struct Records<'z> {
    root: &'z str,
    members: HashMap<&'z str, &'z Member>,
}

impl<'z> Records<'z> {
    fn new(archive: &'z Archive) -> Result<Records<'z>, Finding> {
        // torch takes the folder of the first member (`caffe2/serialize/inline_container.cc`); a person who packed
        // the file again may have put another one first.
        let folder = |member: &'z Member| member.name.split_once('/').map(|(folder, _)| folder);
        let pickle = archive.members.iter().find_map(|member| member.name.strip_suffix("/data.pkl"));
        let first = archive.members.first().and_then(folder);
        let root = pickle.or(first).ok_or_else(|| {
            Finding::new(Id::TorchRecordMissing, "the zip is not torch's: its members are in no folder")
        })?;
        let prefixed = |member: &'z Member| Some((member.name.strip_prefix(root)?.strip_prefix('/')?, member));
        Ok(Records { root, members: archive.members.iter().filter_map(prefixed).collect() })
    }

    fn get(&self, name: &str) -> Option<&'z Member> {
        self.members.get(name).copied()
    }

    /// Whether a member of that name is one of them.
    fn holds(&self, name: &str) -> bool {
        name.strip_prefix(self.root).is_some_and(|rest| rest.starts_with('/'))
    }

    fn has(&self, prefix: &str) -> bool {
        self.members.keys().any(|name| name.starts_with(prefix))
    }

    fn no_pickle(&self) -> Finding {
        Finding::new(Id::TorchRecordMissing, "the zip holds no pickle, so it is not a file of torch.save")
            .needed(format!("{}/data.pkl", self.root), "no such record")
    }

    /// Finds the record of each storage.
    fn place(&self, storages: &mut Storages, findings: &mut super::Findings) {
        let mut compressed = 0u64;
        let mut first = None;
        for entry in &mut storages.entries {
            if entry.meta {
                entry.place = Place::Absent("it was saved on the meta device, without data".to_owned());
                continue;
            }
            let Some(member) = self.get(&format!("data/{}", entry.key)) else {
                let name = format!("{}/data/{}", self.root, entry.key);
                let finding =
                    Finding::new(Id::TorchRecordMissing, format!("the record of storage {} is missing", entry.key));
                findings.push(finding.needed(name, "no such record"));
                entry.place = Place::Absent("its record is missing".to_owned());
                continue;
            };
            if !member.is_plain() {
                compressed = compressed.saturating_add(1);
                first.get_or_insert(member);
                entry.place = Place::Absent("its record is compressed".to_owned());
                continue;
            }
            entry.place = Place::File { offset: member.data, bytes: member.size, crc32: member.crc32 };
        }
        if let Some(member) = first {
            let message = format!(
                "{compressed} records of tensors are compressed; torch loads them as garbage when it maps the file"
            );
            findings.push(
                Finding::new(Id::ZipCompressed, format!("{message}. Unpack it and pack it again with `zip -0`"))
                    .at(member.header)
                    .needed("stored members", format!("{} by method {}", member.name, member.method)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
