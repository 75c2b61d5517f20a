//! Digests that lie beside the weights, made by those who published them: `checklist.chk`, `*.sha256`.

use anyhow::Result;
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Checkpoint;
use ckpt::manifests;

/// Names and endings of lists of digests.
const NAMES: &[&str] = &["sha256sums", "sha256sums.txt", "md5sums", "md5sums.txt"];
const ENDINGS: &[&str] = &["checklist.chk", ".sha256", ".sha256sum", ".md5"];

/// Holds the files that such lists name against them. What a list does not name it does not speak of.
///
/// # Errors
/// Those of reading the files.
pub(crate) fn check(checkpoint: &mut Checkpoint, context: &Context) -> Result<Vec<Finding>> {
    let lists: Vec<String> = checkpoint
        .files
        .iter()
        .map(|entry| entry.name.clone())
        // Paths in a list are relative to its folder, and checked against the checkpoint's.
        .filter(|name| !name.contains('/') && is_list(name))
        .collect();
    let mut findings = Vec::new();
    for name in lists {
        let path = checkpoint.root().join(&name);
        let Ok(manifest) = manifests::read(&path, None, Some(&checkpoint.path), None) else { continue };
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

fn is_list(name: &str) -> bool {
    let lower = name.to_lowercase();
    NAMES.contains(&lower.as_str()) || ENDINGS.iter().any(|ending| lower.ends_with(ending))
}
