//! Lists the files below a checkpoint's folder, links followed and reported, within limits.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::hub;
use crate::bytes::Pool;
use crate::facts::{Finding, Id, limits};

/// A file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path relative to the checkpoint; bytes that are not UTF-8 are replaced, for [`Entry::path`] has them.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Sorted by name.
    pub(super) entries: Vec<Entry>,
    /// The same files in the same order.
    pub(super) pool: Pool,
    pub(super) findings: Vec<Finding>,
}

impl Tree {
    /// Leaves out files.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
        self.pool = Pool::default();
        for entry in &self.entries {
            self.pool.add(entry.path.clone(), entry.name.clone());
        }
    }
}

/// Names that are never part of a checkpoint: version control, caches, unfinished work of ours.
pub(super) fn is_foreign(name: &str) -> bool {
    name == ".git" || name == ".cache" || is_partial(name)
}

/// Whether a name is that of an unfinished conversion.
pub(super) fn is_partial(name: &str) -> bool {
    name.ends_with(".ckpt-partial")
}

/// A checkpoint of one file.
pub(super) fn single(path: &Path, data: &Metadata) -> Tree {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut tree = Tree::default();
    tree.pool.add(path.to_owned(), name.clone());
    tree.entries.push(Entry { name, path: path.to_owned(), size: data.len() });
    tree
}

/// A checkpoint of some files of one folder.
pub(super) fn several(folder: &Path, names: Vec<String>) -> Tree {
    let mut tree = Tree::default();
    for name in names {
        let path = folder.join(&name);
        match std::fs::metadata(&path) {
            Ok(data) => {
                tree.pool.add(path.clone(), name.clone());
                tree.entries.push(Entry { name, path, size: data.len() });
            }
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                tree.findings.push(Finding::new(Id::FileUnreadable, message).in_file(name));
            }
        }
    }
    tree
}

/// Lists every regular file below `root`.
///
/// # Errors
/// If `root` itself cannot be listed; what cannot be below it is a finding.
pub(super) fn walk(root: &Path) -> io::Result<Tree> {
    let real = root.canonicalize()?;
    // The links of a snapshot in the hub's cache stay inside as long as they lead to its repository's blobs.
    let inside = hub::around(&real).unwrap_or(real);
    let mut walk = Walk { root: inside, tree: Tree::default(), seen: HashSet::new() };
    walk.folder(root, "", 0)?;
    let mut tree = walk.tree;
    tree.entries.sort_by(|a, b| a.name.cmp(&b.name));
    tree.findings.sort_by(|a, b| a.file.cmp(&b.file));
    for entry in &tree.entries {
        tree.pool.add(entry.path.clone(), entry.name.clone());
    }
    Ok(tree)
}

struct Walk {
    /// Canonical, to tell which links lead out.
    root: PathBuf,
    tree: Tree,
    /// Folders on the way here, by device and inode: a link may lead back to one.
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let data = std::fs::metadata(folder)?;
        if depth > limits::FOLDERS_DEEP || !self.seen.insert((data.dev(), data.ino())) {
            return Ok(());
        }
        for child in std::fs::read_dir(folder)? {
            let child = child?;
            let own = child.file_name();
            let name = format!("{prefix}{}", own.to_string_lossy());
            if is_partial(&own.to_string_lossy()) {
                let message = "an unfinished conversion lies here; convert again, or remove it";
                self.tree.findings.push(Finding::new(Id::PartialLeft, message).in_file(name));
                continue;
            }
            if is_foreign(&own.to_string_lossy()) {
                continue;
            }
            self.child(&child.path(), name, depth)?;
        }
        Ok(())
    }

    fn child(&mut self, path: &Path, name: String, depth: usize) -> io::Result<()> {
        if path.is_symlink() {
            match path.canonicalize() {
                Ok(to) if to.starts_with(&self.root) => {}
                Ok(to) => {
                    let message = "the symbolic link leads out of the checkpoint";
                    let finding = Finding::new(Id::LinkOutside, message).in_file(name.clone());
                    self.tree.findings.push(finding.needed("a target inside", to.to_string_lossy()));
                }
                Err(error) => {
                    let message = format!("the symbolic link leads to nothing: {error}");
                    self.tree.findings.push(Finding::new(Id::LinkDangling, message).in_file(name));
                    return Ok(());
                }
            }
        }
        let data = match std::fs::metadata(path) {
            Ok(data) => data,
            Err(error) => {
                self.unreadable(name, &error);
                return Ok(());
            }
        };
        if data.is_dir() {
            if let Err(error) = self.folder(path, &format!("{name}/"), depth.saturating_add(1)) {
                self.unreadable(name, &error);
            }
        } else if data.is_file() {
            if self.tree.entries.len() >= limits::FILES {
                return Err(io::Error::other(format!("more than {} files", limits::FILES)));
            }
            self.tree.entries.push(Entry { name, path: path.to_owned(), size: data.len() });
        }
        Ok(())
    }

    fn unreadable(&mut self, name: String, error: &io::Error) {
        let finding = Finding::new(Id::FileUnreadable, format!("cannot be read: {error}"));
        self.tree.findings.push(finding.in_file(name));
    }
}
