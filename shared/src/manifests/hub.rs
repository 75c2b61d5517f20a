//! The digests that a download from Hugging Face carries with it, read without a network.
//!
//! A file's entity tag on the hub is its SHA-256 if it is stored apart (LFS, Xet), else git's name of its content. The
//! hub's cache calls the blob by it (`models--org--name/blobs/ETAG`) and links it from `snapshots/COMMIT/`. A download
//! into a folder of one's own keeps it in `.cache/huggingface/download/NAME.metadata`: commit, tag and time, a line each.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::read::{FileEntry, Manifest};
use crate::digests::Algorithm;
use crate::facts::{Finding, Id, limits};

/// What the manifest is called in documents.
const NAME: &str = "hub";

/// Where a download into a folder keeps what it knows of each file.
const METADATA: &str = ".cache/huggingface/download";

/// Bytes of a metadata file: a commit, a tag, a time.
const METADATA_BYTES: u64 = 4096;

/// The manifest of a repository's folder in the hub's cache, of one of its snapshots, or of a folder that was downloaded
/// into.
///
/// # Errors
/// If the folder cannot be listed, or carries no digests.
pub fn read(folder: &Path) -> Result<Manifest> {
    let mut manifest = Manifest { name: NAME.to_owned(), files: Some(Vec::new()), ..Manifest::default() };
    if folder.join("blobs").is_dir() && folder.join("snapshots").is_dir() {
        repository(folder, &mut manifest)?;
    } else if folder.join(METADATA).is_dir() {
        download(folder, &mut manifest)?;
    } else {
        snapshot(folder, &mut manifest)?;
    }
    let files = manifest.files.get_or_insert_default();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.is_empty() && manifest.findings.is_empty() {
        let message = "nothing here says what was downloaded: this is no folder of the hub's cache, no snapshot in it, \
                       and no folder with .cache/huggingface/download";
        bail!(Finding::new(Id::ManifestInvalid, message).in_file(NAME));
    }
    Ok(manifest.inside())
}

/// A repository: every blob against its own name, every link of a snapshot against the blobs.
fn repository(folder: &Path, manifest: &mut Manifest) -> Result<()> {
    for (name, path) in walk(&folder.join("blobs"))? {
        let listed = format!("blobs/{name}");
        match entry(&listed, &name) {
            Some(entry) => manifest.files.get_or_insert_default().push(entry),
            None if path.extension() == Some(OsStr::new("incomplete")) => {
                let message = "the download of this file was not finished";
                manifest.findings.push(Finding::new(Id::ManifestMissing, message).in_file(listed));
            }
            None => {}
        }
    }
    for (name, path) in walk(&folder.join("snapshots"))? {
        if path.is_symlink() && !path.exists() {
            let message = "the blob of this file is not there";
            manifest.findings.push(Finding::new(Id::ManifestMissing, message).in_file(format!("snapshots/{name}")));
        } else if !path.is_symlink() {
            // Where links cannot be made, copies are: nothing says what they should hold.
            let message = "this is no link to a blob, so nothing says what it should hold";
            manifest.findings.push(Finding::new(Id::ManifestAdded, message).in_file(format!("snapshots/{name}")));
        }
    }
    manifest.excluded = ["*.incomplete", ".no_exist/*", "refs/*", "snapshots/*"].map(str::to_owned).to_vec();
    Ok(())
}

/// A snapshot: each link leads to a blob that is called by its digest.
fn snapshot(folder: &Path, manifest: &mut Manifest) -> Result<()> {
    for (name, path) in walk(folder)? {
        let Ok(target) = fs::read_link(&path) else { continue };
        let blob = target.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if target.parent().and_then(Path::file_name) != Some(OsStr::new("blobs")) {
            continue;
        }
        manifest.files.get_or_insert_default().extend(entry(&name, blob));
    }
    Ok(())
}

/// A folder that was downloaded into: each metadata file names the tag of its file.
fn download(folder: &Path, manifest: &mut Manifest) -> Result<()> {
    for (name, path) in walk(&folder.join(METADATA))? {
        let Some(name) = name.strip_suffix(".metadata") else { continue };
        let size = fs::metadata(&path).map_or(0, |data| data.len());
        let text = if size <= METADATA_BYTES { fs::read_to_string(&path).ok() } else { None };
        let tag = text.as_deref().and_then(|text| text.lines().nth(1)).map(|tag| tag.trim().trim_matches('"'));
        if let Some(entry) = tag.and_then(|tag| entry(name, tag)) {
            manifest.files.get_or_insert_default().push(entry);
        } else {
            let message = "what was kept of this file's download cannot be read";
            let place = format!("{METADATA}/{name}.metadata");
            manifest.findings.push(Finding::new(Id::ManifestInvalid, message).in_file(place));
        }
    }
    Ok(())
}

/// Downloads into a folder that were not finished: what the hub's client keeps below `.cache/huggingface` until a file is
/// whole, by their relative names, sorted. Empty where there is no such folder, or none that can be listed.
pub fn unfinished(folder: &Path) -> Vec<String> {
    let files = walk(&folder.join(METADATA)).unwrap_or_default();
    let unfinished = files.into_iter().filter(|(_, path)| path.extension() == Some(OsStr::new("incomplete")));
    unfinished.map(|(name, _)| format!("{METADATA}/{name}")).collect()
}

/// The entry of a file with that entity tag; none if the tag is no digest.
fn entry(path: &str, tag: &str) -> Option<FileEntry> {
    let algorithm = [Algorithm::Sha256, Algorithm::GitBlob].into_iter().find(|kind| kind.digits() == tag.len())?;
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    tag.bytes().all(lower_hex).then(|| FileEntry {
        path: path.to_owned(),
        size: None,
        algorithm,
        digest: tag.to_owned(),
        pieces: Vec::new(),
    })
}

/// Files and links below a folder, by their relative names, sorted; links are not followed.
fn walk(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let (mut found, mut folders) = (Vec::new(), vec![(String::new(), folder.to_owned(), 0_usize)]);
    while let Some((prefix, folder, depth)) = folders.pop() {
        let listed = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for child in listed {
            let child = child.with_context(|| folder.display().to_string())?;
            let name = format!("{prefix}{}", child.file_name().to_string_lossy());
            let is_folder = child.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < limits::FOLDERS_DEEP {
                folders.push((format!("{name}/"), child.path(), depth.saturating_add(1)));
            } else if !is_folder {
                found.push((name, child.path()));
            }
            if found.len() > limits::FILES {
                bail!("more than {} files in {}", limits::FILES, folder.display());
            }
        }
    }
    found.sort();
    Ok(found)
}
