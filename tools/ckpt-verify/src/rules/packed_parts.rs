//! packed-parts: packed weights against their scales, zero points, orders and maps.

use ckpt::facts::Finding;

use super::explain;
use crate::case::Case;

explain! {
    /// Where the config says that weights are quantised, finds the tensors that belong to each packed weight (scales, zero
    /// points, the order of its groups, a map of values) and holds their shapes and dtypes against one another and against
    /// the bits and group size of the config. Schemes that are not known are passed over.
    ///
    /// A loader stops at such a weight, or takes the scales of other groups and gives wrong numbers without a word.
    ///
    /// Most often a shard or the config is that of another quantisation of the model. Take both from one place.
    PackedParts;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    // What is missing may stand in a shard that is not there.
    if !case.is_packed || !case.complete {
        return;
    }
    let checkpoint = case.checkpoint;
    let found = ckpt::quantized::unfit(&checkpoint.tensors, checkpoint.params());
    findings.extend(found.into_iter().map(|finding| {
        let tensor = finding.tensor.as_deref().and_then(|name| case.tensor(name));
        match tensor.and_then(|tensor| case.about(finding.id, tensor, "").file) {
            Some(file) => finding.in_file(file),
            None => finding,
        }
    }));
}
