//! The command line as clap knows it: help, manual page, completions, usage errors.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::error::ErrorKind;
use clap::{Args, Command, FromArgMatches};

use super::Tool;
use super::common::{Common, Generate};

const EXIT_CODES: &str = "\
Exit codes:
  0    yes: nothing speaks against it
  1    no: something was found
  2    could not tell: wrong usage, a path that cannot be read, a run that failed
  130, 143    stopped by SIGINT, SIGTERM
The worst over all checkpoints counts, what earlier tools of a pipeline said included.";

/// The command of a tool.
pub(super) fn of<T: Tool>() -> Command {
    let mut after = String::from("Examples:\n");
    for (line, meaning) in T::EXAMPLES {
        // Writing to a string cannot fail.
        let _ = writeln!(after, "  {line}\n      {meaning}");
    }
    after.push('\n');
    after.push_str(EXIT_CODES);
    let command = Command::new(T::NAME)
        .bin_name(T::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(after)
        .max_term_width(100);
    // Said last: the comments on the structs of options would take its place.
    Common::augment_args(T::augment_args(command)).about(T::ABOUT).long_about(None)
}

/// What the command line turned out to be.
pub(super) enum Line<T> {
    /// Work, with the tool's options and the common ones. Boxed: they are read once and are large.
    Run(Box<(T, Common)>),
    /// Something to print: help, version.
    Print(String),
    /// A mistake, in words that name the command.
    Wrong(String),
}

/// Reads a command line; its first word is the program's name.
pub(super) fn read<T: Tool>(words: impl IntoIterator<Item = OsString>) -> Line<T> {
    let parsed = of::<T>().try_get_matches_from(words).and_then(|matches| {
        Ok(Line::Run(Box::new((T::from_arg_matches(&matches)?, Common::from_arg_matches(&matches)?))))
    });
    parsed.unwrap_or_else(|error| {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Line::Print(text),
            _ => Line::Wrong(text.strip_prefix("error: ").unwrap_or(&text).to_owned()),
        }
    })
}

/// A mistake that clap cannot see, in clap's form.
pub(super) fn misuse<T: Tool>(message: &str) -> String {
    let text = of::<T>().error(ErrorKind::MissingRequiredArgument, message).render().to_string();
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// What `--generate` prints.
pub(super) fn generate<T: Tool>(kind: Generate) -> std::io::Result<String> {
    let mut command = of::<T>();
    let mut text = Vec::new();
    let shell = match kind {
        Generate::Man => {
            clap_mangen::Man::new(command).render(&mut text)?;
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        Generate::Bash => clap_complete::Shell::Bash,
        Generate::Zsh => clap_complete::Shell::Zsh,
        Generate::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, T::NAME, &mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
