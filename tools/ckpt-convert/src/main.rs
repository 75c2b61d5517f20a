//! ckpt-convert: make it that other kind.

mod carry;
mod cast;
mod convert;
mod cut;
mod draft;
mod kinds;
mod merge;
mod metadata;
mod options;
mod report;
mod target;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    ckpt::cli::main::<options::Options>()
}
