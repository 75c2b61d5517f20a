//! Takes the digests of a checkpoint and fills in the document's section.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use ckpt::cli::{self, Context, Refusal, Usage};
use ckpt::document::{Document, FileDigest, Hash, Status, TensorDigest};
use ckpt::facts::Id;
use ckpt::layouts::training::run;
use ckpt::layouts::{self, Checkpoint, Layout};
use ckpt::manifests::{self, Ask, Digests, Names, Scope};

use crate::options::Options;
use crate::own;

/// Answers for a checkpoint, or for every step of a run.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let run = run::of_folder(&document.path()).ok().filter(|run| context.from.is_none() && run.is_one());
    // The lists of other programs are lists of files, and those below the folder are as good as any.
    let Some(run) = run.filter(|_| !options.lists_files_only()) else { return one(options, document, context) };
    document.hash = None;
    let paths = run.steps.iter().map(|step| step.path.as_path());
    cli::inside(document, paths, context, |step| one(options, step, context))?;
    Ok(Status::Ok)
}

/// Answers for one checkpoint.
fn one(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    let checkpoint = open(&document.path(), context)?;
    let files_only = options.lists_files_only();
    if files_only && let Some(name) = unprintable(&checkpoint) {
        let message = format!("the name of the file {name} is not UTF-8, which a list of digests cannot hold here");
        bail!(Refusal::new(message, "leave it out with --exclude, or take --format json"));
    }
    let own = own::identities(options.output.as_deref());
    let excluded = |path: &str| options.excludes(path);
    let ask = Ask {
        algorithm: options.algorithm,
        tensors: (!files_only).then_some(if options.canonical { Names::Canonical } else { Names::Stored }),
        files: !options.canonical || options.files || files_only,
        scope: Scope { excluded: &excluded, own: &own },
    };
    let taken = manifests::take(&checkpoint, &ask, context.jobs.get(), &context.progress)?;
    document.hash = Some(section(taken, options, document).into());
    Ok(Status::Ok)
}

/// Opens a checkpoint. Unfinished conversions inside it are no part of it, and so no damage either.
pub(crate) fn open(path: &Path, context: &Context) -> Result<Checkpoint> {
    let layout = context.from.as_deref().map(|name| {
        Layout::from_name(name).ok_or_else(|| Usage(format!("there is no layout {name:?} to read a path --from")))
    });
    let mut checkpoint = layouts::open(path, layout.transpose()?, context.jobs.get())?;
    checkpoint.findings.retain(|finding| finding.id != Id::PartialLeft);
    Ok(checkpoint)
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
    }
}
