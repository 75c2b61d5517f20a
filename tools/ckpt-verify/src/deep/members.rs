//! zip-crc: members of zips against the checksums recorded for them.

use anyhow::Result;
use ckpt::bytes::ReadAt;
use ckpt::facts::{FileId, Finding, Id, Progress, Recipe, Tensor};
use ckpt::formats::zip::{self, Member};
use ckpt::layouts::Checkpoint;
use ckpt::plan::scan::Stretch;

/// How every zip begins that has a member: the signature of a local header.
const ZIP: &[u8; 4] = b"PK\x03\x04";

/// A member that stands in its file as it is, and the CRC-32 recorded for it.
pub(super) struct Recorded {
    pub(super) stretch: Stretch,
    name: String,
    crc32: u32,
}

/// The members of every zip of the checkpoint that have a checksum, those of optimizers and random states too.
pub(super) fn find(checkpoint: &Checkpoint) -> Vec<Recorded> {
    let mut found = Vec::new();
    each_zip(checkpoint, |file, members| {
        let plain = members.into_iter().filter(|member| member.is_plain() && is_recorded(member));
        found.extend(plain.map(|member| Recorded {
            stretch: Stretch { file, offset: member.data, bytes: member.size },
            name: member.name,
            crc32: member.crc32,
        }));
    });
    found
}

/// A checksum of 0 means that none was taken (`torch.serialization.set_crc32_options(False)`).
fn is_recorded(member: &Member) -> bool {
    member.crc32 != 0 && member.size > 0
}

fn each_zip(checkpoint: &Checkpoint, mut visit: impl FnMut(FileId, Vec<Member>)) {
    for (place, entry) in checkpoint.files.iter().enumerate() {
        let file = FileId(place);
        // What cannot be opened or is no zip after all is other rules' affair.
        let Ok(source) = checkpoint.pool.get(file) else { continue };
        let mut begin = [0; 4];
        if entry.size < 4 || source.read_exact_at(&mut begin, 0).is_err() || begin != *ZIP {
            continue;
        }
        if let Ok(archive) = zip::read(&*source) {
            visit(file, archive.members);
        }
    }
}

/// Compares.
pub(super) fn compare(checkpoint: &Checkpoint, members: &[Recorded], crcs: &[u32], findings: &mut Vec<Finding>) {
    for (member, &crc32) in members.iter().zip(crcs) {
        if crc32 != member.crc32 {
            let finding = differs(&member.name, member.crc32, crc32);
            let finding = finding.in_file(checkpoint.pool.name(member.stretch.file)).at(member.stretch.offset);
            findings.push(match tensor_in(checkpoint, member.stretch) {
                Some(tensor) => finding.tensor(tensor.name.clone()),
                None => finding,
            });
        }
    }
}

fn differs(name: &str, recorded: u32, found: u32) -> Finding {
    let message = format!("the member {name} does not have the CRC-32 recorded for it; torch loads it all the same");
    Finding::new(Id::ZipCrc, message).needed(format!("{recorded:08x}"), format!("{found:08x}"))
}

/// The first tensor whose bytes are those of the stretch, or part of them.
fn tensor_in(checkpoint: &Checkpoint, stretch: Stretch) -> Option<&Tensor> {
    let end = stretch.offset.saturating_add(stretch.bytes);
    let inside = |tensor: &&Tensor| {
        let mut places = super::parts(&tensor.recipe).into_iter().filter_map(Recipe::contiguous);
        places.any(|(file, offset)| file == stretch.file && (stretch.offset..end).contains(&offset))
    };
    checkpoint.tensors.iter().find(inside)
}

/// Unpacks compressed members, which is what code and constants of `TorchScript` are, and compares.
///
/// # Errors
/// Those of reading, and being asked to stop.
pub(super) fn packed(checkpoint: &Checkpoint, progress: &Progress, findings: &mut Vec<Finding>) -> Result<()> {
    let mut packed: Vec<(FileId, Member)> = Vec::new();
    each_zip(checkpoint, |file, members| {
        let members = members.into_iter().filter(|member| !member.is_plain() && is_recorded(member));
        packed.extend(members.map(|member| (file, member)));
    });
    progress.expect(packed.iter().map(|(_, member)| member.packed).fold(0, u64::saturating_add));
    for (file, member) in packed {
        let source = checkpoint.pool.get(file)?;
        let named = |finding: Finding| finding.in_file(checkpoint.pool.name(file));
        let advance = |bytes| Ok::<(), anyhow::Error>(progress.advance(bytes)?);
        match zip::unpacked_crc32(&*source, &member, advance) {
            Ok(Some(crc32)) if crc32 != member.crc32 => {
                findings.push(named(differs(&member.name, member.crc32, crc32)).at(member.data));
            }
            Ok(_) => {}
            Err(error) => match error.downcast::<Finding>() {
                Ok(finding) if finding.id == Id::ZipInvalid => findings.push(named(finding)),
                Ok(finding) => return Err(named(finding).into()),
                Err(error) => return Err(error),
            },
        }
    }
    Ok(())
}
