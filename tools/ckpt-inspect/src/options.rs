//! What ckpt-inspect can be asked, and how it answers.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ckpt::cli::{self, Context, Example, Glob, Refusal, Selection, Style, Tool};
use ckpt::document::{Document, Inspect, Status};
use ckpt::facts::Severity;
use ckpt::layouts::inside::{self, Inside, Kind};
use ckpt::layouts::{self, Checkpoint, Layout};

use crate::report;
use crate::summary::{self, diff, stats, tensors, tree};

/// What only this tool can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// List every tensor: dtype, shape, bytes, file
    #[arg(long, help_heading = "What to show")]
    tensors: bool,

    /// Group the tensors by module, equal layers folded into one
    #[arg(long, help_heading = "What to show")]
    tree: bool,

    /// Read all values: smallest, largest, mean, deviation and norm of every tensor
    #[arg(long, help_heading = "What to show")]
    stats: bool,

    /// Compare names, shapes, dtypes and config with those of OTHER; exit 1 if they differ
    #[arg(long, value_name = "OTHER", help_heading = "What to show")]
    diff: Option<PathBuf>,

    /// Show only tensors whose names match GLOB; `*` crosses dots (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "What to show")]
    select: Vec<Glob>,

    /// Do not show tensors whose names match GLOB (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "What to show")]
    exclude: Vec<Glob>,
}

impl Tool for Options {
    const NAME: &'static str = "ckpt-inspect";
    const ABOUT: &'static str = "Say what a model checkpoint is, from its headers alone";
    const EXAMPLES: &'static [Example] = &[
        ("ckpt-inspect Llama3.2-1B", "layout, family, parameters, dtypes, what is missing"),
        ("ckpt-inspect --tree model.safetensors", "its modules, equal layers folded"),
        (
            "ckpt-inspect --tensors --select '*.wq.weight' runs/7 | jq '.inspect.tensors[].shape'",
            "some tensors as JSON",
        ),
        ("ckpt-inspect --diff base finetuned", "exit 1 if names, shapes, dtypes or config differ"),
        (
            "ls -d runs/*/ | ckpt-inspect --paths-from - | jq -r 'select(.inspect.training.step) | .path'",
            "which of them can be resumed",
        ),
    ];

    fn run(&self, document: &mut Document, context: &Context) -> Result<Status> {
        match inside::of(&document.path()).filter(|_| context.from.is_none()) {
            Some(inside) => self.several(&inside, document, context),
            None => self.one(document, context),
        }
    }

    fn report(&self, document: &Document, style: Style) -> String {
        report::of(document, style)
    }

    /// Headers of a damaged checkpoint still say much.
    fn tells(&self, document: &Document) -> bool {
        document.inspect.as_ref().is_some_and(|section| section.own().is_some())
    }
}

impl Options {
    /// Looks at every checkpoint inside a path.
    fn several(&self, inside: &Inside, document: &mut Document, context: &Context) -> Result<Status> {
        if self.diff.is_some() {
            let parts = inside.kind.parts();
            let message = format!("the path holds several {parts}, which cannot be compared as one");
            return Err(Refusal::new(message, format!("give one of the {parts}: {}", inside.listed())).into());
        }
        let paths = inside.paths();
        cli::inside(document, paths.iter().map(PathBuf::as_path), context, |child| self.run(child, context))?;
        let section = match inside.kind {
            Kind::Run(_) => summary::run::of(document),
            Kind::Tree => {
                let rest = inside.rest()?;
                let (own, _) = summary::of(&rest);
                summary::several::of(inside, document, own)
            }
            Kind::Cache => summary::several::of(inside, document, Inspect::default()),
        };
        document.inspect = Some(section.into());
        Ok(Status::Ok)
    }

    /// Looks at one checkpoint.
    fn one(&self, document: &mut Document, context: &Context) -> Result<Status> {
        let checkpoint = open(&document.path(), context.from, context)?;
        let (mut inspect, counts) = summary::of(&checkpoint);
        let selection = Selection { select: self.select.clone(), exclude: self.exclude.clone() };
        let named = document.selected();
        let shown = |name: &str| selection.admits(&[name]) && named.as_ref().is_none_or(|named| named.contains(name));
        if self.tensors {
            inspect.tensors = Some(tensors::list(&checkpoint, &shown));
        }
        if self.tree {
            inspect.tree = Some(tree::of(&checkpoint, &counts, &shown));
        }
        let damage = checkpoint.damage().cloned();
        if self.stats && damage.is_none() {
            inspect.stats = Some(stats::of(&checkpoint, &shown, context)?);
        }
        let mut status = Status::Ok;
        if let (Some(other), None) = (&self.diff, &damage) {
            let there = open(other, None, context)?;
            if let Some(damage) = there.damage() {
                document.inspect = Some(inspect.into());
                return Err(anyhow::Error::new(damage.clone()).context(other.display().to_string()));
            }
            let diff = diff::between(&checkpoint, &there, other, &shown);
            if !diff.is_empty() {
                status = Status::Findings;
            }
            inspect.diff = Some(diff);
        }
        let damage = damage.or_else(|| checkpoint.unchanged().err());
        // What could be read is told even of what is damaged.
        document.inspect = Some(inspect.into());
        let Some(damage) = damage else { return Ok(status) };
        let errors = checkpoint.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        if errors > 1 {
            context.say(&format!("{errors} errors, of which the first is told; `ckpt-verify` tells them all"));
        }
        Err(damage.into())
    }
}

/// Opens a checkpoint on as many threads as the run has.
fn open(path: &Path, layout: Option<Layout>, context: &Context) -> Result<Checkpoint> {
    layouts::open_weights(path, layout, context.weights, context.jobs.get())
}
