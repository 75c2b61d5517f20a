//! Where a conversion goes: written beside under another name, locked, synced, compared with the plan, renamed.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use ckpt::bytes::work;
use ckpt::cli::Usage;
use ckpt::digests::Algorithm;
use ckpt::facts::{Finding, Id, Progress};
use ckpt::plan::compare;
use ckpt::plan::read::Reader;
use ckpt::plan::write;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::draft::{Content, Draft, Weights};
use crate::kinds::Kind;
use crate::options::{Link, refuse};

/// The target of one input among `inputs`.
///
/// # Errors
/// A usage error if the input's path has no name of its own to put below `out`.
pub(crate) fn of(out: &Path, input: &Path, inputs: usize) -> Result<PathBuf> {
    if inputs < 2 {
        return Ok(out.to_owned());
    }
    match input.components().next_back() {
        Some(Component::Normal(name)) => Ok(out.join(name)),
        _ => Err(Usage(format!("{} has no name to give its conversion", input.display())).into()),
    }
}

/// The name of the one file that the target is, if its own name says that it is a file.
///
/// # Errors
/// A usage error if the name promises another container than will be in it, or a file where a folder is made. Among
/// several inputs names are those of the inputs, and promise nothing.
pub(crate) fn one_file(target: &Path, kind: Kind, several: bool) -> Result<Option<String>> {
    let ending = target.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    if !["safetensors", "pth", "pt", "bin", "ckpt", "gguf"].contains(&ending) {
        return Ok(None);
    }
    let fits = match kind {
        Kind::Hf | Kind::Safetensors | Kind::Peft => ending == "safetensors",
        Kind::Torch | Kind::Torchtune => ["pth", "pt", "bin", "ckpt"].contains(&ending),
        Kind::Gguf => ending == "gguf",
        Kind::Meta | Kind::Mistral | Kind::Hub => false,
    };
    if fits {
        return Ok(target.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    if several {
        return Ok(None);
    }
    let made = match kind {
        Kind::Hf | Kind::Safetensors | Kind::Peft => "a directory or a .safetensors file",
        Kind::Torch | Kind::Torchtune => "a directory or a .pth, .pt, .bin or .ckpt file",
        Kind::Gguf => "a directory or a .gguf file",
        Kind::Meta | Kind::Mistral | Kind::Hub => "a directory",
    };
    Err(Usage(format!("{} cannot be the target: --to {} makes {made}", target.display(), kind.name())).into())
}

/// Where a path leads, though its last parts may not be there yet.
fn resolved(path: &Path) -> Result<PathBuf> {
    let mut rest = Vec::new();
    for ancestor in path.ancestors() {
        let here = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        if let Ok(place) = here.canonicalize() {
            return Ok(rest.iter().rev().fold(place, |place, name| place.join(name)));
        }
        let Some(name) = ancestor.file_name() else { break };
        rest.push(name);
    }
    Err(anyhow::anyhow!("cannot use the folder {}", path.display()))
}

/// Says no to a target inside a source, or around it. Nothing has been made yet.
///
/// # Errors
/// The refusal; a source or a folder that cannot be found.
pub(crate) fn apart(target: &Path, source: &Path) -> Result<()> {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = target.file_name() else {
        return refuse(format!("{} is no name for a target", target.display()), "name a new directory with --out");
    };
    let here = resolved(parent)?.join(name);
    let source = source.canonicalize().with_context(|| format!("cannot use the source {}", source.display()))?;
    if here.starts_with(&source) {
        let message = format!("the target {} lies inside the source, which is never written into", target.display());
        return refuse(message, "choose a target beside the source");
    }
    if source.starts_with(&here) {
        let message = format!("the target {} holds the source", target.display());
        return refuse(message, "choose a target beside the source");
    }
    Ok(())
}

/// Says no to a target that cannot be made: it exists, or lies inside the source or around it.
///
/// # Errors
/// The refusal; a source or a folder that cannot be found.
pub(crate) fn admits(target: &Path, source: &Path, force: bool) -> Result<()> {
    apart(target, source)?;
    if target.symlink_metadata().is_ok() && !force {
        let message = format!("the target {} exists", target.display());
        return refuse(message, "choose another with --out, or replace it whole with --force");
    }
    Ok(())
}

/// A target being written. Dropped before [`Target::finish`], it leaves nothing.
pub(crate) struct Target {
    target: PathBuf,
    partial: PathBuf,
    force: bool,
    /// Held until the end; the lock tells a working conversion from one that died.
    lock: Option<File>,
}

impl Target {
    /// Makes the working folder beside the target.
    ///
    /// # Errors
    /// If the target exists, lies inside the source or around it, or another conversion is writing it.
    pub(crate) fn begin(target: &Path, source: &Path, force: bool) -> Result<Target> {
        admits(target, source, force)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = target.file_name().unwrap_or_default();
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let place = parent.canonicalize().with_context(|| format!("cannot use the folder {}", parent.display()))?;
        let here = place.join(name);
        let partial = working(&here);
        let lock = claim(&partial)?;
        let begun = Target { target: here, partial, force, lock: Some(lock) };
        restore(&begun.target);
        if begun.target.symlink_metadata().is_ok() && !force {
            let message = format!("the target {} exists: it was brought back", target.display());
            return refuse(message, "a conversion was killed while it replaced it; use --force again");
        }
        Ok(begun)
    }

    /// The working folder. What is written there stands at the target in the end.
    pub(crate) fn folder(&self) -> &Path {
        &self.partial
    }

    /// Puts the finished work in the target's place: a folder whole, or the one file of it.
    ///
    /// # Errors
    /// If the target has appeared meanwhile, or the file system refuses.
    pub(crate) fn finish(mut self, one_file: Option<&str>) -> Result<()> {
        let made = one_file.map_or_else(|| self.partial.clone(), |name| self.partial.join(name));
        let there = self.target.symlink_metadata().is_ok();
        if there && self.force {
            exchange(&made, &self.target).with_context(|| format!("cannot replace {}", self.target.display()))?;
        } else if let Err(error) = renameat_with(CWD, &made, CWD, &self.target, RenameFlags::NOREPLACE) {
            // Without the flag, the check just made is all there is.
            if !is_unknown(error) || there {
                return Err(anyhow::Error::new(error).context(format!("cannot make {}", self.target.display())));
            }
            fs::rename(&made, &self.target).with_context(|| format!("cannot make {}", self.target.display()))?;
        }
        if let Some(parent) = self.target.parent() {
            sync_folder(parent)?;
        }
        // What is left under the working name: nothing, the empty folder, or what was replaced.
        remove(&self.partial);
        self.lock = None;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.lock.is_some() {
            remove(&self.partial);
        }
    }
}

/// Whether a file system does not know a flag of rename: NFS and others say so in one of these ways.
fn is_unknown(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Lets the two change places, so that at no moment there is neither. A file system that cannot do that has the old
/// one stand aside for the moment between two renames; [`restore`] brings it back if that moment was the last.
fn exchange(made: &Path, target: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, made, CWD, target, RenameFlags::EXCHANGE) {
        Err(error) if is_unknown(error) => {}
        other => return Ok(other?),
    }
    let aside = aside(target);
    fs::rename(target, &aside)?;
    fs::rename(made, target).inspect_err(|_| restore(target))?;
    remove(&aside);
    Ok(())
}

/// The name of a target that stands aside.
fn aside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".old");
    working(&target.with_file_name(name))
}

/// Brings back a target that stood aside when a conversion died; if there is a new one, the old one goes.
fn restore(target: &Path) {
    let aside = aside(target);
    if target.symlink_metadata().is_ok() {
        remove(&aside);
    } else {
        let _ = fs::rename(&aside, target);
    }
}

/// The name under which a target is written.
fn working(target: &Path) -> PathBuf {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(target.file_name().unwrap_or_default());
    hidden.push(".ckpt-partial");
    target.with_file_name(hidden)
}

/// Locks a folder that small files are added to, for as long as the answer lives.
///
/// # Errors
/// If another conversion adds to it.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let lock = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        return refuse(format!("another conversion adds to {}", folder.display()), "wait for it to end");
    }
    Ok(lock)
}

/// Removes what an earlier conversion left of a small file that it was adding.
pub(crate) fn clear(path: &Path) {
    remove(&working(path));
}

/// Makes the working folder and locks it. One that a dead conversion left is cleared first.
fn claim(partial: &Path) -> Result<File> {
    let taken = || {
        let message = format!("another conversion is writing {}", partial.display());
        refuse(message, "wait for it to end")
    };
    if partial.symlink_metadata().is_ok() {
        let left = File::open(partial);
        if left.as_ref().is_ok_and(|left| matches!(left.try_lock(), Err(TryLockError::WouldBlock))) {
            return taken();
        }
        // Its lock is held until it is gone, so that of two that find it only one clears it.
        remove(partial);
    }
    match fs::create_dir(partial) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return taken(),
        made => made.with_context(|| format!("cannot make {}", partial.display()))?,
    }
    let lock = File::open(partial).with_context(|| format!("cannot open {}", partial.display()))?;
    // File systems without locks work too; two conversions at once then fail at the rename.
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        return taken();
    }
    // Between making and locking it another may have cleared it as one that a dead conversion left.
    let same = partial
        .symlink_metadata()
        .is_ok_and(|now| lock.metadata().is_ok_and(|locked| (now.dev(), now.ino()) == (locked.dev(), locked.ino())));
    if same { Ok(lock) } else { taken() }
}

fn remove(path: &Path) {
    let is_folder = path.symlink_metadata().is_ok_and(|data| data.is_dir());
    let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", path.display()))
}

/// Says no before the first byte if the disk cannot hold what will be written.
///
/// # Errors
/// A refusal with both sizes.
pub(crate) fn room(folder: &Path, needed: u64) -> Result<()> {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let message = format!("{needed} bytes will be written and {} has {free} bytes free", folder.display());
    refuse(message, "make room, or choose a target on another disk")
}

/// Writes everything of a draft into a folder, which is made where it is not there, and syncs it.
///
/// # Errors
/// Those of reading the source and of writing; [`ckpt::facts::Stopped`] if asked to stop.
pub(crate) fn fill(
    folder: &Path,
    draft: &Draft,
    reader: &Reader<'_>,
    link: Link,
    jobs: usize,
    progress: &Progress,
) -> Result<()> {
    let names = draft.files.keys().map(String::as_str).chain(draft.weights.iter().map(|file| file.name.as_str()));
    let folders = folders(folder, names)?;
    for (name, content) in &draft.files {
        place(&folder.join(name), content, link)?;
    }
    for weights in &draft.weights {
        write::write(folder, &weights.output()?, reader, jobs, progress)?;
    }
    folders.iter().rev().try_for_each(|folder| sync_folder(folder))
}

/// Makes the folders that files of these names need below a folder, and that one. Returns each after the one it lies in.
fn folders<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<Vec<PathBuf>> {
    let parents = names.flat_map(|name| Path::new(name).ancestors().skip(1)).map(|parent| folder.join(parent));
    let folders: BTreeSet<PathBuf> = parents.chain([folder.to_owned()]).collect();
    for path in &folders {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(folders.into_iter().collect())
}

/// Puts one small file, or a link to a large one, where it belongs.
pub(crate) fn place(path: &Path, content: &Content, link: Link) -> Result<()> {
    match content {
        Content::Made(bytes) => {
            let write = || {
                let mut file = File::create_new(path)?;
                file.write_all(bytes)?;
                file.sync_all()
            };
            write().with_context(|| format!("cannot write {}", path.display()))
        }
        Content::Copied(from) => copy(from, path),
        Content::Linked(from) => match link {
            Link::Copy => copy(from, path),
            Link::Sym => {
                let to = from.canonicalize().with_context(|| format!("cannot find {}", from.display()))?;
                std::os::unix::fs::symlink(&to, path).with_context(|| format!("cannot link {}", path.display()))
            }
            Link::Hard => {
                // A hard link to a symbolic link would be one itself; the file is meant.
                let to = from.canonicalize().with_context(|| format!("cannot find {}", from.display()))?;
                match fs::hard_link(&to, path) {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                        let message =
                            format!("{} is on another file system, so there can be no hard link", from.display());
                        refuse(message, "choose a target on the same one, or --link sym, or --link copy")
                    }
                    Err(error) => Err(anyhow::Error::new(error).context(format!("cannot link {}", path.display()))),
                }
            }
        },
    }
}

/// Adds a small file beside others that stay: written under a working name, so that nothing half-written ever has
/// the real one, and never over an existing file.
pub(crate) fn add(path: &Path, content: &Content, link: Link) -> Result<()> {
    let partial = working(path);
    let put = place(&partial, content, link).and_then(|()| {
        let renamed = renameat_with(CWD, &partial, CWD, path, RenameFlags::NOREPLACE);
        renamed.with_context(|| format!("cannot make {}", path.display()))
    });
    if put.is_err() {
        remove(&partial);
    }
    put?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Copies the bytes and not the mode: what is written follows the umask.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copy = || {
        let mut source = File::open(from)?;
        let mut target = File::create_new(to)?;
        std::io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Opens what was written again and holds it against the plan: names, dtypes and shapes, and with `values` every bit.
///
/// # Errors
/// The first difference.
pub(crate) fn prove(
    folder: &Path,
    weights: &[Weights],
    reader: &Reader<'_>,
    values: bool,
    jobs: usize,
    progress: &Progress,
) -> Result<()> {
    for file in weights {
        let written = ckpt::layouts::open(&folder.join(&file.name), Some(ckpt::layouts::Layout::File), jobs)?;
        let wrong = |tensor: &str, message: &str| {
            let message = format!("{} was written wrongly: {message}", file.name);
            anyhow::Error::new(Finding::new(Id::AgainstGeometry, message).in_file(file.name.clone()).tensor(tensor))
        };
        if let Some(damage) = written.damage()
            && !file.tensors.is_empty()
        {
            return Err(damage.clone().into());
        }
        if written.tensors.len() != file.tensors.len() {
            return Err(wrong("", "it has another number of tensors"));
        }
        let found: std::collections::HashMap<&str, &ckpt::facts::Tensor> =
            written.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let again = Reader::new(&written.pool);
        work::run(jobs, file.tensors.len(), |number| {
            let Some(planned) = file.tensors.get(number) else { return Ok(()) };
            let Some(there) = found.get(planned.name.as_str()) else {
                return Err(wrong(&planned.name, "the tensor is not there"));
            };
            if (there.recipe.dtype, &there.recipe.shape) != (planned.recipe.dtype, &planned.recipe.shape) {
                return Err(wrong(&planned.name, "dtype or shape differ"));
            }
            if values {
                progress.expect(planned.recipe.len_bytes().saturating_mul(2));
                let pair = ((reader, &planned.recipe), (&again, &there.recipe));
                if compare::first_difference(pair.0, pair.1, progress)?.is_some() {
                    return Err(wrong(&planned.name, "the values differ"));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The lines of a `checklist.chk`: the MD5 of each file, as `md5sum` writes and Meta's downloads carry it.
///
/// # Errors
/// Those of reading the files again.
pub(crate) fn checklist(folder: &Path, names: &[String], jobs: usize, progress: &Progress) -> Result<Vec<u8>> {
    let mut pool = ckpt::bytes::Pool::new();
    let files: Vec<_> = names.iter().map(|name| pool.add(folder.join(name), name.clone())).collect();
    let taken = ckpt::plan::digest::take(&Reader::new(&pool), &files, &[], Algorithm::Md5, jobs, progress)?;
    let digests = taken.files.into_iter().map(|whole| whole.digest);
    let lines: Vec<(String, String)> = names.iter().cloned().zip(digests).collect();
    Ok(crate::metadata::checklist(&lines))
}
