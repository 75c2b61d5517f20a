//! Takes the digests of a checkpoint and fills in the document's section.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use ckpt::bytes::Care;
use ckpt::cli::{self, Context, Refusal};
use ckpt::document::{Document, FileDigest, Hash, Status, TensorDigest};
use ckpt::facts::Id;
use ckpt::layouts::inside::{self, Kind};
use ckpt::layouts::{self, Checkpoint, Layout};
use ckpt::manifests::{self, Ask, Digests, Names, Scope, oms};

use crate::kept::Kept;
use crate::options::{Format, Options};
use crate::{own, tree};

/// Answers for a checkpoint, or for every one inside a path.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    any(options, document, "", context).map(|_| Status::Ok)
}

/// The same; `name` is that of a model in a tree, whose digests are returned too, unless there are several of a path.
fn any(options: &Options, document: &mut Document, name: &str, context: &Context) -> Result<Option<Digests>> {
    let inside = inside::of(&document.path()).filter(|_| context.from.is_none());
    // The lists of other programs are lists of files, and those below the folder are as good as any.
    let Some(inside) = inside else {
        let checkpoint = open(&document.path(), options, context)?;
        return one(options, document, name, &checkpoint, context);
    };
    if options.lists_files_only() {
        return one(options, document, name, &careful(inside.all()?, options), context);
    }
    document.hash = None;
    let paths = inside.paths();
    let mut models = Vec::new();
    let mut names = inside.names().iter();
    let is_tree = matches!(inside.kind, Kind::Tree);
    cli::inside(document, paths.iter().map(PathBuf::as_path), context, |child| {
        let name = names.next().filter(|_| is_tree).map_or("", String::as_str);
        let digests = any(options, child, name, context)?;
        models.extend(digests.map(|digests| (name.to_owned(), digests)));
        Ok(Status::Ok)
    })?;
    // Where one could not be digested nothing can be said of all.
    if is_tree && models.len() == paths.len() {
        let rest = careful(inside.rest()?, options);
        let (own, excluded) = (own::identities([&options.output, &options.cache]), |path: &str| options.excludes(path));
        let ask = ask(options, None, Scope { excluded: &excluded, own: &own });
        let beside = manifests::take(&rest, &ask, context.jobs.get(), &context.progress)?;
        let section = section(tree::joined(beside, models)?, options, document);
        document.hash = Some(Hash { tensors: None, ..section }.into());
    }
    Ok(None)
}

/// What is to be digested: tensors under these names, files of this scope.
fn ask<'a>(options: &'a Options, tensors: Option<Names>, scope: Scope<'a>) -> Ask<'a> {
    Ask {
        algorithm: options.algorithm(),
        tensors,
        files: !options.canonical || options.files || options.lists_files_only(),
        scope,
        cache: options.kept.get().map(Kept::cache),
    }
}

/// Answers for one checkpoint; returns the digests of one that is a model in a tree, as its name there says.
fn one(
    options: &Options,
    document: &mut Document,
    name: &str,
    checkpoint: &Checkpoint,
    context: &Context,
) -> Result<Option<Digests>> {
    let files_only = options.lists_files_only();
    if files_only && let Some(name) = unprintable(checkpoint) {
        let message = format!("the name of the file {name} is not UTF-8, which a list of digests cannot hold here");
        bail!(Refusal::new(message, "leave it out with --exclude, or take --format json"));
    }
    let own = own::identities([&options.output, &options.cache]);
    let statement = options.format == Format::Oms;
    // In a tree a file is left out by its path in the tree.
    let prefix = if checkpoint.layout == Layout::File { "" } else { name };
    let excluded = |path: &str| options.excludes(&tree::path(prefix, path)) || (statement && is_never_stated(path));
    let names = if options.canonical { Names::Canonical } else { Names::Stored };
    let ask = ask(options, (!files_only).then_some(names), Scope { excluded: &excluded, own: &own });
    let taken = manifests::take(checkpoint, &ask, context.jobs.get(), &context.progress)?;
    let met = options.duplicates.then(|| options.twins.meet(&document.path, &taken));
    // Nobody asks for the digests of a checkpoint that is no part of a tree, and those of a large one take much room.
    let kept = (!name.is_empty()).then(|| taken.clone());
    let mut section = section(taken, options, document);
    if let Some((mut shared, notes)) = met {
        if options.brief {
            for shared in &mut shared {
                shared.names = None;
            }
        }
        section.shared = Some(shared);
        section.notes.extend(notes);
    }
    if statement {
        section.excluded = unstated(checkpoint, &section);
    }
    document.hash = Some(section.into());
    Ok(kept)
}

/// Whether a statement never speaks of the file of that path.
fn is_never_stated(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    oms::NEVER.contains(&first)
}

/// The exact paths that are there and not digested: a statement names them one by one.
fn unstated(checkpoint: &Checkpoint, hash: &Hash) -> Vec<String> {
    let stated: BTreeSet<&str> = hash.files.iter().flatten().map(|file| file.path.as_str()).collect();
    let files = checkpoint.files.iter().map(|entry| entry.name.as_str());
    let cache = checkpoint.root().join(".cache").exists().then_some(".cache");
    let left = files.filter(|name| !stated.contains(name) && !is_never_stated(name)).chain(cache);
    left.map(str::to_owned).collect()
}

/// Opens a checkpoint. Unfinished conversions inside it are no part of it, and so no damage either.
pub(crate) fn open(path: &Path, options: &Options, context: &Context) -> Result<Checkpoint> {
    let checkpoint = layouts::open_weights(path, context.from, context.weights, context.jobs.get())?;
    Ok(careful(checkpoint, options))
}

/// The files below a folder, whatever they are.
pub(crate) fn list(path: &Path, options: &Options) -> Result<Checkpoint> {
    Ok(careful(layouts::list(path)?, options))
}

fn careful(mut checkpoint: Checkpoint, options: &Options) -> Checkpoint {
    checkpoint.findings.retain(|finding| finding.id != Id::PartialLeft);
    checkpoint.pool.set_care(options.rate.map(|rate| Arc::new(Care::new(rate))));
    checkpoint
}

/// A file whose name is not text.
fn unprintable(checkpoint: &Checkpoint) -> Option<&str> {
    let is_text = |path: &Path| path.file_name().and_then(OsStr::to_str).is_some();
    let odd = checkpoint.files.iter().find(|entry| !is_text(&entry.path) || entry.name.contains('\u{fffd}'))?;
    Some(&odd.name)
}

fn section(taken: Digests, options: &Options, document: &Document) -> Hash {
    let selected = document.selected();
    let says = |name: &str| selected.as_ref().is_none_or(|selected| selected.contains(name));
    let (tensors, root) = taken.tensors.unzip();
    let (files, files_root) = taken.files.unzip();
    let tensors = tensors.filter(|_| !options.brief).map(|tensors| {
        let said = tensors.into_iter().filter(|line| says(&line.name));
        said.map(|line| TensorDigest { name: line.name, dtype: line.dtype, shape: line.shape, digest: line.digest })
            .collect()
    });
    let files = files.filter(|_| !options.brief || options.lists_files_only()).map(|files| {
        files.into_iter().map(|line| FileDigest { path: line.path, size: line.size, digest: line.digest }).collect()
    });
    Hash {
        algorithm: taken.algorithm.name().to_owned(),
        names: taken.names.name().to_owned(),
        root,
        tensors,
        files_root,
        files,
        left_out: taken.left_out,
        excluded: options.exclude.iter().map(ToString::to_string).collect(),
        notes: taken.notes,
        check: None,
        shared: None,
        audit: None,
    }
}
