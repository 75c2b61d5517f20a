//! zip-crc: members of zips against the checksums recorded for them.

use anyhow::Result;
use ckpt::bytes::ReadAt;
use ckpt::facts::{FileId, Finding, Id, Progress, Recipe, Severity, Tensor};
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
        found.extend(members.into_iter().filter(Member::is_plain).filter_map(|member| {
            let stretch = Stretch { file, offset: member.data, bytes: member.size };
            Some(Recorded { stretch, crc32: recorded(&member)?, name: member.name })
        }));
    });
    found
}

/// The checksum of a member that has one and something to take it of.
fn recorded(member: &Member) -> Option<u32> {
    member.crc32.filter(|_| member.size > 0)
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

/// A note on each zip whose writer took no checksums: nothing can tell whether its members are whole.
pub(super) fn unrecorded(checkpoint: &Checkpoint, findings: &mut Vec<Finding>) {
    each_zip(checkpoint, |file, members| {
        let without: Vec<&Member> = members.iter().filter(|member| member.crc32.is_none() && member.size > 0).collect();
        let Some(first) = without.first() else { return };
        let message = format!(
            "no CRC-32 is recorded of {} members, {} first: nothing can tell whether they are whole",
            without.len(),
            first.name
        );
        let finding = Finding::new(Id::ZipCrc, message).severity(Severity::Note);
        findings.push(finding.in_file(checkpoint.pool.name(file)).at(first.header));
    });
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
    let mut packed: Vec<(FileId, u32, Member)> = Vec::new();
    each_zip(checkpoint, |file, members| {
        let members = members.into_iter().filter(|member| !member.is_plain());
        packed.extend(members.filter_map(|member| Some((file, recorded(&member)?, member))));
    });
    progress.expect(packed.iter().map(|(_, _, member)| member.packed).fold(0, u64::saturating_add));
    for (file, recorded, member) in packed {
        let source = checkpoint.pool.get(file)?;
        let named = |finding: Finding| finding.in_file(checkpoint.pool.name(file));
        let advance = |bytes| Ok::<(), anyhow::Error>(progress.advance(bytes)?);
        match zip::unpacked_crc32(&*source, &member, advance) {
            Ok(Some(crc32)) if crc32 != recorded => {
                findings.push(named(differs(&member.name, recorded, crc32)).at(member.data));
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
