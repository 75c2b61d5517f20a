//! The rules of the structure level. A file is a rule or a tight group of them: it explains itself and checks itself.
//! What readers and layouts already found is passed on; their rules are explained under [`readers`].

pub(crate) mod adapters;
mod config_missing;
mod config_shape;
mod custom_code;
mod data;
mod dtypes;
mod files;
mod head;
mod json_invalid;
mod packed_parts;
mod pickles;
mod placeholders;
mod readers;
mod safetensors_metadata;
mod several;
mod sparse_hole;
mod tensors;
pub(crate) mod tokenizer;
pub(crate) mod training;
mod uses;

use std::collections::BTreeMap;

use ckpt::cli::Context;
use ckpt::facts::{Finding, Id, limits};

use crate::case::Case;

/// A rule and what it says of itself: paragraphs of lines, first what it does, then why that is bad, then what helps.
pub(crate) type Text = (Id, &'static [&'static str]);

/// Adds what it finds.
type Check = fn(&Case<'_>, &mut Vec<Finding>);

/// Turns the comments before rules' names into their explanations.
macro_rules! explain {
    ($($(#[doc = $line:literal])+ $id:ident;)+) => {
        pub(in crate::rules) const TEXTS: &[$crate::rules::Text] = &[$((ckpt::facts::Id::$id, &[$($line),+]),)+];
    };
}
use explain;

/// Every group: what it says of itself, and what it checks beyond what readers have found.
const GROUPS: &[(&[Text], Option<Check>)] = &[
    (readers::path::TEXTS, None),
    (files::TEXTS, Some(files::check)),
    (sparse_hole::TEXTS, Some(sparse_hole::check)),
    (readers::safetensors::TEXTS, None),
    (safetensors_metadata::TEXTS, Some(safetensors_metadata::check)),
    (readers::gguf::TEXTS, None),
    (readers::neighbours::TEXTS, None),
    (readers::torch::TEXTS, None),
    (pickles::TEXTS, Some(pickles::check)),
    (custom_code::TEXTS, Some(custom_code::check)),
    (readers::shards::TEXTS, None),
    (json_invalid::TEXTS, Some(json_invalid::check)),
    (config_missing::TEXTS, Some(config_missing::check)),
    (config_shape::TEXTS, Some(config_shape::check)),
    (packed_parts::TEXTS, Some(packed_parts::check)),
    (tensors::TEXTS, Some(tensors::check)),
    (adapters::TEXTS, Some(adapters::check)),
    (placeholders::TEXTS, Some(placeholders::check)),
    (head::TEXTS, Some(head::check)),
    (dtypes::TEXTS, Some(dtypes::check)),
    (tokenizer::TEXTS, Some(tokenizer::check)),
    (training::TEXTS, Some(training::check)),
    (data::TEXTS, None),
    (uses::TEXTS, None),
];

/// Everything the rules say of themselves, in the order of the groups.
pub(crate) fn texts() -> impl Iterator<Item = &'static Text> {
    GROUPS.iter().flat_map(|(texts, _)| texts.iter())
}

/// What readers found and what the rules find. After a signal it is not all, and must not be told.
pub(crate) fn check(case: &Case<'_>, context: &Context) -> Vec<Finding> {
    let mut findings = several::told(case);
    for (texts, check) in GROUPS {
        let Some(check) = check else { continue };
        if context.progress.go_on().is_err() {
            break;
        }
        if texts.iter().any(|(id, _)| !context.policy.ignores(*id)) {
            check(case, &mut findings);
        }
    }
    limited(findings)
}

/// At most [`limits::FINDINGS`] of a rule; the last one says how many there are more.
pub(crate) fn limited(findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen: BTreeMap<Id, usize> = BTreeMap::new();
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let count = seen.entry(finding.id).or_default();
        *count = count.saturating_add(1);
        if *count <= limits::FINDINGS {
            kept.push(finding);
        }
    }
    for (id, count) in seen {
        let more = count.saturating_sub(limits::FINDINGS);
        if more > 0
            && let Some(last) = kept.iter_mut().rev().find(|finding| finding.id == id)
        {
            last.message = format!("{}; and {more} more of this rule", last.message);
        }
    }
    kept
}
