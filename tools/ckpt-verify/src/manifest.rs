//! `--manifest`: what is here against the digests that somebody wrote down, by the same code as `ckpt-hash --check`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ckpt::cli::{Context, Glob};
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Checkpoint;
use ckpt::manifests::{self, Manifest};

/// The folder that a manifest speaks of if no path is given: its own.
pub(crate) fn folder(manifest: &Path) -> PathBuf {
    let parent = manifest.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Looks whether there is a manifest, before the work begins.
pub(crate) fn prepare(manifest: &Path) -> Result<()> {
    std::fs::File::open(manifest).map(drop).with_context(|| manifest.display().to_string())
}

/// What is changed, missing and added. What is damaged in the checkpoint has been told already; what is left of it is
/// compared.
///
/// # Errors
/// If the manifest cannot be read or holds nothing that could be checked; those of reading.
pub(crate) fn check(checkpoint: &mut Checkpoint, file: &Path, context: &Context) -> Result<Vec<Finding>> {
    let manifest = manifests::read(file, None, Some(&checkpoint.path), None)?;
    let recorded = globs(&manifest)?;
    let excluded = |path: &str| recorded.iter().any(|glob| glob.matches(path));
    let told = std::mem::take(&mut checkpoint.findings);
    let checked = manifests::check(&manifest, checkpoint, &excluded, context.jobs.get(), &context.progress, None);
    checkpoint.findings = told;
    Ok(checked?.findings)
}

/// The patterns of what was left out when the manifest was made.
fn globs(manifest: &Manifest) -> Result<Vec<Glob>> {
    let read = |text: &String| {
        text.parse::<Glob>().map_err(|why| {
            let message = format!("the manifest leaves out {text:?}, which is no pattern: {why}");
            anyhow::Error::new(Finding::new(Id::ManifestInvalid, message).in_file(manifest.name.clone()))
        })
    };
    manifest.excluded.iter().map(read).collect()
}
