//! `--to safetensors` and `--to torch`: the same tensors under the same names in another container. Of a training
//! loop's dictionary it is the model's part, without the key it lies under.

use anyhow::Result;

use super::{Job, Kind, small};
use crate::carry;
use crate::cut::{cut, index};
use crate::draft::{Draft, Form, Weights};

/// Plans the conversion: every name is written, unless the config says that the head is the embedding.
///
/// # Errors
/// Copies in several ranks that should be equal and are not; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let (checkpoint, progress) = (job.checkpoint, &job.context.progress);
    ckpt::canonical::replicas(checkpoint, job.reader, job.jobs(), progress)?;
    let (mut table, wrapper) = ckpt::canonical::weights(checkpoint);
    let mut draft = Draft::default();
    draft
        .lost
        .extend(wrapper.map(|wrapper| format!("{wrapper}: the key of a training loop's dictionary before every name")));
    let says_tied = checkpoint.params().and_then(|params| params.get("tie_word_embeddings")?.as_bool());
    if says_tied == Some(true) && job.options.kind() == Kind::Safetensors {
        let canonical = ckpt::canonical::table(checkpoint, job.reader, job.jobs(), progress)?;
        table.arch = canonical.arch;
        table.settle_head(job.reader, progress)?;
    }
    let tensors = crate::cast::cast(table.tensors, job.options.dtype, job.checkpoint);
    let (form, stem, ending) = match job.options.kind() {
        Kind::Torch => (Form::Torch, super::stem(checkpoint, "pytorch_model"), "bin"),
        _ => (Form::Safetensors, super::stem(checkpoint, "model"), "safetensors"),
    };
    if let Some(name) = &job.one_file {
        draft.weights.push(Weights { name: name.clone(), form, tensors });
        carry::training(job.checkpoint, &mut draft);
    } else {
        draft.weights = cut(tensors, job.options.max_shard_size.0, stem, ending, &form);
        if let Some(index) = index(&draft.weights) {
            draft.make(&format!("{stem}.{ending}.index.json"), index);
        }
        carry::files(job.checkpoint, &mut draft);
        small::retype(job, &mut draft);
    }
    carry::objects(job.checkpoint, &mut draft);
    Ok(draft)
}
