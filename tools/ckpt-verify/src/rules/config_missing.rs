//! config-missing: the file that says what model the weights are.

use ckpt::facts::{Finding, Id};
use ckpt::layouts::Layout;

use super::explain;
use crate::case::Case;

explain! {
    /// Looks for config.json in Hugging Face's layout and for params.json in Meta's and Mistral's.
    ///
    /// Nothing else says how many heads there are or what scales the rotary positions: no loader can build the model.
    ///
    /// Copy it from where the weights came from. Of a Meta download, `ckpt-convert --to hf` makes config.json.
    ConfigMissing;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let name = match case.checkpoint.layout {
        Layout::Hf => "config.json",
        Layout::Meta | Layout::Mistral => "params.json",
        Layout::Dcp | Layout::DeepSpeed | Layout::Adapter | Layout::Megatron | Layout::File | Layout::Directory => {
            return;
        }
    };
    let name = format!("{}{name}", case.checkpoint.weights.display());
    // One that is there and cannot be parsed has its own finding.
    if case.checkpoint.config.is_none() && case.checkpoint.root_file(&name).is_none() {
        let message = "nothing beside the weights says what model they are";
        findings.push(Finding::new(Id::ConfigMissing, message).in_file(name));
    }
}
