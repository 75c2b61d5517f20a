//! tensor-duplicate in a folder of files that nothing says belong together: each may be a checkpoint of its own.

use std::collections::BTreeMap;

use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::Layout;

use crate::case::Case;

/// What readers found. In a folder of loose files (`last.ckpt` beside `epoch=3.ckpt`, files of several ranks) names that
/// stand in two files are no damage: they become one warning a file.
pub(super) fn told(case: &Case<'_>) -> Vec<Finding> {
    let findings = case.checkpoint.findings.iter();
    if case.checkpoint.layout != Layout::Directory {
        return findings.cloned().collect();
    }
    let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for finding in findings {
        match finding.file.as_deref().filter(|file| is_shared(case, finding, file)) {
            Some(file) => {
                let count = shared.entry(file).or_default();
                *count = count.saturating_add(1);
            }
            None => kept.push(finding.clone()),
        }
    }
    kept.extend(shared.into_iter().map(|(file, count)| {
        let message =
            format!("{count} of its tensors stand in another file too; if each file is a checkpoint, give one of them");
        Finding::new(Id::TensorDuplicate, message).severity(Severity::Warning).in_file(file)
    }));
    kept
}

/// Whether a finding is about a name that another file has.
fn is_shared(case: &Case<'_>, finding: &Finding, file: &str) -> bool {
    let other = finding.tensor.as_deref().and_then(|name| case.tensor(name)).and_then(|tensor| tensor.recipe.file());
    finding.id == Id::TensorDuplicate && other.is_some_and(|other| case.checkpoint.pool.name(other) != file)
}
