//! tensor-empty, tensor-absent: names without values behind them.

use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::Layout;

use super::explain;
use crate::case::Case;

explain! {
    /// Looks for tensors with a dimension of zero. In a known family it is an error, in Hugging Face's layout a warning,
    /// elsewhere a note: a container may hold an empty tensor on purpose.
    ///
    /// A save under ZeRO-3 or FSDP wrote the placeholder that a rank holds and not the weight: the training is lost
    /// unless the sharded checkpoint still exists.
    ///
    /// Consolidate the sharded checkpoint again (`zero_to_fp32.py`, a full state dict).
    TensorEmpty;
    /// Looks for tensors that are described but have no data, as those on torch's meta device.
    ///
    /// There is nothing to load: the model was saved before its weights were.
    TensorAbsent;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for tensor in &case.checkpoint.tensors {
        if let Some(why) = tensor.recipe.absent() {
            findings.push(case.about(Id::TensorAbsent, tensor, format!("the tensor has no data: {why}")));
        } else if tensor.recipe.shape.contains(&0) {
            let known = case.find(&tensor.name).is_some();
            let severity = match case.checkpoint.layout {
                _ if known => Severity::Error,
                Layout::Hf => Severity::Warning,
                _ => Severity::Note,
            };
            let message = "the tensor has no elements; a placeholder of sharded training?";
            let finding = case.about(Id::TensorEmpty, tensor, message).severity(severity);
            findings.push(finding.needed("elements", format!("shape {:?}", tensor.recipe.shape)));
        }
    }
}
