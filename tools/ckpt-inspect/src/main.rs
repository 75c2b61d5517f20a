//! ckpt-inspect: what is this checkpoint? Layout, family, tensors, parameters, training state, from headers alone.

mod options;
mod report;
mod summary;

use std::process::ExitCode;

fn main() -> ExitCode {
    ckpt::cli::main::<options::Options>()
}
