//! tied-head-missing, tied-head-stored: the output head against what the config says of it.

use ckpt::archs::Naming;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Layout;

use super::{explain, tensors};
use crate::case::Case;

explain! {
    /// For a known family in Hugging Face's form, looks for the output head (`lm_head.weight`) where config.json does not
    /// say `tie_word_embeddings: true`. Llama's default is false.
    ///
    /// transformers makes up a random head: the model loads without an error and answers with noise.
    ///
    /// If the model was trained with a tied head, say so in config.json; if not, the head was lost and must be saved again.
    TiedHeadMissing;
    /// Notes an output head that is stored though config.json says it is the embedding.
    ///
    /// It costs space, and a loader ignores it: if the two differ, what was trained is not what runs. The deep
    /// check compares them (`tied-differs`).
    TiedHeadStored;
    /// Compares the stored output head with the embedding, all bytes, where config.json says that they are one.
    ///
    /// One of the two is not used, and which one depends on the loader.
    ///
    /// Decide which head is right; then drop the other, or say `tie_word_embeddings: false`.
    TiedDiffers;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some((arch, Naming::Hf)) = case.family else { return };
    let has_config = case.checkpoint.config.is_some();
    if case.checkpoint.layout == Layout::File || !has_config || !tensors::is_language_model(case) {
        return;
    }
    let Some(name) = arch.head().map(|row| row.hf.to_owned()) else { return };
    let tied = case.is_tied();
    match case.tensor(&name) {
        Some(head) if tied => {
            let message = "the head is stored though the config says that it is the embedding; loaders ignore it";
            findings.push(case.about(Id::TiedHeadStored, head, message));
        }
        None if !tied && case.complete && !case.is_told(&name) && case.embedding().is_some() => {
            let message = "the output head is missing, and the config does not say that it is the embedding";
            let finding = Finding::new(Id::TiedHeadMissing, message).in_file(case.config_name()).tensor(name);
            findings.push(finding.needed("lm_head.weight, or tie_word_embeddings: true", "neither"));
        }
        _ => {}
    }
}
