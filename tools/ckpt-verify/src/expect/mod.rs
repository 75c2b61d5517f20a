//! Readiness for a use, checked before the use begins: one file an expectation, one row each.

mod fix;
mod hf;
mod hf_save;
mod meta;
mod peft;
mod resume;

use ckpt::cli::Context;
use ckpt::facts::Finding;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;

use crate::case::Case;

/// What the use needs and has not.
type Check = fn(&Case<'_>, &Context) -> Vec<Finding>;

/// The word, what it stands for, and the check.
const ROWS: &[(&str, &str, Check)] = &[
    ("hf", "transformers loads it", hf::check),
    ("hf-save", "a job that saves in Hugging Face's format finds what it needs", hf_save::check),
    ("meta", "Meta's own code loads it", meta::check),
    ("peft", "AutoPeftModelForCausalLM loads it", peft::check),
    ("resume", "the training can go on from it as if it had never stopped", resume::check),
];

/// The words that `--expect` takes.
pub(crate) fn names() -> PossibleValuesParser {
    ROWS.iter().map(|(name, help, _)| PossibleValue::new(*name).help(*help)).collect::<Vec<_>>().into()
}

/// Checks one expectation.
pub(crate) fn check(name: &str, case: &Case<'_>, context: &Context) -> Vec<Finding> {
    ROWS.iter().find(|row| row.0 == name).map_or_else(Vec::new, |row| row.2(case, context))
}
