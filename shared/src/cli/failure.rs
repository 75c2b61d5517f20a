//! Why a run could not tell, as a document says it.

use std::fmt;
use std::io;
use std::path::Path;

use crate::document::ErrorRecord;
use crate::facts::{Finding, Id, Stopped};

/// The run refuses, though nothing is wrong with the checkpoint: a target exists, a target cannot hold something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused and why.
    pub message: String,
    /// What would help.
    pub help: Option<String>,
}

impl Refusal {
    /// A refusal, and what would help.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The command line asks for what cannot be. It ends the run with a usage error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The cause of that type, whether it is the error, a context of it, or deeper down.
fn cause<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<T>()))
}

/// The finding about the checkpoint that made the run fail, if it was one.
pub fn finding(error: &anyhow::Error) -> Option<&Finding> {
    cause(error)
}

/// The complaint about the command line that ended the run, if it was one.
pub(super) fn usage(error: &anyhow::Error) -> Option<&Usage> {
    cause(error)
}

/// Whether the run was stopped by a signal.
pub(super) fn is_stopped(error: &anyhow::Error) -> bool {
    cause::<Stopped>(error).is_some()
}

/// The record of an error. Findings keep their place; errors of the file system become `file-unreadable` if they
/// are about reading; everything else is `failed`.
pub fn record(error: &anyhow::Error) -> ErrorRecord {
    let plain = |id: &str| ErrorRecord {
        id: id.to_owned(),
        file: None,
        offset: None,
        tensor: None,
        message: format!("{error:#}"),
        help: None,
    };
    if let Some(refusal) = cause::<Refusal>(error) {
        return ErrorRecord { message: refusal.message.clone(), help: refusal.help.clone(), ..plain("failed") };
    }
    if let Some(finding) = finding(error) {
        let finding = finding.clone();
        return ErrorRecord {
            file: finding.file,
            offset: finding.offset,
            tensor: finding.tensor,
            message: match (finding.needed, finding.found) {
                (Some(needed), Some(found)) => format!("{} (needed {needed}, found {found})", finding.message),
                _ => finding.message,
            },
            help: finding.fix,
            ..plain(finding.id.name())
        };
    }
    match cause::<io::Error>(error) {
        Some(error) if is_about_writing(error.kind()) => plain("failed"),
        Some(_) => plain(Id::FileUnreadable.name()),
        None => plain("failed"),
    }
}

fn is_about_writing(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::FileTooLarge
            | Kind::ReadOnlyFilesystem
            | Kind::AlreadyExists
            | Kind::WriteZero
            | Kind::CrossesDevices
    )
}

/// The error of a path that cannot even be looked at.
pub(super) fn of_path(error: &io::Error) -> ErrorRecord {
    let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let id = if absent { Id::PathMissing } else { Id::FileUnreadable };
    let message = if absent { id.meaning().to_owned() } else { error.to_string() };
    ErrorRecord { id: id.name().to_owned(), file: None, offset: None, tensor: None, message, help: None }
}

/// The error of a defect in the tool itself; the panic's own message has gone to stderr.
pub(super) fn internal() -> ErrorRecord {
    let message = "the tool met a case it was not made for; please report it".to_owned();
    ErrorRecord { id: "internal".to_owned(), file: None, offset: None, tensor: None, message, help: None }
}

/// An error about the checkpoint at `path` in words for people.
pub(super) fn words(path: &str, error: &ErrorRecord) -> String {
    // A single file is its own path.
    let file = error.file.as_ref().filter(|file| !Path::new(path).ends_with(file));
    let parts = [
        Some(format!("{path}: ")),
        file.map(|file| format!("{file}: ")),
        error.offset.map(|offset| format!("byte {offset}: ")),
        Some(format!("{} [{}]", error.message, error.id)),
        error.tensor.as_ref().map(|tensor| format!(" tensor {tensor}")),
        error.help.as_ref().map(|help| format!("\n  {help}")),
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn errors_become_records_with_their_place() {
        let found = Finding::new(Id::ZipTruncated, "cut off").in_file("a.pth").at(7).needed(9, 8).fix("get it again");
        let error = Err::<(), _>(found).context("while reading").context("while planning").unwrap_err();
        let record = record(&error);
        assert_eq!(
            (record.id.as_str(), record.file.as_deref(), record.offset),
            ("zip-truncated", Some("a.pth"), Some(7))
        );
        assert_eq!(record.message, "cut off (needed 9, found 8)");
        assert_eq!(record.help.as_deref(), Some("get it again"));
        assert_eq!(
            words("x/a.pth", &record),
            "x/a.pth: byte 7: cut off (needed 9, found 8) [zip-truncated]\n  get it again"
        );
        assert!(words("x", &record).starts_with("x: a.pth: byte 7: "));
    }

    #[test]
    fn other_errors_are_told_apart() {
        let of = |kind: io::ErrorKind| record(&anyhow::Error::new(io::Error::from(kind)).context("a/b")).id;
        assert_eq!(of(io::ErrorKind::PermissionDenied), "file-unreadable");
        assert_eq!(of(io::ErrorKind::StorageFull), "failed");
        assert_eq!(record(&anyhow::anyhow!("odd")).id, "failed");
        let refusal = anyhow::Error::new(Refusal::new("the target exists", "--force replaces it")).context("x");
        assert_eq!(record(&refusal).help.as_deref(), Some("--force replaces it"));
        assert!(is_stopped(&anyhow::Error::new(Stopped).context("x")));
        assert!(usage(&anyhow::Error::new(Usage("x".into()))).is_some());
        assert_eq!(of_path(&io::Error::from(io::ErrorKind::NotADirectory)).id, "path-missing");
        assert_eq!(of_path(&io::Error::from(io::ErrorKind::PermissionDenied)).id, "file-unreadable");
    }
}
