//! Files of `torch.save`, laid out before any tensor data is there, so that data can be written at known places, in
//! any order and by many threads, and the check sums be filled in at the end.
//!
//! The same tensors under the same stem give the same bytes: dates are fixed and the serialization id follows from
//! names and check sums. Records stand as torch writes them: the pickle, the small records, `data/N` at multiples of
//! 64 bytes, the version, the id; check sums stand behind the data (`caffe2/serialize/inline_container.cc`).

mod pickle;

use crate::facts::recipe::elements;
use crate::facts::{Dtype, Finding, Id};

/// Multiple of bytes at which data begin, torch's default.
const ALIGNMENT: u64 = 64;
/// Id of the extra field whose content pads a local header, and the byte it is filled with.
const PADDING: &[u8; 2] = b"FB";
/// Fixed fields of a local header, of an entry, of the end records (APPNOTE.TXT 4.3).
const LOCAL_BYTES: u64 = 30;
/// Flags: sizes and CRC-32 stand behind the data; names are UTF-8.
const FLAGS: u16 = 0x0808;
/// 1 January 1980 as DOS spells a date, the earliest there is; midnight.
const DATE: u16 = 0x0021;
/// A 32-bit field that says "see the 64-bit one".
const FULL: u64 = 0xffff_ffff;

/// A tensor to write: contiguous, row-major, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key in the dictionary.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Sizes in torch order, in elements of that dtype.
    pub shape: Vec<u64>,
    /// The earlier item, by index, whose storage it shares; that one has to have the same dtype and size.
    pub same_as: Option<usize>,
}

/// Where the data of one item go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The item, by index. Items that share another's storage have no record.
    pub item: usize,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A file whose every byte but tensor data and check sums is known.
#[derive(Debug)]
pub struct Layout {
    /// What the file begins with: the pickle and the small records.
    pub head: Vec<u8>,
    /// Where data go, in the order of the file.
    pub records: Vec<Record>,
    /// Bytes of the whole file.
    pub total: u64,
    members: Vec<Member>,
}

/// A member of the zip.
#[derive(Debug)]
struct Member {
    name: String,
    header: u64,
    data: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Known now.
    Bytes(Vec<u8>),
    /// Tensor data, of so many bytes.
    Data(u64),
    /// The serialization id, known at the end.
    Id,
}

impl Member {
    fn size(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => length(bytes),
            Content::Data(bytes) => *bytes,
            Content::Id => 40,
        }
    }

    /// Whether sizes need 64 bits.
    fn wide(&self) -> bool {
        self.size() >= FULL
    }

    /// The local header, up to the data.
    fn local(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let narrow: u32 = if self.wide() { u32::MAX } else { 0 };
        out.extend(b"PK\x03\x04");
        out.extend(version(self.wide()).to_le_bytes());
        out.extend(FLAGS.to_le_bytes());
        out.extend([0; 4]);
        out.extend(DATE.to_le_bytes());
        out.extend([0; 4]);
        out.extend(narrow.to_le_bytes());
        out.extend(narrow.to_le_bytes());
        out.extend(low16(length(self.name.as_bytes())).to_le_bytes());
        let extra = self.data.saturating_sub(self.header).saturating_sub(LOCAL_BYTES);
        let mut extra = extra.saturating_sub(length(self.name.as_bytes()));
        out.extend(low16(extra).to_le_bytes());
        out.extend(self.name.as_bytes());
        if self.wide() {
            out.extend([1, 0, 16, 0]);
            out.extend(self.size().to_le_bytes());
            out.extend(self.size().to_le_bytes());
            extra = extra.saturating_sub(20);
        }
        let pad = low16(extra.saturating_sub(4));
        out.extend(PADDING);
        out.extend(pad.to_le_bytes());
        out.extend(std::iter::repeat_n(b'Z', usize::from(pad)));
        out
    }

    /// The data descriptor, behind the data.
    fn descriptor(&self, crc32: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.extend(b"PK\x07\x08");
        out.extend(crc32.to_le_bytes());
        for _ in 0..2 {
            if self.wide() {
                out.extend(self.size().to_le_bytes());
            } else {
                out.extend(low32(self.size()).to_le_bytes());
            }
        }
        out
    }

    /// The entry of the central directory.
    fn entry(&self, crc32: u32) -> Vec<u8> {
        // The 64-bit field holds what was too large, in this order.
        let sizes = [self.size(), self.size(), self.header];
        let wide: Vec<u8> = sizes.iter().filter(|size| **size >= FULL).flat_map(|size| size.to_le_bytes()).collect();
        let mut out = Vec::new();
        out.extend(b"PK\x01\x02");
        out.extend(version(!wide.is_empty()).to_le_bytes());
        out.extend(version(!wide.is_empty()).to_le_bytes());
        out.extend(FLAGS.to_le_bytes());
        out.extend([0; 4]);
        out.extend(DATE.to_le_bytes());
        out.extend(crc32.to_le_bytes());
        out.extend(low32(self.size()).to_le_bytes());
        out.extend(low32(self.size()).to_le_bytes());
        out.extend(low16(length(self.name.as_bytes())).to_le_bytes());
        let extra = if wide.is_empty() { 0 } else { length(&wide).saturating_add(4) };
        out.extend(low16(extra).to_le_bytes());
        out.extend([0; 10]);
        out.extend(low32(self.header).to_le_bytes());
        out.extend(self.name.as_bytes());
        if !wide.is_empty() {
            out.extend([1, 0]);
            out.extend(low16(length(&wide)).to_le_bytes());
            out.extend(wide);
        }
        out
    }
}

impl Layout {
    /// Lays out a file of these tensors whose records stand in the folder `stem`: the file's name without its
    /// extension, as torch has it.
    ///
    /// # Errors
    /// [`Id::Unsupported`] for a dtype that torch does not save as plain tensors; [`Id::TensorDuplicate`] for a name
    /// given twice; [`Id::TooLarge`] for sizes or names beyond the format.
    pub fn new(stem: &str, items: &[Item]) -> Result<Layout, Finding> {
        let sizes = items.iter().map(stored_bytes).collect::<Result<Vec<u64>, Finding>>()?;
        let mut names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        names.sort_unstable();
        if let Some(name) = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
            return Err(Finding::new(Id::TensorDuplicate, "two tensors cannot have one name").tensor(*name));
        }
        let root = match stem.replace(['/', '\0'], "_") {
            stem if stem.is_empty() => "archive".to_owned(),
            stem => stem,
        };
        let mut members = Members { root, list: Vec::new(), end: 0 };
        members.add("data.pkl", Content::Bytes(pickle::dictionary(items, &sizes)?))?;
        members.add(".format_version", Content::Bytes(b"1".to_vec()))?;
        members.add(".storage_alignment", Content::Bytes(ALIGNMENT.to_string().into_bytes()))?;
        members.add("byteorder", Content::Bytes(b"little".to_vec()))?;
        let mut records = Vec::new();
        for ((index, item), bytes) in items.iter().enumerate().zip(&sizes) {
            if item.same_as.is_none() {
                let offset = members.add(&format!("data/{}", records.len()), Content::Data(*bytes))?;
                records.push(Record { item: index, offset, bytes: *bytes });
            }
        }
        members.add("version", Content::Bytes(b"3\n".to_vec()))?;
        members.add(".data/serialization_id", Content::Id)?;

        let mut layout = Layout { head: Vec::new(), records, total: 0, members: members.list };
        let crcs = vec![0; layout.records.len()];
        let mut pieces = layout.pieces(&crcs).into_iter();
        layout.head = pieces.next().map(|piece| piece.1).unwrap_or_default();
        let last = pieces.next_back().map_or((0, length(&layout.head)), |piece| (piece.0, length(&piece.1)));
        layout.total = last.0.checked_add(last.1).ok_or_else(too_large)?;
        Ok(layout)
    }

    /// What remains to be written when the data are: pieces with their first bytes in the file. `crcs` are the
    /// CRC-32 of the records, in their order; one that is missing counts as 0, which stands for none.
    pub fn finish(&self, crcs: &[u32]) -> Vec<(u64, Vec<u8>)> {
        // The first piece is the head, which does not change.
        self.pieces(crcs).split_off(1)
    }

    /// Every byte that is no tensor data, as pieces between the data.
    fn pieces(&self, crcs: &[u32]) -> Vec<(u64, Vec<u8>)> {
        let mut given = crcs.iter().copied();
        let mut all = Vec::with_capacity(self.members.len());
        let mut pieces = Vec::new();
        let mut piece = (0, Vec::new());
        let mut directory = Vec::new();
        for member in &self.members {
            piece.1.extend(member.local());
            let crc32 = match &member.content {
                Content::Data(bytes) => {
                    let behind = member.data.saturating_add(*bytes);
                    pieces.push(std::mem::replace(&mut piece, (behind, Vec::new())));
                    given.next().unwrap_or(0)
                }
                Content::Bytes(bytes) => {
                    piece.1.extend(bytes);
                    crc32fast::hash(bytes)
                }
                Content::Id => {
                    let id = self.serialization_id(&all);
                    piece.1.extend(id.as_bytes());
                    crc32fast::hash(id.as_bytes())
                }
            };
            all.push(crc32);
            piece.1.extend(member.descriptor(crc32));
            directory.extend(member.entry(crc32));
        }
        let start = piece.0.saturating_add(length(&piece.1));
        let count = u64::try_from(self.members.len()).unwrap_or(u64::MAX);
        piece.1.extend(&directory);
        piece.1.extend(end(count, start, length(&directory)));
        pieces.push(piece);
        pieces
    }

    /// Twenty digits that follow from the records' names and twenty from their check sums, as in torch's own: equal
    /// content has an equal id under any file name.
    fn serialization_id(&self, crcs: &[u32]) -> String {
        let names = self.members.iter().flat_map(|member| {
            let own = member.name.split_once('/').map_or("", |(_, own)| own);
            own.bytes().chain([0])
        });
        let sums = crcs.iter().flat_map(|crc32| crc32.to_le_bytes());
        format!("{:020}{:020}", fnv(names), fnv(sums))
    }
}

/// The members so far.
struct Members {
    root: String,
    list: Vec<Member>,
    end: u64,
}

impl Members {
    /// Adds a member behind the others; gives where its data begin.
    fn add(&mut self, name: &str, content: Content) -> Result<u64, Finding> {
        let name = format!("{}/{name}", self.root);
        if name.len() > usize::from(u16::MAX) / 2 {
            return Err(
                Finding::new(Id::TooLarge, "the file's name is too long for a zip").needed("32,000 bytes", name.len())
            );
        }
        let header = self.end;
        let mut member = Member { name, header, data: 0, content };
        let least = LOCAL_BYTES.saturating_add(length(member.name.as_bytes())).saturating_add(if member.wide() {
            24
        } else {
            4
        });
        let data =
            header.checked_add(least).and_then(|at| at.checked_next_multiple_of(ALIGNMENT)).ok_or_else(too_large)?;
        member.data = data;
        let descriptor = if member.wide() { 24 } else { 16 };
        self.end = data.checked_add(member.size()).and_then(|at| at.checked_add(descriptor)).ok_or_else(too_large)?;
        self.list.push(member);
        Ok(data)
    }
}

/// The end of the file: the 64-bit record, its locator and the old record, as torch always writes them.
fn end(members: u64, start: u64, bytes: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(98);
    out.extend(b"PK\x06\x06");
    out.extend(44u64.to_le_bytes());
    out.extend(version(true).to_le_bytes());
    out.extend(version(true).to_le_bytes());
    out.extend([0; 8]);
    for number in [members, members, bytes, start] {
        out.extend(number.to_le_bytes());
    }
    out.extend(b"PK\x06\x07");
    out.extend([0; 4]);
    out.extend(start.saturating_add(bytes).to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend(low16(members).to_le_bytes());
    out.extend(low16(members).to_le_bytes());
    out.extend(low32(bytes).to_le_bytes());
    out.extend(low32(start).to_le_bytes());
    out.extend([0; 2]);
    out
}

/// Bytes of an item in the file.
fn stored_bytes(item: &Item) -> Result<u64, Finding> {
    let refuse = |id: Id, message: &str| Finding::new(id, message).tensor(item.name.as_str());
    if !pickle::writable(item.dtype) {
        let message = format!("torch saves no plain tensor of dtype {}", item.dtype);
        return Err(refuse(Id::Unsupported, &message));
    }
    if item.dtype == Dtype::F4 && item.shape.last().is_none_or(|last| last % 2 != 0) {
        return Err(refuse(Id::Unsupported, "torch counts 4-bit floats in pairs, and its last dimension is odd"));
    }
    elements(&item.shape)
        .and_then(|count| item.dtype.bytes_of(count))
        .ok_or_else(|| refuse(Id::TooLarge, "its size does not fit 64 bits"))
}

fn too_large() -> Finding {
    Finding::new(Id::TooLarge, "the file would be larger than 64 bits can say")
}

/// Version of the zip format needed: 4.5 for 64-bit sizes, 2.0 otherwise (APPNOTE.TXT 4.4.3).
fn version(wide: bool) -> u16 {
    if wide { 45 } else { 20 }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A number as a 16-bit field, full if it does not fit.
fn low16(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// A number as a 32-bit field, full if it does not fit.
fn low32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The 64-bit FNV-1a hash.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests;
