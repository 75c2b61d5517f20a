//! safetensors: a length, a JSON header that tiles the rest of the file with tensors, and the tensors.
//!
//! `u64 n | n bytes of JSON | data`. The reader keeps to the rules of the safetensors crate 0.8 and adds one: no
//! name, field or metadata key may stand twice, however it is spelt. Where the header is broken it says where.

mod header;
mod write;

pub use write::{header, order};

use crate::bytes::ReadAt;
use crate::facts::recipe::elements;
use crate::facts::{FileId, Finding, Id, Recipe, Tensor, limits};

use super::Container;
use super::detect::unreadable;
use header::{Entry, Header};

/// Bytes of the length before the header.
const LENGTH: u64 = 8;

/// Reads the header of a safetensors file.
///
/// # Errors
/// A finding with the offset if the header cannot be read at all; what is wrong with single tensors is in
/// [`Container::findings`], and such a tensor is left out where its bytes cannot be found.
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let size = source.size();
    if size < LENGTH {
        let message = "the file is too short to hold the length of a header";
        return Err(Finding::new(Id::SafetensorsTruncated, message).at(0).needed("8 bytes", size));
    }
    let length = source.read_vec_at(LENGTH, 0).map_err(|error| unreadable(&error))?;
    let length = length.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if length > limits::SAFETENSORS_HEADER {
        let message = "the header claims to be longer than the format allows";
        return Err(Finding::new(Id::SafetensorsHeader, message)
            .at(0)
            .needed(format!("at most {} bytes", limits::SAFETENSORS_HEADER), length));
    }
    let data = length.saturating_add(LENGTH);
    if data > size {
        let message = "the file ends inside its header";
        return Err(Finding::new(Id::SafetensorsTruncated, message).at(0).needed(format!("{data} bytes"), size));
    }
    let text = source.read_vec_at(length, LENGTH).map_err(|error| unreadable(&error))?;
    let mut header = Header::parse(&text, LENGTH)?;
    let mut container = Container {
        metadata: std::mem::take(&mut header.metadata),
        findings: std::mem::take(&mut header.findings),
        ..Container::default()
    };
    header.entries.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    tiling(&header.entries, data, size, &mut container.findings);
    container.tensors.reserve_exact(header.entries.len());
    for entry in header.entries {
        match tensor(entry, data, size, file) {
            Ok(tensor) => container.tensors.push(tensor),
            Err(finding) => container.findings.push(finding),
        }
    }
    Ok(container)
}

/// Checks one entry of the header against its own shape and the file, and makes the tensor of it.
fn tensor(entry: Entry<'_>, data: u64, size: u64, file: FileId) -> Result<Tensor, Finding> {
    let Entry { name, dtype: spelling, shape, begin, end, place } = entry;
    let wrong = |id, message: String| Finding::new(id, message).at(place).tensor(&*name);
    let unknown = |spelling: &str| wrong(Id::SafetensorsDtype, format!("the dtype {spelling:?} is unknown"));
    let dtype = spelling.map_err(|spelling| unknown(&spelling))?;
    if !dtype.in_safetensors() {
        return Err(unknown(dtype.name()));
    }
    if shape.len() > limits::DIMS {
        return Err(wrong(Id::TooLarge, format!("the tensor has {} dimensions", shape.len())));
    }
    let Some(held) = end.checked_sub(begin) else {
        return Err(wrong(Id::SafetensorsSize, format!("the byte range ends before it begins ({begin}, {end})")));
    };
    let Some(count) = elements(&shape) else {
        return Err(wrong(Id::SafetensorsSize, format!("the shape {shape:?} has more elements than fit 64 bits")));
    };
    let Some(needed) = dtype.bytes_of(count) else {
        return Err(wrong(Id::SafetensorsSize, format!("{count} elements of {dtype} do not fill whole bytes")));
    };
    if needed != held {
        return Err(wrong(Id::SafetensorsSize, "the byte range does not fit dtype and shape".to_owned())
            .needed(format!("{needed} bytes"), format!("{held} bytes")));
    }
    let offset = data.saturating_add(begin);
    if data.checked_add(end).is_none_or(|end| end > size) {
        let found = size.saturating_sub(offset).min(held);
        return Err(wrong(Id::SafetensorsTruncated, "the file ends before the tensor does".to_owned())
            .needed(format!("{held} bytes at byte {offset}"), format!("{found} bytes")));
    }
    Ok(Tensor { name: name.into_owned(), recipe: Recipe::bytes(dtype, shape, file, offset), crc32: None })
}

/// The tensors, in the order of their bytes, must tile the data exactly.
fn tiling(entries: &[Entry<'_>], data: u64, size: u64, findings: &mut Vec<Finding>) {
    let mut reached = 0u64;
    for entry in entries {
        let place = data.saturating_add(entry.begin);
        if entry.begin > reached {
            let message = "bytes before this tensor belong to none";
            let gap = format!("{} bytes between", entry.begin.saturating_sub(reached));
            let finding = Finding::new(Id::SafetensorsHole, message).at(data.saturating_add(reached));
            findings.push(finding.tensor(&*entry.name).needed("no gap", gap));
        } else if entry.begin < reached && entry.end > entry.begin {
            let message = "the tensor shares bytes with the one before it";
            let finding = Finding::new(Id::SafetensorsOverlap, message).at(place).tensor(&*entry.name);
            findings.push(finding.needed(format!("begin at {reached}"), entry.begin));
        }
        reached = reached.max(entry.end);
    }
    let (end, message) = (data.saturating_add(reached), "the file goes on after its last tensor");
    if end < size {
        let found = format!("{} bytes more", size.saturating_sub(end));
        findings.push(Finding::new(Id::SafetensorsTrailing, message).at(end).needed("the end of the file", found));
    }
}

#[cfg(test)]
mod tests;
