//! Digests that lie with the weights, made by those who published them: `checklist.chk`, `*.sha256`, a signed `model.sig`.

use anyhow::Result;
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Checkpoint;
use ckpt::manifests::{self, Manifest};

/// Names and endings of lists of digests; `model.sig` is what model-signing calls its bundle.
const NAMES: &[&str] = &[
    "sha256sums",
    "sha256sums.txt",
    "md5sums",
    "md5sums.txt",
    "b2sums",
    "b2sums.txt",
    "b3sums",
    "b3sums.txt",
    "model.sig",
];
const ENDINGS: &[&str] =
    &["checklist.chk", ".sha256", ".sha256sum", ".md5", ".b2", ".b2sum", ".b3", ".b3sum", ".manifest.json"];

/// Holds the files that such lists name against them, on top and in folders. What a list does not name it does not
/// speak of; of a manifest that names tensors as well, the files are enough.
///
/// # Errors
/// Those of reading the files.
pub(crate) fn check(checkpoint: &mut Checkpoint, context: &Context) -> Result<Vec<Finding>> {
    let lists: Vec<String> =
        checkpoint.files.iter().map(|entry| entry.name.clone()).filter(|name| is_list(name)).collect();
    let mut findings = Vec::new();
    for name in lists {
        let path = checkpoint.root().join(&name);
        let Ok(manifest) = manifests::read(&path, None, Some(&checkpoint.path), None) else { continue };
        let manifest = Manifest { tensors: None, files_root: None, ..placed(manifest, &name, checkpoint) };
        let told = std::mem::take(&mut checkpoint.findings);
        let checked = manifests::check(&manifest, checkpoint, &|_| true, context.jobs.get(), &context.progress, None);
        checkpoint.findings = told;
        let counts = |finding: &Finding| matches!(finding.id, Id::ManifestChanged | Id::ManifestMissing);
        for mut finding in checked?.findings.into_iter().filter(counts) {
            finding.message = format!("{}, by {name}", finding.message);
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// The manifest with its paths relative to the checkpoint. They are meant from the folder of the list, as `sha256sum -c`
/// run there would take them, unless none of them is there and some are from the top.
fn placed(mut manifest: Manifest, name: &str, checkpoint: &Checkpoint) -> Manifest {
    let Some((folder, _)) = name.rsplit_once('/') else { return manifest };
    let Some(files) = &mut manifest.files else { return manifest };
    let there = |path: &str| checkpoint.file(path).is_some();
    let from_folder = |path: &str| format!("{folder}/{path}");
    let from_top =
        !files.iter().any(|entry| there(&from_folder(&entry.path))) && files.iter().any(|entry| there(&entry.path));
    if !from_top {
        for entry in files {
            entry.path = from_folder(&entry.path);
        }
    }
    manifest
}

fn is_list(name: &str) -> bool {
    let lower = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    NAMES.contains(&lower.as_str()) || ENDINGS.iter().any(|ending| lower.ends_with(ending))
}
