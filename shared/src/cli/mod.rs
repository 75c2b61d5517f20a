//! Manners of all four tools: arguments, stdin, stdout, progress, exit codes.
//!
//! A tool is its options, and what it does with one checkpoint. Its `main.rs` reads:
//!
//! ```no_run
//! use ckpt::cli::{self, Context, Example, Style, Tool};
//! use ckpt::document::{Document, Hash, Status};
//!
//! /// What only this tool can be asked.
//! #[derive(Debug, clap::Args)]
//! struct Options {
//!     /// Leave the lists out
//!     #[arg(long)]
//!     brief: bool,
//! }
//!
//! impl Tool for Options {
//!     const NAME: &'static str = "ckpt-hash";
//!     const ABOUT: &'static str = "Is it the same as before?";
//!     const EXAMPLES: &'static [Example] = &[("ckpt-hash model", "digests of every file and tensor")];
//!
//!     fn run(&self, document: &mut Document, context: &Context) -> anyhow::Result<Status> {
//!         let bytes = std::fs::metadata(document.path())?.len();
//!         context.progress.expect(bytes);
//!         let hash = Hash { algorithm: "sha256".into(), ..Hash::default() };
//!         document.hash = Some(hash.into());
//!         Ok(Status::Ok)
//!     }
//!
//!     fn report(&self, document: &Document, style: Style) -> String {
//!         style.title(&document.path, document.status)
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     cli::main::<Options>()
//! }
//! ```

mod command;
mod common;
mod context;
mod failure;
mod figures;
mod frame;
mod glob;
mod input;
mod inside;
mod meter;
mod output;
mod policy;
mod signal;
pub mod style;
mod values;
mod voice;

use std::path::{Path, PathBuf};

pub use context::Context;
pub use failure::{Refusal, Usage, finding, record};
pub use figures::figures;
pub use frame::main;
pub use glob::{Glob, Selection};
pub use inside::inside;
pub use policy::{Policy, Regrade};
pub use style::{Cell, Role, Style, Table};
pub use values::{KeyValue, Size};

use crate::document::{Document, Status};

/// A command line, and what it does.
pub type Example = (&'static str, &'static str);

/// A tool: its own options, parsed, and what it does with them. Names of options must differ from the common ones.
pub trait Tool: clap::Args {
    /// The command.
    const NAME: &'static str;
    /// What it is for, in one line.
    const ABOUT: &'static str;
    /// Examples for the help and the manual page.
    const EXAMPLES: &'static [Example];
    /// Whether all inputs must be known before the work begins ([`Tool::prepare`]). A stream of documents then no
    /// longer flows.
    const GATHERS: bool = false;

    /// Text to print instead of looking at any checkpoint (`--rules`).
    fn instead(&self, style: Style) -> anyhow::Result<Option<String>> {
        let _ = style;
        Ok(None)
    }

    /// Paths to look at where the command line names none; if there are any, stdin is not read unless `-` asks for it.
    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Looks at the command line before the work begins; `inputs` is empty unless the tool [gathers](Tool::GATHERS).
    ///
    /// # Errors
    /// [`Usage`] for what cannot be asked for, anything else for what cannot be done: exit 2 either way.
    fn prepare(&self, inputs: &[Document], context: &Context) -> anyhow::Result<()> {
        let _ = (inputs, context);
        Ok(())
    }

    /// Looks at one checkpoint and fills in the tool's own section. The document comes with what earlier tools said;
    /// its path is there. The answer and the grades given to [`Context::warn`] can only worsen the document's status.
    ///
    /// # Errors
    /// What kept the tool from telling. A [`Finding`](crate::facts::Finding) among the causes gives the document's
    /// `error` its id and place, a [`Refusal`] its help; [`Stopped`](crate::facts::Stopped) ends the run.
    fn run(&self, document: &mut Document, context: &Context) -> anyhow::Result<Status>;

    /// The report for people, several lines; the frame sees to the line feed at its end. Where `run` failed it is
    /// called only if [`Tool::tells`] says that it has something to tell.
    fn report(&self, document: &Document, style: Style) -> String;

    /// Whether a document that `run` failed on says enough for a report of its own.
    fn tells(&self, _document: &Document) -> bool {
        false
    }

    /// Text that stands for the document on stdout, where the tool was asked for another format. Not called where
    /// `run` failed; then nothing stands for the document.
    fn format(&self) -> Option<fn(&Self, &Document) -> String> {
        None
    }

    /// A file that takes the place of stdout; it appears whole, and only if no document has the status `error`.
    fn output(&self) -> Option<&Path> {
        None
    }
}
