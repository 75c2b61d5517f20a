//! `--to hf`: `model.safetensors` or shards with their index, `config.json`, `generation_config.json`, the tokenizer.

use anyhow::Result;
use ckpt::archs::Naming;
use ckpt::facts::{Dtype, Tensor};
use ckpt::layouts::Checkpoint;
use serde_json::Value;

use super::{Job, family, mistral, seeing, small};
use crate::carry;
use crate::cut::{cut, index};
use crate::draft::{Draft, Form, Weights};
use crate::options::refuse;

/// Plans the conversion.
///
/// # Errors
/// For a source that is neither of a known family nor in Hugging Face's form already; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let mut draft = Draft::default();
    let (mut table, tied) = job.table()?;
    let from_meta = job.checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    mistral::known(job)?;
    if from_meta && table.arch.is_none() {
        let help = "put the params.json of the model beside the weights";
        return refuse("without params.json the number of heads is not known", help);
    }
    if is_hf(job.checkpoint) && !from_meta {
        // The same form again: what its files say stays as they say it, and so do the names.
        let own = job.checkpoint.family.as_ref().is_none_or(|family| family.naming == Naming::Hf);
        if own && says_tied(job.checkpoint) != Some(true) {
            table.tensors = ckpt::canonical::weights(job.checkpoint).0.tensors;
        }
        small::nothing_inferred(job)?;
        carry::files(job.checkpoint, &mut draft);
        carry::beside_file(job.checkpoint, &mut draft);
        small::retype(job, &mut draft);
        small::retemplate(job, &mut draft)?;
    } else if let Some(arch) = table.arch.filter(|arch| from_meta && mistral::is_own(arch)) {
        let facts = mistral::facts(job, arch, &table, tied, &mut draft)?;
        mistral::hf(job, &facts, &mut draft)?;
        carry::texts(job.checkpoint, "Hugging Face's form", &mut draft);
    } else if let Some(known) = family::known(job, &table)? {
        family::hf(job, &known, &mut draft)?;
        carry::texts(job.checkpoint, "Hugging Face's form", &mut draft);
        carry::derived(&table.left_out, &mut draft);
    } else if table.arch.is_some() {
        seeing::described(job, &table, tied, &mut draft)?;
        carry::texts(job.checkpoint, "Hugging Face's form", &mut draft);
        carry::derived(&table.left_out, &mut draft);
    } else {
        let cause = "the architecture is not known and there is no config.json, so its config cannot be made";
        return refuse(cause, super::AS_IT_IS);
    }
    weights(job, table.tensors, &mut draft);
    carry::objects(job.checkpoint, &mut draft);
    Ok(draft)
}

fn is_hf(checkpoint: &Checkpoint) -> bool {
    checkpoint.config.as_ref().is_some_and(|config| config.name == "config.json")
}

fn says_tied(checkpoint: &Checkpoint) -> Option<bool> {
    checkpoint.params()?.get("tie_word_embeddings").and_then(Value::as_bool)
}

/// The weight files and their index, but for `--in-place`, which leaves the weights as they lie.
fn weights(job: &Job<'_>, tensors: Vec<Tensor>, draft: &mut Draft) {
    let tensors = crate::cast::cast(tensors, job.options.dtype, job.checkpoint);
    if let Some(name) = &job.one_file {
        draft.weights.push(Weights { name: name.clone(), form: Form::Safetensors, tensors });
        draft.files.clear();
        carry::training(job.checkpoint, draft);
        return;
    }
    let stem = super::stem(job.checkpoint, "model");
    draft.weights = cut(tensors, job.options.max_shard_size.0, stem, "safetensors", &Form::Safetensors);
    if let Some(index) = index(&draft.weights).filter(|_| !job.options.in_place) {
        draft.make(&format!("{stem}.safetensors.index.json"), index);
    }
}

/// The dtype that most bytes of floating tensors have: what a config calls the model's.
pub(super) fn main_dtype(tensors: &[Tensor], cast: Option<Dtype>) -> Dtype {
    if let Some(cast) = cast {
        return cast;
    }
    let mut sums: std::collections::BTreeMap<Dtype, u64> = std::collections::BTreeMap::new();
    for tensor in tensors {
        if tensor.recipe.dtype.kind() == ckpt::facts::dtype::Kind::Float {
            let sum = sums.entry(tensor.recipe.dtype).or_default();
            *sum = sum.saturating_add(tensor.recipe.len_bytes());
        }
    }
    sums.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(Dtype::F32, |(dtype, _)| dtype)
}
