//! ckpt-verify: may I train from this checkpoint, ship it, keep it?

mod against;
mod base;
mod case;
mod check;
mod deep;
mod expect;
mod explain;
mod manifest;
mod newest;
mod options;
mod report;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

use ckpt::cli::{self, Context, Example, Style, Tool};
use ckpt::document::{Document, Status};

use options::Options;

impl Tool for Options {
    const NAME: &'static str = "ckpt-verify";
    const ABOUT: &'static str =
        "May I train from this checkpoint, ship it, keep it? Says what is wrong with it, where, and what mends it.";
    const EXAMPLES: &'static [Example] = &[
        ("ckpt-verify model", "headers, shards, index, config, tokenizer: do they fit together?"),
        ("ckpt-verify --deep model", "read all data: checksums, NaN, Inf, zeros, recorded digests"),
        ("ckpt-verify --expect hf-save base", "before a job: will the save at its end find what it needs?"),
        ("ckpt-verify --newest --expect resume runs/7 | jq -r .path", "the newest step that a resume can start from"),
        ("ckpt-verify --against base-hf base", "is it the same model in another layout, to the bit?"),
        ("ckpt-verify --manifest model.json model", "is everything as it was, and nothing added?"),
        ("ckpt-verify --explain config-shape", "what a rule looks for, and why"),
        ("ls -d runs/*/ | ckpt-verify --paths-from - | jq -r 'select(.status != \"ok\").path'", "the bad ones of many"),
    ];

    fn instead(&self, style: Style) -> anyhow::Result<Option<String>> {
        explain::instead(self, style)
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.manifest.as_deref().map(manifest::folder).into_iter().collect()
    }

    fn prepare(&self, _: &[Document], _: &Context) -> anyhow::Result<()> {
        check::prepare(self)
    }

    fn run(&self, document: &mut Document, context: &Context) -> anyhow::Result<Status> {
        check::run(self, document, context)
    }

    fn report(&self, document: &Document, style: Style) -> String {
        report::report(document, style)
    }
}

fn main() -> ExitCode {
    cli::main::<Options>()
}
