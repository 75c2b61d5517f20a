//! A run: what its steps have in common is little. Figures are each step's own.

use std::collections::BTreeSet;

use ckpt::document::{Document, Inspect};

/// The section of a document whose children are the steps of a run.
pub(crate) fn of(document: &Document) -> Inspect {
    let steps = || document.children.iter().filter_map(|child| child.inspect.as_ref()?.own());
    let formats: BTreeSet<&String> = steps().flat_map(|step| &step.formats).collect();
    Inspect {
        layout: "run".to_owned(),
        formats: formats.into_iter().cloned().collect(),
        // The newest one that could be read says what is trained.
        family: steps().next_back().and_then(|step| step.family.clone()),
        ..Inspect::default()
    }
}
