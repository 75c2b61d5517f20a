//! `--expect resume`: the training can go on from here as if it had never stopped.

use ckpt::cli::Context;
use ckpt::facts::{Finding, Id, Severity};
use ckpt::layouts::training::{self, Part};

use crate::case::Case;
use crate::rules;

pub(super) fn check(case: &Case<'_>, _: &Context) -> Vec<Finding> {
    let Some(state) = training::of(case.checkpoint) else {
        let message = "there is no training state: nothing but weights, from which a new training can start";
        return vec![Finding::new(Id::ExpectFile, message).needed("optimizer, scheduler, RNG, step", "none")];
    };
    let Some(form) = state.form else { return Vec::new() };
    let mut findings = Vec::new();
    let keys = training::Keys::of(case.checkpoint);
    if case.checkpoint.damage().is_none() && case.checkpoint.tensors.iter().all(|tensor| keys.holds(&tensor.name)) {
        let message = "there is training state and no model beside it";
        findings.push(Finding::new(Id::ExpectFile, message).needed("weights", "none"));
    }
    for need in form.needs.iter().filter(|need| !state.parts.contains(&need.part)) {
        let message = match (need.severity, need.part) {
            (Severity::Error, Part::Progress) => "a resume reads from it how far the training was, and it is not there",
            (Severity::Error, _) => "a resume needs it, and it is not there",
            _ => "a resume goes on without it, and not quite as if it had never stopped",
        };
        let finding = Finding::new(Id::ExpectFile, message).severity(need.severity).in_file(need.file);
        findings.push(finding.needed(need.part.words(), "none"));
    }
    // What a mixed-up step does to the weights is nothing, and to a resume much.
    let mixed = rules::training::step(case, &state);
    findings.extend(mixed.map(|finding| {
        let message = "a resume counts from the step that this file says, which is not the folder's";
        Finding { id: Id::ExpectFormat, severity: Severity::Error, message: message.to_owned(), ..finding }
    }));
    findings
}
