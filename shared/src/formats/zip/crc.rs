//! The CRC-32 of a compressed member, unpacked piece by piece and not kept.

use std::io::{self, Read};

use super::{DEFLATED, Member};
use crate::bytes::{ReadAt, to_u64, to_usize};
use crate::facts::{Finding, Id};
use crate::formats::detect;

/// Bytes unpacked at once.
const CHUNK: usize = 1 << 16;

/// The CRC-32 of a deflated member's unpacked bytes; none for a member packed in another way, or encrypted. `advance`
/// is told how many bytes of the file were read.
///
/// # Errors
/// [`Id::ZipInvalid`] for what cannot be unpacked, or unpacks to another size than is recorded, as a bomb does;
/// [`Id::FileUnreadable`]; those of `advance`.
pub fn unpacked_crc32<E: From<Finding>>(
    source: &dyn ReadAt,
    member: &Member,
    mut advance: impl FnMut(u64) -> Result<(), E>,
) -> Result<Option<u32>, E> {
    if member.method != DEFLATED || member.flags & super::ENCRYPTED != 0 {
        return Ok(None);
    }
    let end = member.data.saturating_add(member.packed);
    // One byte more than recorded, to see data that goes on.
    let mut unpacked =
        flate2::read::DeflateDecoder::new(Stream { source, at: member.data, end }).take(member.size.saturating_add(1));
    let mut crc = crc32fast::Hasher::new();
    let (mut bytes, mut size, mut told) = (vec![0; CHUNK], 0u64, 0u64);
    loop {
        let count = unpacked.read(&mut bytes).map_err(|error| failed(member, &error))?;
        crc.update(bytes.get(..count).unwrap_or_default());
        size = size.saturating_add(to_u64(count));
        let read = unpacked.get_ref().total_in();
        advance(read.saturating_sub(told))?;
        told = read;
        if count == 0 {
            break;
        }
    }
    if size != member.size {
        let message = format!("the member {} does not unpack to the size recorded for it", member.name);
        let found = if size > member.size { "more".to_owned() } else { format!("{size} bytes") };
        let finding = Finding::new(Id::ZipInvalid, message).at(member.data);
        return Err(finding.needed(format!("{} bytes", member.size), found).into());
    }
    Ok(Some(crc.finalize()))
}

fn failed(member: &Member, error: &io::Error) -> Finding {
    match error.kind() {
        // What the decoder itself says of damaged data.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            let message = format!("the member {} cannot be unpacked: {error}", member.name);
            Finding::new(Id::ZipInvalid, message).at(member.data)
        }
        _ => detect::unreadable(error).at(member.data),
    }
}

/// A stretch of a file as a stream.
struct Stream<'s> {
    source: &'s dyn ReadAt,
    at: u64,
    end: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = to_usize(self.end.saturating_sub(self.at)).min(buffer.len());
        let Some(part) = buffer.get_mut(..count) else { return Ok(0) };
        self.source.read_exact_at(part, self.at)?;
        self.at = self.at.saturating_add(to_u64(count));
        Ok(count)
    }
}
