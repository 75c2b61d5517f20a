//! Files that a manifest digests piece by piece.

use std::collections::BTreeMap;

use anyhow::Result;

use super::check::Checked;
use super::read::{FileEntry, Piece};
use crate::bytes::ReadAt;
use crate::facts::{Dtype, FileId, Finding, Id, Recipe};
use crate::formats::detect;
use crate::layouts::Checkpoint;
use crate::plan::digest::{self, Means};
use crate::plan::read::Reader;

/// Entries of one piece each, as one entry a file: pieces of that size one after the other, of which only the last may
/// be smaller.
///
/// # Errors
/// A sentence, if they are not.
pub(super) fn join(entries: Vec<FileEntry>, size: u64) -> Result<Vec<FileEntry>, String> {
    let mut files: BTreeMap<String, FileEntry> = BTreeMap::new();
    for mut entry in entries {
        if let Some(file) = files.get_mut(&entry.path) {
            file.pieces.append(&mut entry.pieces);
        } else {
            files.insert(entry.path.clone(), FileEntry { digest: String::new(), ..entry });
        }
    }
    for file in files.values_mut() {
        file.pieces.sort_by_key(|piece| piece.range.start);
        let mut end = 0;
        for (number, piece) in file.pieces.iter().enumerate() {
            let is_last = number.saturating_add(1) == file.pieces.len();
            let len = piece.range.end.saturating_sub(piece.range.start);
            if piece.range.start != end || len == 0 || len > size || (len < size && !is_last) {
                return Err(format!("has pieces of {:?} that are not the whole of it", file.path));
            }
            end = piece.range.end;
        }
        file.size = Some(end);
    }
    Ok(files.into_values().collect())
}

/// Holds files against the digests of their pieces; those that were digested whole are passed over.
///
/// # Errors
/// Those of reading.
pub(super) fn compare(
    found: &[(&FileEntry, FileId)],
    checkpoint: &Checkpoint,
    means: &Means<'_>,
    checked: &mut Checked,
) -> Result<()> {
    let mut whole = Vec::new();
    for pair @ (entry, file) in found.iter().filter(|(entry, _)| !entry.pieces.is_empty()) {
        let (needed, found) = (entry.size.unwrap_or(0), size(checkpoint, *file)?);
        if needed == found {
            whole.push(pair);
        } else {
            let changed = changed(entry, "the file's bytes are not those of the manifest");
            checked.findings.push(changed.needed(format!("{needed} bytes"), format!("{found} bytes")));
        }
    }
    let digests = digests(&whole, checkpoint, means)?;
    let mut digests = digests.iter();
    for (entry, _) in whole {
        let pairs: Vec<(&Piece, &String)> = entry.pieces.iter().zip(digests.by_ref()).collect();
        let mut others = pairs.iter().filter(|(piece, digest)| piece.digest != **digest);
        let count = others.clone().count();
        let Some((piece, digest)) = others.next() else {
            checked.unchanged = checked.unchanged.saturating_add(1);
            continue;
        };
        let message = format!("{count} of the file's {} pieces are not those of the manifest", pairs.len());
        checked.findings.push(changed(entry, message).at(piece.range.start).needed(&piece.digest, *digest));
    }
    Ok(())
}

/// Which of some files has the pieces of a missing one, if any.
///
/// # Errors
/// Those of reading.
pub(super) fn moved(
    missing: &FileEntry,
    among: &[FileId],
    checkpoint: &Checkpoint,
    means: &Means<'_>,
) -> Result<Option<usize>> {
    for (place, file) in among.iter().enumerate() {
        if missing.size != Some(size(checkpoint, *file)?) {
            continue;
        }
        let digests = digests(&[&(missing, *file)], checkpoint, means)?;
        if missing.pieces.iter().map(|piece| &piece.digest).eq(&digests) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The digests of all pieces of files that are long enough, in order: each piece is a value of so many bytes.
fn digests(files: &[&(&FileEntry, FileId)], checkpoint: &Checkpoint, means: &Means<'_>) -> Result<Vec<String>> {
    let value = |file: FileId, piece: &Piece| {
        let len = piece.range.end.saturating_sub(piece.range.start);
        Recipe::bytes(Dtype::U8, vec![len], file, piece.range.start)
    };
    let values: Vec<Recipe> =
        files.iter().flat_map(|(entry, file)| entry.pieces.iter().map(|piece| value(*file, piece))).collect();
    let values: Vec<&Recipe> = values.iter().collect();
    Ok(digest::take_kept(&Reader::new(&checkpoint.pool), &[], &values, means)?.values)
}

/// Bytes of a file, also of one that no walk lists.
fn size(checkpoint: &Checkpoint, file: FileId) -> Result<u64> {
    let unreadable = |error| detect::unreadable(&error).in_file(checkpoint.pool.name(file));
    Ok(checkpoint.pool.get(file).map_err(unreadable)?.size())
}

fn changed(entry: &FileEntry, message: impl Into<String>) -> Finding {
    Finding::new(Id::ManifestChanged, message).in_file(entry.path.clone())
}
