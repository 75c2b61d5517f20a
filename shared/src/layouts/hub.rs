//! The cache of Hugging Face's hub on disk: `models--org--name/` with `blobs/` called by their digests, `snapshots/` of
//! links to them, one a commit, and `refs/` that name a commit (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::index;
use crate::facts::{Finding, Id, Severity};

/// Where a repository keeps them.
const BLOBS: &str = "blobs";
const REFS: &str = "refs";
const SNAPSHOTS: &str = "snapshots";

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// How a repository of a model is called; data sets and spaces have words of their own.
const MODEL: &str = "models--";

/// Longest name of a commit in a ref, in bytes: SHA-256, should git change to it, and a line feed.
const COMMIT: u64 = 66;

/// The snapshot that a repository's folder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder of the repository, and the snapshot's path in it: usable wherever the repository's path is.
    pub folder: PathBuf,
    /// The snapshot, relative to the repository: `snapshots/COMMIT`.
    pub name: String,
    /// Other snapshots, by the same sort of name, sorted.
    pub others: Vec<String>,
}

/// Whether a folder is a repository in the cache.
pub fn is_repository(folder: &Path) -> bool {
    folder.join(SNAPSHOTS).is_dir() && (folder.join(BLOBS).is_dir() || folder.join(REFS).is_dir())
}

/// The repositories of models in a folder, sorted by name; empty for what is no cache.
pub fn repositories(folder: &Path) -> Vec<PathBuf> {
    let children = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = children.filter(|child| child.file_name().to_string_lossy().starts_with(MODEL));
    let mut found: Vec<PathBuf> =
        named.map(|child| folder.join(child.file_name())).filter(|path| is_repository(path)).collect();
    found.sort();
    found
}

/// The snapshot that a repository's folder stands for: the one that `refs/main` names, else the only one there is.
/// `None` for a folder that is no repository.
///
/// # Errors
/// `snapshot-unclear` if there is none, or nothing says which is meant.
pub fn snapshot(folder: &Path) -> Option<Result<Snapshot, Finding>> {
    is_repository(folder).then(|| choose(folder))
}

fn choose(folder: &Path) -> Result<Snapshot, Finding> {
    let mut names = listed(&folder.join(SNAPSHOTS));
    let unclear = |message: String, names: &[String]| {
        let finding = Finding::new(Id::SnapshotUnclear, message).in_file(SNAPSHOTS);
        if names.is_empty() { finding } else { finding.fix(format!("give one of them: {}", names.join(", "))) }
    };
    let place = match (commit(folder, MAIN), names.len()) {
        (Some(commit), _) => names.iter().position(|name| *name == commit).ok_or_else(|| {
            unclear(
                format!("refs/main names {commit}, and there is no snapshot of it: a download that was not begun"),
                &names,
            )
        })?,
        (None, 0) => return Err(unclear("the repository has no snapshot: nothing was downloaded".to_owned(), &names)),
        (None, 1) => 0,
        (None, count) => {
            return Err(unclear(format!("there are {count} snapshots, and no refs/main says which is meant"), &names));
        }
    };
    let name = format!("{SNAPSHOTS}/{}", names.remove(place));
    let others = names.into_iter().map(|name| format!("{SNAPSHOTS}/{name}")).collect();
    Ok(Snapshot { folder: folder.join(&name), name, others })
}

/// The folders below a folder, sorted.
fn listed(folder: &Path) -> Vec<String> {
    let children = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = children.filter(|child| child.path().is_dir());
    let mut names: Vec<String> = folders.filter_map(|child| child.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The commit that a ref names.
fn commit(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(REFS).join(name);
    let size = std::fs::metadata(&path).ok()?.len();
    let text = if size <= COMMIT { std::fs::read_to_string(&path).ok()? } else { return None };
    let commit = text.trim();
    (index::is_safe(commit) && !commit.contains('/')).then(|| commit.to_owned())
}

/// The repository that a real path lies in a snapshot of: links that lead to its blobs stay inside.
pub(super) fn around(real: &Path) -> Option<PathBuf> {
    let snapshots = real.ancestors().skip(1).find(|folder| folder.file_name() == Some(OsStr::new(SNAPSHOTS)))?;
    snapshots.parent().filter(|folder| is_repository(folder)).map(Path::to_owned)
}

/// What downloads that were broken off left among the blobs of a snapshot's repository. Their names are relative to the
/// snapshot, two folders below the repository.
pub(super) fn unfinished(snapshot: &Path) -> Vec<Finding> {
    let real = snapshot.canonicalize().unwrap_or_else(|_| snapshot.to_owned());
    let at_top = real.parent().and_then(Path::file_name) == Some(OsStr::new(SNAPSHOTS));
    let Some(repository) = around(&real).filter(|_| at_top) else { return Vec::new() };
    let blobs = std::fs::read_dir(repository.join(BLOBS)).into_iter().flatten().flatten();
    let names = blobs.map(|blob| blob.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".incomplete")).collect();
    names.sort();
    let told = names.into_iter().map(|name| {
        let message = "a download of the repository left this blob before it was done";
        let finding = Finding::new(Id::PartialLeft, message).severity(Severity::Warning);
        finding.in_file(format!("../../{BLOBS}/{name}"))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn repository(snapshots: &[&str], main: Option<&str>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in [BLOBS, REFS, SNAPSHOTS] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in snapshots {
            fs::create_dir(folder.path().join(SNAPSHOTS).join(name)).unwrap();
        }
        if let Some(main) = main {
            fs::write(folder.path().join("refs/main"), main).unwrap();
        }
        folder
    }

    #[test]
    fn refs_name_the_snapshot() {
        type Case = (&'static [&'static str], Option<&'static str>, Result<&'static str, &'static str>);
        let cases: &[Case] = &[
            (&["aa", "bb"], Some("bb"), Ok("snapshots/bb")),
            (&["aa", "bb"], Some("bb\n"), Ok("snapshots/bb")),
            (&["aa"], None, Ok("snapshots/aa")),
            (&["aa", "bb"], None, Err("give one of them: aa, bb")),
            (&["aa"], Some("bb"), Err("give one of them: aa")),
            // A ref may not lead out.
            (&["aa"], Some("../aa"), Ok("snapshots/aa")),
            (&[], None, Err("")),
        ];
        for (snapshots, main, expected) in cases {
            let folder = repository(snapshots, *main);
            let chosen = snapshot(folder.path()).unwrap();
            let said = chosen.map(|chosen| chosen.name).map_err(|finding| finding.fix.unwrap_or_default());
            assert_eq!(said, expected.map(str::to_owned).map_err(str::to_owned), "{snapshots:?} {main:?}");
        }
        assert_eq!(snapshot(Path::new("/")), None);
    }

    #[test]
    fn a_snapshot_knows_its_repository() {
        let folder = repository(&["aa"], None);
        fs::write(folder.path().join("blobs/00.incomplete"), b"").unwrap();
        let real = folder.path().canonicalize().unwrap();
        assert_eq!(around(&real.join("snapshots/aa/vae")), Some(real.clone()));
        assert_eq!(around(&real.join("blobs")), None);
        let names = |path: &Path| unfinished(path).into_iter().filter_map(|finding| finding.file).collect::<Vec<_>>();
        assert_eq!(names(&real.join("snapshots/aa")), ["../../blobs/00.incomplete"]);
        assert!(names(&real).is_empty());
    }
}
