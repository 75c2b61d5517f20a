//! config-shape, config-vocab: every tensor's shape against the one that the config's sizes give.

use ckpt::archs::Size;
use ckpt::facts::{Finding, Id, Tensor};

use super::explain;
use crate::case::Case;

explain! {
    /// For a known family, works out every tensor's shape from the sizes in config.json or params.json (width, heads,
    /// key and value heads, feed-forward width) and compares it with the stored one.
    ///
    /// A loader builds the model from the config and then cannot put the tensor into it; some loaders only warn and
    /// leave random values in its place.
    ///
    /// Most often the config is that of another size or version of the model. Take the one that came with the weights.
    ConfigShape;
    /// For a known family, compares the config's `vocab_size` with the rows of the embedding and of the output head.
    ///
    /// Tokens were added and only one side was saved, or the config is another model's. Loading fails with a size
    /// mismatch, or ids beyond the embedding are looked up.
    ///
    /// Set `vocab_size` to the number of rows if the weights are right; save the resized model again if they are not.
    ConfigVocab;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.family.is_none() {
        return;
    }
    for tensor in &case.checkpoint.tensors {
        let Some(found) = case.find(&tensor.name) else { continue };
        // A placeholder without elements is what `tensor-empty` speaks of.
        if !tensor.recipe.shape.contains(&0) {
            findings.extend(compare(case, tensor, &case.shape(&found, tensor)));
        }
    }
}

/// What is wrong with one tensor's shape, if anything the config says is contradicted.
fn compare(case: &Case<'_>, tensor: &Tensor, sizes: &[Size]) -> Option<Finding> {
    let (stored, wanted) = (&tensor.recipe.shape, case.sizes.shape(sizes));
    let differs = |(stored, wanted): (&u64, &Option<u64>)| wanted.is_some_and(|wanted| wanted != *stored);
    if stored.len() == wanted.len() && !stored.iter().zip(&wanted).any(differs) {
        return None;
    }
    let config = case.config_name();
    let only_vocab = stored.len() == wanted.len()
        && stored.iter().zip(&wanted).zip(sizes).all(|(pair, size)| *size == Size::Vocab || !differs(pair));
    if only_vocab {
        let rows = stored.first().copied().unwrap_or(0);
        let vocab = case.sizes.get(Size::Vocab).unwrap_or(0);
        let message = format!("{config} says a vocabulary of {vocab}, and this tensor has {rows} rows");
        return Some(
            case.about(Id::ConfigVocab, tensor, message).needed(format!("{vocab} rows"), format!("{rows} rows")),
        );
    }
    let wanted: Vec<String> =
        wanted.iter().map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string())).collect();
    let message = format!("the shape is not the one that {config} gives");
    let wanted = format!("[{}]", wanted.join(", "));
    Some(case.about(Id::ConfigShape, tensor, message).needed(wanted, format!("{stored:?}")))
}
