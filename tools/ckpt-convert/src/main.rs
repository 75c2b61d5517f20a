//! ckpt-convert: make it that other kind.

mod carry;
mod convert;
mod cut;
mod draft;
mod kinds;
#[allow(dead_code, unused_imports, reason = "called by the conversions once they write the small files")]
mod metadata;
mod options;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    ckpt::cli::main::<options::Options>()
}
