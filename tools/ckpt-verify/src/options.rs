//! What only ckpt-verify can be asked.

use std::path::PathBuf;

use clap::Args;

use crate::expect;

/// The options of ckpt-verify.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
pub(crate) struct Options {
    /// Read all data as well: checksums, NaN and Inf, zeros, recorded digests, copies that must be equal
    #[arg(long, help_heading = "Checks")]
    pub(crate) deep: bool,

    /// With --deep: smallest, largest, mean, deviation and norm of every tensor; and which tensors did not change, or whose
    /// norm jumped, since the run's step before or the checkpoint of --against
    #[arg(long, requires = "deep", help_heading = "Checks")]
    pub(crate) stats: bool,

    /// Check also that it is ready for that use
    #[arg(long, value_name = "USE", value_parser = expect::names(), help_heading = "Checks")]
    pub(crate) expect: Option<String>,

    /// PATH is the folder of a run: say which step is the newest complete one (with --expect: that is ready for USE). The
    /// document's path becomes that step; without one it stays, and the answer is no
    #[arg(long, conflicts_with_all = ["against", "manifest"], help_heading = "Checks")]
    pub(crate) newest: bool,

    /// Compare every tensor with those of another checkpoint, in whatever layout it is, to the bit
    #[arg(long, value_name = "OTHER", help_heading = "Checks")]
    pub(crate) against: Option<PathBuf>,

    /// For an adapter: the model that it belongs on; every module and shape is looked up there
    #[arg(long, value_name = "MODEL", help_heading = "Checks")]
    pub(crate) base: Option<PathBuf>,

    /// With --against: values may differ by X times the larger of 1 and their magnitude, and be of other dtypes
    #[arg(long, value_name = "X", requires = "against", value_parser = tolerance, help_heading = "Checks")]
    pub(crate) tolerance: Option<f64>,

    /// Compare every file and tensor with a manifest: a document of ckpt-hash, a list of `sha256sum`, `md5sum` or `b3sum`,
    /// a `checklist.chk`, a statement of OpenSSF Model Signing. What was added counts too. Without PATH, the manifest's
    /// folder is checked
    #[arg(long, value_name = "FILE", help_heading = "Checks")]
    pub(crate) manifest: Option<PathBuf>,

    /// List the rules
    #[arg(long, help_heading = "Rules")]
    pub(crate) rules: bool,

    /// Explain a rule
    #[arg(long, value_name = "ID", help_heading = "Rules")]
    pub(crate) explain: Option<String>,
}

/// A number that can be a tolerance.
fn tolerance(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("not a finite number from 0 on".to_owned()) }
}
