//! name-case, partial-left: names that do not travel, and what unfinished work leaves behind.

use std::collections::BTreeMap;

use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::Layout;
use ckpt::manifests::hub;

use super::explain;
use crate::case::Case;

explain! {
    /// Looks for two files whose names differ only in upper and lower case.
    ///
    /// On a disk that does not tell them apart (macOS, Windows, many network shares) one of the two replaces the other.
    NameCase;
    /// Looks for what unfinished work leaves: a folder or file of our own conversions (`.ckpt-partial`), an error; files
    /// that download programs and savers name `.incomplete`, `.tmp`, `.part` and alike until they are whole, a warning; so are
    /// those that the hub's client keeps below `.cache/huggingface` of the folder that it downloads into.
    ///
    /// Something was interrupted. What lies beside it may be complete or not.
    ///
    /// Run the conversion or download again, or remove the left-over.
    PartialLeft;
}

/// Endings of files that are not whole yet: the hub's client, curl and wget wrappers, browsers, aria2, rsync.
const UNFINISHED: &[&str] =
    &[".incomplete", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".aria2", ".download"];

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let partial = |name: String| {
        let message = "a download or a save left this behind before it was done";
        Finding::new(Id::PartialLeft, message).in_file(name).severity(Severity::Warning)
    };
    if case.checkpoint.layout != Layout::File {
        findings.extend(hub::unfinished(&case.checkpoint.path).into_iter().map(partial));
    }
    for entry in &case.checkpoint.files {
        let lower = entry.name.to_lowercase();
        if UNFINISHED.iter().any(|ending| lower.ends_with(ending)) {
            findings.push(partial(entry.name.clone()));
        }
        if let Some(other) = names.insert(lower, &entry.name) {
            let message = format!("{other} differs from this name only in case");
            findings.push(Finding::new(Id::NameCase, message).in_file(entry.name.clone()));
        }
    }
}
