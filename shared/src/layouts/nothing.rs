//! What to say of a path in which no weights were found: a trainer's format that is not read yet, a folder too high.

use super::{Checkpoint, Layout, names};
use crate::facts::{Finding, Id};

/// A file that only this kind of checkpoint has, by the end of its path; the kind; what reads it.
const KINDS: &[(&str, &str, &str)] = &[
    ("manifest.ocdbt", "an Orbax checkpoint", "orbax.checkpoint restores it, numpy.savez then saves its arrays"),
    ("_CHECKPOINT_METADATA", "an Orbax checkpoint", "orbax.checkpoint restores it, numpy.savez then saves its arrays"),
    ("saved_model.pb", "a SavedModel of TensorFlow", "tf.saved_model.load reads it"),
    (".data-00000-of-00001", "a checkpoint of TensorFlow", "tf.train.load_checkpoint reads it"),
    (".ckpt.index", "a checkpoint of TensorFlow", "tf.train.load_checkpoint reads it"),
];

/// The finding for a checkpoint without tensors.
pub(super) fn finding(checkpoint: &Checkpoint) -> Finding {
    let names = || checkpoint.files.iter().map(|entry| entry.name.as_str());
    if checkpoint.layout == Layout::Adapter {
        let finding = Finding::new(Id::NotACheckpoint, "there is the config of an adapter, and no weights beside it");
        return finding.needed("adapter_model.safetensors", "none");
    }
    let kind = KINDS.iter().find(|(end, ..)| names().any(|name| name.ends_with(end)));
    if let Some((_, kind, reader)) = kind {
        let message = format!("this is {kind}, which is recognised but not read here; {reader}");
        return Finding::new(Id::Unsupported, message);
    }
    let below = names()
        .find_map(|name| name.rsplit_once('/').filter(|(_, own)| names::is_weights(own) || names::is_bookkeeping(own)));
    let message = match below {
        Some((folder, _)) => format!("nothing here holds weights; {folder} may be the folder that is meant"),
        None => "nothing here holds weights".to_owned(),
    };
    Finding::new(Id::NotACheckpoint, message)
}
