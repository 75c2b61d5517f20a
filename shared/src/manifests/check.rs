//! Holds a manifest against a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::lines::{self, FileLine, TensorLine};
use super::pieces;
use super::read::{FileEntry, Manifest, Tensors};
use super::scope::{Identity, Scope};
use super::take;
use crate::canonical::Table;
use crate::digests::Algorithm;
use crate::facts::{FileId, Finding, Id, Progress};
use crate::layouts::Checkpoint;
use crate::plan::digest::{Cache, Means, Whole};
use crate::plan::read::Reader;

/// How a manifest and a checkpoint compare. Files and tensors are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is as the manifest says.
    pub unchanged: u64,
    /// Everything that is not, in order: the manifest's own faults, files, tensors.
    pub findings: Vec<Finding>,
    /// The root over the tensors that are there, if it was made.
    pub root: Option<String>,
}

/// Checks a checkpoint against a manifest. `excluded` says of a path whether the user leaves it out; a file that the
/// manifest names is checked all the same. What a cache knows is not read. The pool takes in files that no walk lists.
///
/// # Errors
/// Those of reading: what cannot be read can be neither changed nor unchanged.
pub fn check(
    manifest: &Manifest,
    checkpoint: &mut Checkpoint,
    excluded: &dyn Fn(&str) -> bool,
    jobs: usize,
    progress: &Progress,
    cache: Option<&Cache>,
) -> Result<Checked> {
    let own: Vec<Identity> = manifest.identity.into_iter().collect();
    let counted = Scope { excluded, own: &own }.files(checkpoint);
    let mut checked = Checked { findings: manifest.findings.clone(), ..Checked::default() };
    let mut table = None;
    if let Some(tensors) = &manifest.tensors {
        match self::table(tensors, checkpoint, jobs, progress)? {
            Ok(made) => table = Some(made),
            Err(finding) => checked.findings.push(finding),
        }
    }

    let listed = manifest.files.as_deref().unwrap_or_default();
    let (found, missing) = resolve(listed, checkpoint);
    let names: BTreeSet<&str> = listed.iter().map(|entry| entry.path.as_str()).collect();
    let added = counted.iter().copied().filter(|file| !names.contains(checkpoint.pool.name(*file)));
    // A list of pieces cannot name a file that has none.
    let in_pieces = listed.iter().any(|entry| !entry.pieces.is_empty());
    let added = added.filter(|file| !(in_pieces && checkpoint.size_of(*file) == 0));
    let mut added: Vec<FileId> = added.filter(|_| manifest.files.is_some()).collect();

    let mut groups = groups(&found);
    // What is missing may be there under another name.
    for entry in missing.iter().filter(|entry| entry.pieces.is_empty()) {
        let fits = |file: &&FileId| entry.size.is_none_or(|size| size == checkpoint.size_of(**file));
        groups.entry(entry.algorithm).or_default().extend(added.iter().filter(fits).copied());
    }
    if let (None, Some((algorithm, _))) = (&manifest.files, &manifest.files_root) {
        groups.entry(*algorithm).or_default().extend(counted.iter().copied());
    }
    if let Some(tensors) = &manifest.tensors {
        groups.entry(tensors.algorithm).or_default();
    }
    let mut digests: BTreeMap<(Algorithm, FileId), Whole> = BTreeMap::new();
    for (algorithm, files) in groups {
        let files: Vec<FileId> = files.into_iter().collect();
        let tensors = manifest.tensors.as_ref().filter(|tensors| tensors.algorithm == algorithm);
        let own = if tensors.is_some() { table.take() } else { None };
        let (lines, wholes) =
            take::digests(checkpoint, own.as_ref(), &files, &Means { algorithm, jobs, progress, cache })?;
        digests.extend(files.iter().map(|file| (algorithm, *file)).zip(wholes));
        if let (Some(tensors), Some(own)) = (tensors, own) {
            compare_tensors(tensors, own, lines, &mut checked)?;
        }
    }
    compare_files(&found, &digests, &mut checked);
    let of_pieces = |algorithm| Means { algorithm, jobs, progress, cache };
    if let Some(entry) = listed.first().filter(|_| in_pieces) {
        pieces::compare(&found, checkpoint, &of_pieces(entry.algorithm), &mut checked)?;
    }
    for entry in missing {
        let same =
            |file: &FileId| digests.get(&(entry.algorithm, *file)).is_some_and(|whole| whole.digest == entry.digest);
        let place = if entry.pieces.is_empty() {
            added.iter().position(same)
        } else {
            pieces::moved(entry, &added, checkpoint, &of_pieces(entry.algorithm))?
        };
        if let Some(place) = place {
            let name = checkpoint.pool.name(added.remove(place));
            let moved = Finding::new(Id::ManifestMoved, "the file has another name in the manifest").in_file(name);
            checked.findings.push(moved.needed(&entry.path, name));
            continue;
        }
        let exists = checkpoint.root().join(&entry.path).exists();
        let message = if exists { "this is not a file" } else { "the file is not there" };
        checked.findings.push(Finding::new(Id::ManifestMissing, message).in_file(entry.path.clone()));
    }
    let of_file = |file: &FileId| {
        let message = "the manifest does not name this file";
        Finding::new(Id::ManifestAdded, message).in_file(checkpoint.pool.name(*file))
    };
    checked.findings.extend(added.iter().map(of_file));
    if let (None, Some((algorithm, root))) = (&manifest.files, &manifest.files_root) {
        let line = |file: &FileId| {
            let whole = digests.get(&(*algorithm, *file))?;
            let path = checkpoint.pool.name(*file).to_owned();
            Some(FileLine { path, size: whole.size, digest: whole.digest.clone() })
        };
        let lines: Vec<FileLine> = counted.iter().filter_map(line).collect();
        let made = lines::files_root(*algorithm, &lines)?;
        compare_roots(root, &made, "the files are not those of the manifest, which does not list them", &mut checked);
    }
    checked.findings.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok(checked)
}

fn key(finding: &Finding) -> (bool, bool, &Option<String>, &Option<String>, Id) {
    let about_manifest = matches!(finding.id, Id::ManifestInvalid | Id::NameUnsafe);
    (!about_manifest, finding.tensor.is_some(), &finding.file, &finding.tensor, finding.id)
}

/// The tensors that are there; or, if the checkpoint is damaged, what is wrong with it.
fn table(
    tensors: &Tensors,
    checkpoint: &Checkpoint,
    jobs: usize,
    progress: &Progress,
) -> Result<Result<Table, Finding>> {
    let reader = Reader::new(&checkpoint.pool);
    let made = match checkpoint.damage() {
        Some(damage) => Err(damage.clone().into()),
        None => take::table(checkpoint, tensors.names, &reader, jobs, progress),
    };
    made.map(Ok).or_else(|error| match error.downcast::<Finding>() {
        // These say nothing about the checkpoint.
        Ok(finding) if matches!(finding.id, Id::FileUnreadable | Id::FileChanged | Id::Unsupported) => bail!(finding),
        Ok(finding) => Ok(Err(finding)),
        Err(error) => Err(error),
    })
}

/// The files that a manifest names, and those of them that are not there.
fn resolve<'m>(
    listed: &'m [FileEntry],
    checkpoint: &mut Checkpoint,
) -> (Vec<(&'m FileEntry, FileId)>, Vec<&'m FileEntry>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for entry in listed {
        let path = checkpoint.root().join(&entry.path);
        if let Some((file, _)) = checkpoint.file(&entry.path) {
            found.push((entry, file));
        } else if path.is_file() {
            found.push((entry, checkpoint.pool.add(path, entry.path.clone())));
        } else {
            missing.push(entry);
        }
    }
    (found, missing)
}

/// The files to digest, by algorithm.
fn groups(found: &[(&FileEntry, FileId)]) -> BTreeMap<Algorithm, BTreeSet<FileId>> {
    let mut groups: BTreeMap<Algorithm, BTreeSet<FileId>> = BTreeMap::new();
    for (entry, file) in found.iter().filter(|(entry, _)| entry.pieces.is_empty()) {
        groups.entry(entry.algorithm).or_default().insert(*file);
    }
    groups
}

fn compare_files(
    found: &[(&FileEntry, FileId)],
    digests: &BTreeMap<(Algorithm, FileId), Whole>,
    checked: &mut Checked,
) {
    for (entry, file) in found {
        let Some(whole) = digests.get(&(entry.algorithm, *file)) else { continue };
        let changed = Finding::new(Id::ManifestChanged, "the file's bytes are not those of the manifest");
        let changed = changed.in_file(entry.path.clone());
        match entry.size {
            Some(size) if size != whole.size => {
                checked.findings.push(changed.needed(format!("{size} bytes"), format!("{} bytes", whole.size)));
            }
            _ if whole.digest != entry.digest => {
                checked.findings.push(changed.needed(&entry.digest, &whole.digest));
            }
            _ => checked.unchanged = checked.unchanged.saturating_add(1),
        }
    }
}

fn compare_tensors(
    wanted: &Tensors,
    mut table: Table,
    mut lines: Vec<TensorLine>,
    checked: &mut Checked,
) -> Result<()> {
    take::leave_head_out(&mut table, &mut lines);
    let root = lines::root(wanted.algorithm, &lines)?;
    checked.root = Some(root.clone());
    let Some(listed) = &wanted.lines else {
        let message = "the tensors are not those of the manifest, which does not list them";
        compare_roots(&wanted.root, &root, message, checked);
        return Ok(());
    };
    let mut there: BTreeMap<&str, &TensorLine> = lines.iter().map(|line| (line.name.as_str(), line)).collect();
    let mut missing: Vec<&TensorLine> = Vec::new();
    for line in listed {
        let of = |id, message: &str| Finding::new(id, message).tensor(line.name.clone());
        let geometry = |line: &TensorLine| format!("{} {:?}", line.dtype, line.shape);
        match there.remove(line.name.as_str()) {
            None => missing.push(line),
            Some(own) if (&own.dtype, &own.shape) != (&line.dtype, &line.shape) => {
                let changed = of(Id::ManifestChanged, "the tensor has another dtype or shape than in the manifest");
                checked.findings.push(changed.needed(geometry(line), geometry(own)));
            }
            Some(own) if own.digest != line.digest => {
                let changed = of(Id::ManifestChanged, "the tensor's values are not those of the manifest");
                checked.findings.push(changed.needed(&line.digest, &own.digest));
            }
            Some(_) => checked.unchanged = checked.unchanged.saturating_add(1),
        }
    }
    moved(&missing, &mut there, checked);
    let added = |name: &&str| Finding::new(Id::ManifestAdded, "the manifest does not name this tensor").tensor(*name);
    checked.findings.extend(there.keys().map(added));
    Ok(())
}

/// Looks for missing tensors among those that the manifest does not name; whichever is found is taken out of them.
fn moved(missing: &[&TensorLine], there: &mut BTreeMap<&str, &TensorLine>, checked: &mut Checked) {
    let mut names: BTreeMap<(String, String, Vec<u64>), BTreeSet<String>> = BTreeMap::new();
    let key = |line: &TensorLine| (line.digest.clone(), line.dtype.clone(), line.shape.clone());
    for line in there.values() {
        names.entry(key(line)).or_default().insert(line.name.clone());
    }
    for line in missing {
        let Some(name) = names.get_mut(&key(line)).and_then(BTreeSet::pop_first) else {
            let missing = Finding::new(Id::ManifestMissing, "the tensor is not there");
            checked.findings.push(missing.tensor(line.name.clone()));
            continue;
        };
        there.remove(name.as_str());
        let moved = Finding::new(Id::ManifestMoved, "the tensor has another name in the manifest").tensor(&name);
        checked.findings.push(moved.needed(&line.name, &name));
    }
}

fn compare_roots(needed: &str, found: &str, message: &str, checked: &mut Checked) {
    if needed == found {
        checked.unchanged = checked.unchanged.saturating_add(1);
    } else {
        checked.findings.push(Finding::new(Id::ManifestChanged, message).needed(needed, found));
    }
}
