//! What to say of a path in which no weights were found: a trainer's format that is not read yet, a folder too high.

use super::Checkpoint;
use super::names;
use crate::facts::{Finding, Id};

/// A file that only this kind of checkpoint has, by the end of its path; and the kind.
const KINDS: &[(&str, &str)] = &[
    ("model_optim_rng.pt", "a Megatron checkpoint"),
    ("manifest.ocdbt", "an Orbax checkpoint"),
    ("adapter_config.json", "a PEFT adapter"),
    (".nemo", "a NeMo archive"),
    (".onnx", "an ONNX model"),
];

/// The finding for a checkpoint without tensors.
pub(super) fn finding(checkpoint: &Checkpoint) -> Finding {
    let names = || checkpoint.files.iter().map(|entry| entry.name.as_str());
    let kind = KINDS.iter().find(|(end, _)| names().any(|name| name.ends_with(end)));
    if let Some((_, kind)) = kind {
        return Finding::new(Id::Unsupported, format!("this is {kind}, which is recognised but not read here"));
    }
    let below = names()
        .find_map(|name| name.rsplit_once('/').filter(|(_, own)| names::is_weights(own) || names::is_bookkeeping(own)));
    let message = match below {
        Some((folder, _)) => format!("nothing here holds weights; {folder} may be the folder that is meant"),
        None => "nothing here holds weights".to_owned(),
    };
    Finding::new(Id::NotACheckpoint, message)
}
