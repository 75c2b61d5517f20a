//! One conversion from its source to its target.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ckpt::bytes::Pool;
use ckpt::cli::Context;
use ckpt::document::{Convert, Document, Source, Status, Written};
use ckpt::plan::read::Reader;

use crate::draft::{Content, Draft, Weights};
use crate::kinds::{self, Job};
use crate::options::{Options, refuse};
use crate::target::{self, Target};
use crate::whole::{self, Model, Whole};

/// Converts what a document speaks of.
///
/// # Errors
/// What kept it from being converted; then nothing stands at the target.
pub(crate) fn run(options: &Options, document: &mut Document, context: &Context) -> Result<Status> {
    if !context.admits(document, options.anyway) {
        return Ok(document.status);
    }
    let path = document.path();
    let whole = whole::open(options, &path, context)?;
    let readers: Vec<Reader<'_>> = whole.models.iter().map(|model| Reader::new(&model.checkpoint.pool)).collect();
    let inputs = options.inputs.get().copied().unwrap_or(1);
    let out = options.out.as_ref().map(|out| target::of(out, &path, inputs)).transpose()?;
    let one_file = match &out {
        Some(out) => target::one_file(out, options.kind(), inputs > 1)?,
        None => None,
    };
    if one_file.is_some() && whole.rest.is_some() {
        return refuse("a tree of models does not become one file", "name a directory with --out");
    }
    if let (Some(out), true) = (&out, options.dry_run) {
        target::admits(out, &path, options.force)?;
    }
    let job = |(model, reader)| job(options, context, model, reader, one_file.as_ref());
    let jobs: Vec<Job<'_>> = whole.models.iter().zip(&readers).map(job).collect();
    let mut drafts = Vec::new();
    for (job, model) in jobs.iter().zip(&whole.models) {
        drafts.push(draft(job, model).map_err(|error| whole::placed(error, &model.name))?);
    }
    for (draft, model) in drafts.iter().zip(&whole.models) {
        draft.warnings.iter().for_each(|warning| {
            context.warn(&whole::in_model(warning.clone(), &model.name));
        });
    }
    let written = match (&out, jobs.first(), drafts.first()) {
        _ if options.dry_run => Vec::new(),
        (_, Some(job), Some(draft)) if options.in_place => in_place(job, draft)?,
        (Some(out), ..) => write(&jobs, &drafts, &whole, &path, out)?,
        _ => Vec::new(),
    };
    let to = Told { options, context, out: out.filter(|_| !options.dry_run) };
    to.tell(document, whole, drafts, written);
    Ok(Status::Ok)
}

fn job<'a>(
    options: &'a Options,
    context: &'a Context,
    model: &'a Model,
    reader: &'a Reader<'a>,
    one_file: Option<&String>,
) -> Job<'a> {
    let one_file = one_file.or(model.one_file.as_ref()).cloned();
    Job { options, context, checkpoint: &model.checkpoint, reader, one_file, unpacked: model.unpacked }
}

/// Plans the conversion of one model.
fn draft(job: &Job<'_>, model: &Model) -> Result<Draft> {
    let mut draft = kinds::draft(job)?;
    draft.check(&model.checkpoint)?;
    crate::carry::outside(&model.outside, &mut draft);
    Ok(draft)
}

/// What the document is told of.
struct Told<'a> {
    options: &'a Options,
    context: &'a Context,
    /// What was written, if anything was.
    out: Option<PathBuf>,
}

impl Told<'_> {
    /// Says in the document what was made or would be: of a tree, each of its models in a child.
    fn tell(&self, document: &mut Document, whole: Whole, drafts: Vec<Draft>, mut written: Vec<Written>) {
        let is_tree = whole.rest.is_some();
        let mut children = Vec::new();
        for (model, draft) in whole.models.into_iter().zip(drafts) {
            // The table is asked for no more, and that of a large model takes as much room as its plan.
            let (path, pool) = (model.checkpoint.path, model.checkpoint.pool);
            if !is_tree {
                self.section(document, &pool, draft, std::mem::take(&mut written));
                continue;
            }
            let own = model.one_file.map_or_else(|| PathBuf::from(&model.folder), PathBuf::from);
            let child = document.child(&path);
            self.section(child, &pool, draft, below(&mut written, &own, &model.folder));
            if let Some(out) = &self.out {
                child.set_path(&out.join(own));
            }
            children.push(child.clone());
        }
        if let Some(rest) = whole.rest {
            // Nobody speaks any more of a model that was left out.
            document.children = children;
            self.section(document, &Pool::new(), rest, written);
        }
        if let Some(out) = &self.out {
            document.set_path(out);
        }
    }

    /// Fills in the section of one document.
    fn section(&self, document: &mut Document, source: &Pool, mut draft: Draft, written: Vec<Written>) {
        let plan = self.options.dry_run.then(|| draft.plan(source, self.options.link));
        draft.inferred.sort_by(|a, b| a.key.cmp(&b.key));
        draft.lost.sort();
        let warnings = self.context.policy.records(&draft.warnings);
        let status = self.context.policy.status(&warnings);
        let convert = Convert {
            to: self.options.kind().name().to_owned(),
            source: Source::take(document),
            inferred: draft.inferred,
            written,
            lost: draft.lost,
            warnings,
            plan,
        };
        document.convert = Some(convert.into());
        document.worsen(status);
    }
}

/// Takes what was written of one model out of all that was written, its paths told from the model's folder.
fn below(written: &mut Vec<Written>, own: &Path, folder: &str) -> Vec<Written> {
    let (here, others) = std::mem::take(written).into_iter().partition(|file| Path::new(&file.path).starts_with(own));
    *written = others;
    let here: Vec<Written> = here;
    let relative = |file: Written| {
        let path = file.path.strip_prefix(folder).unwrap_or(&file.path).trim_start_matches('/').to_owned();
        Written { path, ..file }
    };
    here.into_iter().map(relative).collect()
}

/// Writes the drafts beside the target, proves them and puts them in its place, all at once.
fn write(jobs: &[Job<'_>], drafts: &[Draft], whole: &Whole, source: &Path, out: &Path) -> Result<Vec<Written>> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let (options, context) = (first.options, first.context);
    let (progress, threads) = (&context.progress, context.jobs.get());
    let target = Target::begin(out, source, options.force)?;
    let root = target.folder().to_owned();
    let (mut small, mut large) = (0_u64, 0_u64);
    for draft in drafts.iter().chain(&whole.rest) {
        let outputs = draft.weights.iter().map(Weights::output).collect::<Result<Vec<_>, _>>()?;
        large = outputs.iter().fold(large, |sum, output| sum.saturating_add(output.size));
        let sizes = draft.files.values().map(|content| content.size(options.link).unwrap_or(0));
        small = sizes.fold(small, u64::saturating_add);
    }
    target::room(&root, small.saturating_add(large))?;
    progress.expect(large);
    // What lies beside a tree's models is no one's weights; any reader will do.
    if let Some(rest) = &whole.rest {
        target::fill(&root, rest, first.reader, options.link, threads, progress)?;
    }
    for ((job, draft), model) in jobs.iter().zip(drafts).zip(&whole.models) {
        let folder = root.join(&model.folder);
        let filled = target::fill(&folder, draft, job.reader, options.link, threads, progress);
        filled.map_err(|error| whole::placed(error, &model.name))?;
        // What lies between it and the top has got a folder, too.
        for between in Path::new(&model.folder).ancestors().skip(1) {
            target::sync_folder(&root.join(between))?;
        }
    }
    let overflowed = jobs.iter().fold(0_u64, |sum, job| sum.saturating_add(job.reader.overflowed()));
    if overflowed > 0 && !options.allow_overflow {
        let message = format!("{overflowed} finite values are too large for the dtype and would become infinite");
        return refuse(message, "choose another --dtype, or accept it with --allow-overflow");
    }
    for ((job, draft), model) in jobs.iter().zip(drafts).zip(&whole.models) {
        let folder = root.join(&model.folder);
        let proved = job
            .checkpoint
            .pool
            .unchanged()
            .map_err(Into::into)
            .and_then(|()| target::prove(&folder, &draft.weights, job.reader, options.verify, threads, progress));
        proved.map_err(|error| whole::placed(error, &model.name))?;
        if draft.checklist {
            let weights = draft.weights.iter().map(|weights| weights.name.clone());
            let mut names: Vec<String> = draft.files.keys().cloned().chain(weights).collect();
            names.sort();
            let list = target::checklist(&folder, &names, threads, progress)?;
            target::place(&folder.join("checklist.chk"), &Content::Made(list), options.link)?;
            target::sync_folder(&folder)?;
        }
    }
    let written = listing(&root)?;
    target.finish(jobs.iter().find_map(|job| job.one_file.as_deref()).filter(|_| whole.rest.is_none()))?;
    Ok(written)
}

/// Adds those small files of the draft that the source does not have.
fn in_place(job: &Job<'_>, draft: &Draft) -> Result<Vec<Written>> {
    let root = job.checkpoint.root();
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { &root };
    let _lock = target::lock(root)?;
    let mut written = Vec::new();
    for (name, content) in &draft.files {
        let path = root.join(name);
        target::clear(&path);
        if path.symlink_metadata().is_ok() || matches!(content, Content::Linked(_)) {
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
