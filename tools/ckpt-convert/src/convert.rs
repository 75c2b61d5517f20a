//! One conversion from its source to its target.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ckpt::cli::{self, Context};
use ckpt::document::{Convert, Document, Source, Status, Written};
use ckpt::facts::{Finding, Id, Progress, Recipe};
use ckpt::layouts::Checkpoint;
use ckpt::layouts::inside::{self, Inside, Kind as Several};
use ckpt::plan::blocks::{BLOCK, Block};
use ckpt::plan::read::Reader;

use crate::cast;
use crate::draft::Draft;
use crate::kinds::{self, Job, Kind};
use crate::options::{Options, refuse};
use crate::target::{self, Target};

/// Converts what a document speaks of.
///
/// # Errors
/// What kept it from being converted; then nothing stands at the target.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    if !context.admits(document, options.anyway) {
        return Ok(document.status);
    }
    let path = document.path();
    let inside = inside::of(&path).filter(|_| context.from.is_none());
    let (mut checkpoint, outside) = match inside {
        None => open(options, &path, context)?,
        // The folder of DeepSpeed's steps says which of them is the newest.
        Some(inside) if matches!(inside.kind, Several::Run(_)) => open(options, &path, context).or_else(|error| {
            let nothing = cli::finding(&error).is_some_and(|finding| finding.id == Id::NotACheckpoint);
            if nothing { several(&inside) } else { Err(error) }
        })?,
        Some(inside) => return several(&inside),
    };
    let reader = Reader::new(&checkpoint.pool);
    let out = match &options.out {
        Some(out) => Some(target::of(out, &path, options.inputs.get().copied().unwrap_or(1))?),
        None => None,
    };
    let several = options.inputs.get().is_some_and(|&inputs| inputs > 1);
    let one_file = match &out {
        Some(out) => target::one_file(out, options.kind(), several)?,
        None => None,
    };
    if let (Some(out), true) = (&out, options.dry_run) {
        target::admits(out, &path, options.force)?;
    }
    let job = Job { options, context, checkpoint: &checkpoint, reader: &reader, one_file };
    let mut draft = kinds::draft(&job)?;
    draft.check(&checkpoint)?;
    crate::carry::outside(&outside, &mut draft);
    draft.warnings.iter().for_each(|warning| {
        context.warn(warning);
    });
    let written = if options.dry_run {
        Vec::new()
    } else if options.in_place {
        in_place(&job, &mut draft)?
    } else if let Some(out) = &out {
        write(&job, &mut draft, out)?
    } else {
        Vec::new()
    };
    // Nobody asks for the source's table any more, and that of a large model takes as much room as its plan.
    checkpoint.tensors = Vec::new();
    let plan = options.dry_run.then(|| draft.plan(&checkpoint.pool, options.link));
    draft.inferred.sort_by(|a, b| a.key.cmp(&b.key));
    draft.lost.sort();
    let convert = Convert {
        to: options.kind().name().to_owned(),
        source: Source::take(document),
        inferred: draft.inferred,
        written,
        lost: draft.lost,
        warnings: draft.warnings.iter().filter_map(|warning| context.policy.record(warning)).collect(),
        plan,
    };
    document.convert = Some(convert.into());
    if let (Some(out), false) = (&out, options.dry_run) {
        document.set_path(out);
    }
    Ok(Status::Ok)
}

/// Says no to several checkpoints at once.
fn several<T>(inside: &Inside) -> Result<T> {
    let parts = inside.kind.parts();
    let message = format!("the path holds several {parts}, and one at a time is converted");
    refuse(message, format!("give one of the {parts}: {}", inside.listed()))
}

/// Opens the source and takes out what is not wanted of it. Also returns the names of tensors that lie outside the
/// model, beside what wraps it.
fn open(options: &Options, path: &Path, context: &Context) -> Result<(Checkpoint, Vec<String>)> {
    let mut checkpoint = ckpt::layouts::open_weights(path, context.from, context.weights, context.jobs.get())?;
    // An unfinished small file of an earlier `--in-place` is cleared by this one.
    let ours = |finding: &Finding| options.in_place && finding.id == Id::PartialLeft && finding.file.is_some();
    checkpoint.findings.retain(|finding| !ours(finding));
    if let Some(damage) = checkpoint.damage() {
        return Err(damage.clone().into());
    }
    let wanted = options.selection();
    // An adapter is held against the whole base, whatever of it is wanted.
    let merges = options.merge_adapter.is_some();
    checkpoint.tensors.retain(|tensor| merges || wanted.admits(&tensor.name));
    checkpoint.replicas.retain(|replica| wanted.admits(&replica.tensor));
    if let Some(dtype) = options.dequantize {
        let config = checkpoint.config.as_ref().map(|config| &config.value);
        let reader = Reader::new(&checkpoint.pool);
        // A finding of a file that cannot be read goes on as one.
        let look = |recipe: &Recipe| {
            let mut bytes = Vec::new();
            let keep = |_: &Block, block: &[u8]| {
                bytes.extend_from_slice(block);
                Ok(())
            };
            let read = reader.stream(recipe, BLOCK, &Progress::default(), keep);
            read.map_err(|error| {
                let found = error.downcast::<Finding>();
                found.unwrap_or_else(|error| Finding::new(Id::FileUnreadable, error.to_string()))
            })?;
            Ok(Some(bytes))
        };
        let plain = ckpt::quantized::dequantized(&checkpoint.tensors, config, &look)?;
        checkpoint.tensors = plain.into_iter().map(|tensor| cast::unpacked(tensor, dtype)).collect();
    }
    // A plain container keeps the names as they are.
    let plain = matches!(options.kind(), Kind::Safetensors | Kind::Torch);
    let outside = if plain { Vec::new() } else { ckpt::canonical::unwrap(&mut checkpoint) };
    if let Some(adapter) = &options.merge_adapter {
        crate::merge::merge(options, &mut checkpoint, adapter, context)?;
        checkpoint.tensors.retain(|tensor| wanted.admits(&tensor.name));
    }
    if checkpoint.tensors.is_empty() {
        return refuse("no tensor is left to convert", "look at the names with `ckpt-inspect --tensors`");
    }
    Ok((checkpoint, outside))
}

/// Writes the draft beside the target, proves it and puts it in its place.
fn write(job: &Job<'_>, draft: &mut Draft, out: &Path) -> Result<Vec<Written>> {
    let (options, progress, jobs) = (job.options, &job.context.progress, job.jobs());
    let target = Target::begin(out, &job.checkpoint.path, options.force)?;
    let folder = target.folder().to_owned();
    let outputs = draft.weights.iter().map(crate::draft::Weights::output).collect::<Result<Vec<_>, _>>()?;
    let small: u64 = draft.files.values().map(|content| content.size(options.link).unwrap_or(0)).sum();
    let large: u64 = outputs.iter().map(|output| output.size).sum();
    target::room(&folder, small.saturating_add(large))?;
    progress.expect(large);
    target::fill(&folder, draft, job.reader, options.link, jobs, progress)?;
    let overflowed = job.reader.overflowed();
    if overflowed > 0 && !options.allow_overflow {
        let message = format!("{overflowed} finite values are too large for the dtype and would become infinite");
        return refuse(message, "choose another --dtype, or accept it with --allow-overflow");
    }
    job.checkpoint.pool.unchanged()?;
    target::prove(&folder, &draft.weights, job.reader, options.verify, jobs, progress)?;
    if draft.checklist {
        let weights = draft.weights.iter().map(|weights| weights.name.clone());
        let mut names: Vec<String> = draft.files.keys().cloned().chain(weights).collect();
        names.sort();
        let list = target::checklist(&folder, &names, jobs, progress)?;
        target::place(&folder.join("checklist.chk"), &crate::draft::Content::Made(list), options.link)?;
        target::sync_folder(&folder)?;
    }
    let written = listing(&folder)?;
    target.finish(job.one_file.as_deref())?;
    Ok(written)
}

/// Adds those small files of the draft that the source does not have.
fn in_place(job: &Job<'_>, draft: &mut Draft) -> Result<Vec<Written>> {
    let root = job.checkpoint.root();
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { &root };
    let _lock = target::lock(root)?;
    let mut written = Vec::new();
    for (name, content) in &draft.files {
        let path = root.join(name);
        target::clear(&path);
        if path.symlink_metadata().is_ok() || matches!(content, crate::draft::Content::Linked(_)) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        target::add(&path, content, job.options.link)?;
        let size = std::fs::metadata(&path).map_or(0, |data| data.len());
        written.push(Written { path: name.clone(), size });
    }
    Ok(written)
}

/// Every file below a folder, sorted.
fn listing(folder: &Path) -> Result<Vec<Written>> {
    fn walk(root: &Path, folder: &Path, files: &mut Vec<Written>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            let data = std::fs::metadata(&path)?;
            if data.is_dir() {
                walk(root, &path, files)?;
            } else {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                files.push(Written { path: name, size: data.len() });
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, folder, &mut files).with_context(|| format!("cannot list {}", folder.display()))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
