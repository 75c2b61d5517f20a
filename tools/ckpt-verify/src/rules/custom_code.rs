//! custom-code: programs that come with the weights.

use ckpt::facts::{Finding, Id};
use ckpt::layouts::Layout;

use super::explain;
use crate::case::Case;

explain! {
    /// Looks for `auto_map` in the config, by which transformers load classes that the checkpoint brings, and for `*.py`
    /// files on top of it.
    ///
    /// With `trust_remote_code=True` that code runs. It was not looked at.
    ///
    /// Read it before you trust it.
    CustomCode;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.checkpoint.layout == Layout::File {
        return;
    }
    if case.setting("auto_map").is_some() {
        let message = "the config names code of its own (`auto_map`), which runs with trust_remote_code";
        findings.push(Finding::new(Id::CustomCode, message).in_file(case.config_name()));
    }
    let is_code = |name: &&str| !name.contains('/') && name.ends_with(".py");
    let mut code = case.checkpoint.files.iter().map(|entry| entry.name.as_str()).filter(is_code);
    if let Some(first) = code.next() {
        let more = code.count();
        let more = if more > 0 { format!(", and {more} more files of code") } else { String::new() };
        let message = format!("a program lies beside the weights{more}");
        findings.push(Finding::new(Id::CustomCode, message).in_file(first));
    }
}
