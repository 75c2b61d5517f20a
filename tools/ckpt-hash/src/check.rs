//! Checks a checkpoint against a manifest and fills in the document's section.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ckpt::cli::{Context, Glob, Refusal, Usage};
use ckpt::document::{Check, Counts, Document, Hash, Status};
use ckpt::facts::{Finding, Id, limits};
use ckpt::layouts::inside::{self, Inside, Kind};
use ckpt::manifests::{self, Identity, Manifest};

use crate::kept::Kept;
use crate::options::Options;
use crate::{own, take};

/// The folder that a manifest speaks of if no path is given: its own.
pub(crate) fn folder(manifest: &Path) -> PathBuf {
    match manifest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Looks at the manifest before the work begins: without one there is nothing to check.
pub(crate) fn prepare(options: &Options) -> Result<()> {
    let Some(manifest) = &options.check else { return Ok(()) };
    if manifest.as_os_str() == "-" {
        let mut text = Vec::new();
        let limit = limits::JSON.saturating_add(1);
        std::io::stdin().lock().take(limit).read_to_end(&mut text).context("stdin")?;
        if limits::JSON < u64::try_from(text.len()).unwrap_or(u64::MAX) {
            return Err(Usage("the manifest on stdin is larger than one can be".to_owned()).into());
        }
        // It is set once, here.
        let _ = options.given.set(text);
    } else {
        std::fs::File::open(manifest).with_context(|| manifest.display().to_string())?;
    }
    Ok(())
}

/// Answers for one checkpoint.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let path = document.path();
    let given = options.given.get().map(Vec::as_slice);
    let mut manifest = match &options.check {
        Some(file) => manifests::read(file, given, Some(&path), options.algorithm)?,
        None => manifests::hub::read(&path)?,
    };
    let tree = inside::of(&path).filter(|inside| matches!(inside.kind, Kind::Tree) && context.from.is_none());
    if let (Some(tree), Some(_)) = (&tree, &options.check) {
        by_files(&mut manifest, tree)?;
    }
    let mut checkpoint = match options.check {
        Some(_) if tree.is_some() => take::list(&path, options)?,
        Some(_) => take::open(&path, options, context)?,
        // Of a repository in the cache every blob is looked at, not those of one snapshot.
        None => take::list(&path, options)?,
    };
    let recorded = globs(&manifest)?;
    // The cache may lie in the folder that it speaks of.
    let own = own::identities([&options.output, &options.cache]);
    let root = checkpoint.root();
    let is_own = |path: &str| {
        !own.is_empty() && std::fs::metadata(root.join(path)).is_ok_and(|data| own.contains(&Identity::of(&data)))
    };
    let excluded =
        |path: &str| is_own(path) || options.excludes(path) || recorded.iter().any(|glob| glob.matches(path));
    let cache = options.kept.get().map(Kept::cache);
    let jobs = context.jobs.get();
    let checked = manifests::check(&manifest, &mut checkpoint, &excluded, jobs, &context.progress, cache)?;
    let number = |id: Id| u64::try_from(checked.findings.iter().filter(|finding| finding.id == id).count());
    let findings = context.policy.records(&checked.findings);
    let status = context.policy.status(&findings);
    let tensors = manifest.tensors.as_ref();
    let check = Check {
        manifest: manifest.name.clone(),
        unchanged: checked.unchanged,
        changed: number(Id::ManifestChanged)?,
        missing: number(Id::ManifestMissing)?,
        added: number(Id::ManifestAdded)?,
        moved: number(Id::ManifestMoved)?,
        counts: Counts::of(&findings),
        findings,
    };
    document.hash = Some(
        Hash {
            algorithm: algorithm(&manifest).to_owned(),
            names: tensors.map(|tensors| tensors.names).unwrap_or_default().name().to_owned(),
            root: checked.root,
            excluded: options.exclude.iter().chain(&recorded).map(ToString::to_string).collect(),
            notes: manifest.notes,
            check: Some(check),
            ..Hash::default()
        }
        .into(),
    );
    Ok(status)
}

/// Of a tree of models the files are checked: its tensors stand in them.
fn by_files(manifest: &mut Manifest, tree: &Inside) -> Result<()> {
    if manifest.files.is_none() && manifest.files_root.is_none() {
        let help = format!("make it with --files, or check each of the models: {}", tree.listed());
        return Err(Refusal::new("the manifest lists no files, by which a tree of models is checked", help).into());
    }
    if manifest.tensors.take().is_some() {
        manifest.notes.push("the tensors of a tree are checked by the files they stand in".to_owned());
    }
    Ok(())
}

/// The patterns that were left out when the manifest was made.
fn globs(manifest: &Manifest) -> Result<Vec<Glob>> {
    let read = |text: &String| {
        text.parse::<Glob>().map_err(|why| {
            let message = format!("the manifest excludes {text:?}, which is no pattern: {why}");
            Finding::new(Id::ManifestInvalid, message).in_file(manifest.name.clone()).into()
        })
    };
    manifest.excluded.iter().map(read).collect()
}

fn algorithm(manifest: &Manifest) -> &'static str {
    let tensors = manifest.tensors.as_ref().map(|tensors| tensors.algorithm);
    let file = manifest.files.iter().flatten().map(|entry| entry.algorithm).next();
    let root = manifest.files_root.as_ref().map(|(algorithm, _)| *algorithm);
    tensors.or(file).or(root).unwrap_or_default().name()
}
