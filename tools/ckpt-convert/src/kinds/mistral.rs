//! `--to mistral`: `consolidated.safetensors`, `params.json` and the tokenizer that was there before; and what
//! `--to hf` makes of these.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ckpt::archs::llama::infer::{Evidence, Inference, Inferred as Worked};
use ckpt::archs::mistral::{self, Facts};
use ckpt::archs::{Arch, Counts, Naming};
use ckpt::canonical::{self, Table};
use ckpt::document::Inferred;
use ckpt::facts::{Finding, Id, Tensor};
use ckpt::layouts::Layout;
use ckpt::tokenizers::Tokenizer;
use ckpt::tokenizers::json::{self, MergeForm};

use super::{Job, hf::main_dtype, small, tokenizer};
use crate::carry;
use crate::draft::{Content, Draft, Form, Weights};
use crate::metadata::{Tokens, mistral as files};
use crate::options::refuse;

pub(super) use mistral::is_own;

/// Says no to a model of Mistral's own form that is of another family, by the key that tells.
///
/// # Errors
/// The refusal.
pub(super) fn known(job: &Job<'_>) -> Result<()> {
    let own = job.checkpoint.layout == Layout::Mistral;
    match job.checkpoint.params().filter(|_| own).and_then(mistral::foreign) {
        Some((key, what)) => refuse(format!("{key} in params.json says that this is {what}"), super::AS_IT_IS),
        None => Ok(()),
    }
}

/// Works out the facts of a model in either form and notes in the draft how.
///
/// # Errors
/// What cannot be worked out; those of reading.
pub(super) fn facts(job: &Job<'_>, arch: &Arch, table: &Table, tied: bool, draft: &mut Draft) -> Result<Facts> {
    let checkpoint = job.checkpoint;
    let Some(params) = checkpoint.params() else {
        return refuse("nothing tells how many heads the model has", "put its params.json beside the weights");
    };
    let own = checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    let assume: BTreeMap<String, String> =
        job.options.assume.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let found = tokenizer::mistral(checkpoint)?;
    let shape = |name: &str| checkpoint.tensor(name).map(|tensor| tensor.recipe.shape.clone());
    let evidence = Evidence {
        shape: &shape,
        shards: 1,
        kv_repeat: 1,
        vocabulary: found.as_ref().map(tokenizer::Found::vocabulary),
        tied: own.then_some(tied),
        dtype: main_dtype(&table.tensors, job.options.dtype),
        path: "",
        sibling: None,
        headers_trained: None,
        assume: &assume,
    };
    let inference = if own { mistral::from_params(params, &evidence) } else { mistral::from_config(params, &evidence) };
    let Inference { facts, inferred, findings } = inference?;
    let told = |row: Worked| Inferred { key: row.key, value: row.value, from: row.from };
    draft.inferred.extend(inferred.into_iter().map(told));
    draft.warnings.extend(findings);
    if found.is_none() {
        let message = "there is no tokenizer in the source, so none is written";
        let finding = Finding::new(Id::TokenizerMissing, message);
        let names = "tekken.json or tokenizer.model.vN";
        draft.warnings.push(finding.fix(format!("copy {names} beside the weights and convert again")));
    }
    if facts.experts.is_some() != (arch.name == "mixtral") {
        bail!(Finding::new(Id::ConfigShape, format!("the tensors are those of {}", arch.name)).in_file("params.json"));
    }
    Ok(facts)
}

/// Makes the small files of Hugging Face's form of a model in Mistral's own.
///
/// # Errors
/// A tokenizer that cannot be read.
pub(super) fn hf(job: &Job<'_>, facts: &Facts, draft: &mut Draft) -> Result<()> {
    draft.make("config.json", files::config(facts));
    draft.make("generation_config.json", files::generation_config(facts));
    let Some(found) = tokenizer::mistral(job.checkpoint)? else { return Ok(()) };
    let context = facts.max_position_embeddings;
    let told = |finding: Finding| finding.in_file(found.name.clone());
    let (json, tokens) = match &found.tokenizer {
        Tokenizer::SentencePiece(model) => {
            (json::from_sentencepiece(model, MergeForm::Strings).map_err(told)?, Tokens::of_model(model))
        }
        Tokenizer::Tekken(tekken) => {
            (json::from_tekken(tekken, MergeForm::Strings).map_err(told)?, Tokens::of_tekken(tekken))
        }
        _ => return refuse(format!("{} is no tokenizer of Mistral's", found.name), "put the model's own file there"),
    };
    draft.make("tokenizer.json", json);
    let template = small::chat_template(job, None)?;
    draft.make("tokenizer_config.json", tokens.tokenizer_config(context, template.as_deref()));
    draft.make("special_tokens_map.json", tokens.special_tokens_map());
    draft.files.insert(found.name, Content::Copied(found.path));
    Ok(())
}

/// Plans the conversion.
///
/// # Errors
/// What Mistral's own form cannot hold, by name; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    known(job)?;
    let checkpoint = job.checkpoint;
    let (mut table, tied) = job.table()?;
    let own = checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    if let Some(config) = checkpoint.params().filter(|_| !own) {
        let causes = files::refusals(config);
        if !causes.is_empty() {
            return refuse(
                format!("Mistral's own form cannot hold this model: {}", causes.join("; ")),
                super::AS_IT_IS,
            );
        }
    }
    let Some(arch) = table.arch.filter(|arch| is_own(arch)) else {
        return refuse("Mistral's own form is for Mistral and Mixtral models, and this is none", super::AS_IT_IS);
    };
    let mut draft = Draft::default();
    let facts = facts(job, arch, &table, tied, &mut draft)?;
    if tied && !own && !facts.tied && table.left_out.is_empty() {
        let message = "the config says that the output head is not the embedding, and there is no head";
        bail!(Finding::new(Id::TiedHeadMissing, message).tensor("lm_head.weight"));
    }
    let experts = facts.experts.map_or(0, |experts| experts.count);
    super::complete(&table, Counts { layers: facts.layers, experts, ..Counts::default() })?;
    let tensors = crate::cast::cast(std::mem::take(&mut table.tensors), job.options.dtype, checkpoint);
    // Its loaders insist on the head also where it is the embedding.
    let head = tensors
        .first()
        .filter(|_| tied)
        .map(|embedding| Tensor { name: "output.weight".to_owned(), ..embedding.clone() });
    let mut named = Vec::with_capacity(tensors.len().saturating_add(1));
    for Tensor { name, recipe, crc32 } in tensors {
        let found = arch.find(Naming::Hf, &name);
        let Some((found, own)) = found.and_then(|found| Some((found, found.named(Naming::Meta)?))) else {
            bail!(Finding::new(Id::TensorUnexpected, "Mistral's own form has no place for this tensor").tensor(name));
        };
        let recipe = canonical::interleaved(recipe, found.row.change, facts.head_dim);
        named.push(Tensor { name: own, recipe, crc32 });
    }
    named.extend(head);
    draft.weights.push(Weights {
        name: "consolidated.safetensors".to_owned(),
        form: Form::Safetensors,
        tensors: named,
    });
    let as_it_is = own && job.options.assume.is_empty();
    if let Some(path) = checkpoint.root_file("params.json").filter(|_| as_it_is) {
        draft.files.insert("params.json".to_owned(), Content::Copied(path));
    } else {
        draft.make("params.json", files::params(&facts));
        draft.lost.extend(files::losses(&facts));
    }
    own_tokenizer(job, &mut draft)?;
    carry::texts(checkpoint, "Mistral's own form", &mut draft);
    carry::derived(&table.left_out, &mut draft);
    carry::objects(checkpoint, &mut draft);
    Ok(draft)
}

/// The tokenizer as Mistral's code reads it: one file, which is carried and never made.
///
/// # Errors
/// A refusal if there is only one of Hugging Face's form.
fn own_tokenizer(job: &Job<'_>, draft: &mut Draft) -> Result<()> {
    if let Some(found) = tokenizer::mistral(job.checkpoint)? {
        draft.files.insert(found.name, Content::Copied(found.path));
        return Ok(());
    }
    if job.checkpoint.root_file("tokenizer.json").is_some() {
        let message = "tokenizer.json holds only a part of what Mistral's own tokenizer files say, and none of them is made of it";
        return refuse(message, "copy the model's tekken.json or tokenizer.model.vN beside it");
    }
    Ok(())
}
