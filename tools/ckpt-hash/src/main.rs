//! ckpt-hash: is it the same as before, is it the same as that one? Digests of files, of tensors, of the model.

mod check;
mod kept;
mod options;
mod own;
mod report;
mod take;
mod tree;
mod twins;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use ckpt::cli::{self, Context, Example, Style, Tool};
use ckpt::document::{Document, Status};

use kept::Kept;
use options::{Format, Options};

impl Tool for Options {
    const NAME: &'static str = "ckpt-hash";
    const ABOUT: &'static str =
        "Is it the same as before, is it the same as that one? Digests of files, tensors and the model";
    const EXAMPLES: &'static [Example] = options::EXAMPLES;

    fn paths(&self) -> Vec<PathBuf> {
        self.check.as_deref().map(check::folder).into_iter().collect()
    }

    fn prepare(&self, _: &[Document], context: &Context) -> Result<()> {
        self.sense()?;
        if let Some(file) = &self.cache {
            // It is set once, here.
            let _ = self.kept.set(Kept::open(file, self.subset, self.max_seconds, context));
        }
        check::prepare(self)
    }

    fn run(&self, document: &mut Document, context: &Context) -> Result<Status> {
        let status = if self.check.is_some() || self.hub {
            check::run(self, document, context)?
        } else {
            take::run(self, document, context)?
        };
        let rotten = self.kept.get().map_or(Status::Ok, |kept| kept.close(document, context));
        Ok(status.max(rotten))
    }

    fn report(&self, document: &Document, style: Style) -> String {
        report::text(document, style)
    }

    fn format(&self) -> Option<fn(&Self, &Document) -> String> {
        match self.format {
            Format::Json => None,
            Format::Sha256sum | Format::Checklist => Some(|_, document| report::sums(document)),
            Format::Oms => Some(|_, document| report::statement(document)),
        }
    }

    fn output(&self) -> Option<&Path> {
        self.output.as_deref()
    }
}

fn main() -> ExitCode {
    cli::main::<Options>()
}
