//! The arguments that all tools have.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::policy::{Policy, Regrade};
use crate::document::Grade;
use crate::layouts::{Layout, Weights};

/// Arguments of every tool.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
pub(super) struct Common {
    /// Checkpoints: directories or files. With none, or with `-`, documents are read from stdin, one a line
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,

    /// Read more paths from FILE, one a line (`-`: stdin)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(super) paths_from: Option<PathBuf>,

    /// Paths of --paths-from end with a NUL byte, as those of `find -print0`
    #[arg(short = '0', long = "null", requires = "paths_from", help_heading = "Input")]
    pub(super) null: bool,

    /// Read the paths as that layout instead of finding it out
    #[arg(long, value_parser = layouts(), value_name = "LAYOUT", help_heading = "Input")]
    pub(super) from: Option<Layout>,

    /// Which weights are meant where a trainer keeps two (DeepSpeed's ZeRO): the fp32 masters or the module's 16-bit ones
    #[arg(long, value_enum, default_value = "master", value_name = "WHICH", help_heading = "Input")]
    pub(super) weights: Which,

    /// Print JSON, also on a terminal
    #[arg(long, conflicts_with = "text", help_heading = "Output")]
    pub(super) json: bool,

    /// Print a report for people, also into a pipe
    #[arg(long, conflicts_with = "pretty", help_heading = "Output")]
    pub(super) text: bool,

    /// Print JSON, indented
    #[arg(long, help_heading = "Output")]
    pub(super) pretty: bool,

    /// Print what is inside a path (steps of a run, parts of a pipeline) as documents of their own
    #[arg(long, help_heading = "Output")]
    pub(super) each: bool,

    /// Colours
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", help_heading = "Output")]
    pub(super) color: When,

    /// A progress bar on stderr, for work longer than a second
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", help_heading = "Output")]
    pub(super) progress: When,

    /// Print nothing on stderr; answers and exit codes stay the same
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,

    /// Regrade the findings of a rule: ignore, note, warning or error (repeatable)
    #[arg(long, value_name = "ID=LEVEL", help_heading = "Judgement")]
    pub(super) severity: Vec<Regrade>,

    /// Answer "no" (exit 1) from that grade of finding on
    #[arg(long, value_enum, default_value = "error", value_name = "LEVEL", help_heading = "Judgement")]
    pub(super) fail_on: FailOn,

    /// Threads that work [default: one a processor]
    #[arg(long, short, value_name = "N", help_heading = "General")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Print the JSON Schema of the documents
    #[arg(long, help_heading = "General")]
    pub(super) schema: bool,

    /// Print the manual page or a shell's completions
    #[arg(long, value_enum, value_name = "KIND", help_heading = "General")]
    pub(super) generate: Option<Generate>,
}

/// Whether to do something that suits a terminal: `auto` does it on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

/// Layouts by their names.
fn layouts() -> impl TypedValueParser<Value = Layout> {
    let unknown = |name: String| Layout::from_name(&name).ok_or_else(|| format!("there is no layout {name}"));
    PossibleValuesParser::new(Layout::names()).try_map(unknown)
}

/// Which of two sets of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    Master,
    Module,
}

impl From<Which> for Weights {
    fn from(which: Which) -> Weights {
        match which {
            Which::Master => Weights::Master,
            Which::Module => Weights::Module,
        }
    }
}

/// From which grade of finding on the answer is "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    Error,
    Warning,
    Note,
}

/// What `--generate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

impl Common {
    pub(super) fn policy(&self) -> Policy {
        let fail_on = match self.fail_on {
            FailOn::Error => Grade::Error,
            FailOn::Warning => Grade::Warning,
            FailOn::Note => Grade::Note,
        };
        Policy::new(&self.severity, fail_on)
    }

    pub(super) fn jobs(&self) -> NonZeroUsize {
        self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Whether something written to a terminal (or not) is coloured. See <https://no-color.org> for the variable.
    pub(super) fn colors(&self, is_terminal: bool) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && colors_are_welcome(),
        }
    }
}

/// Whether the environment has nothing against colours on a terminal.
pub(super) fn colors_are_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
