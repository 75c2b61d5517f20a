//! The small files of models that see, Llama 3.2 Vision and Llama 4, in Hugging Face's form: made of `params.json`, the
//! shapes of the weights and the tokenizer.

use std::collections::BTreeMap;

use anyhow::Result;
use ckpt::archs::llama::infer::{self, Evidence};
use ckpt::archs::{Arch, Naming, Sizes};
use ckpt::bytes::to_u64;
use ckpt::canonical::Table;
use ckpt::cli::Refusal;
use ckpt::document::Inferred;
use ckpt::facts::{Dtype, Finding, Id};
use ckpt::tokenizers::json::{self, LLAMA3_PATTERN, LLAMA4_PATTERN, MergeForm};
use ckpt::tokenizers::{Tokenizer, names};
use serde_json::Value;

use super::{Job, hf::main_dtype, small, tokenizer};
use crate::draft::{Content, Draft};
use crate::metadata::{Seen, Tokens, generation_of, llama4, mllama, seeing_template};
use crate::options::refuse;

/// Whether a family is one of those whose small files are made here.
pub(super) fn is_known(arch: &Arch) -> bool {
    matches!(arch.name, "mllama" | "llama4" | "llama4_text")
}

/// Makes the small files of Hugging Face's form for a model that is not in it.
///
/// # Errors
/// What cannot be worked out, with what would help; those of reading.
pub(super) fn described(job: &Job<'_>, table: &Table, tied: bool, draft: &mut Draft) -> Result<()> {
    if table.arch.is_some_and(is_known) {
        return hf(job, table, draft);
    }
    let facts = small::facts(job, table, tied, draft)?;
    small::hf(job, &facts, draft)
}

/// Makes config, generation config, preprocessor config and the tokenizer's files.
///
/// # Errors
/// What the files do not tell or transformers cannot be told; a tokenizer that cannot be read.
pub(super) fn hf(job: &Job<'_>, table: &Table, draft: &mut Draft) -> Result<()> {
    let checkpoint = job.checkpoint;
    let params = params(job, table)?;
    if let Some(name) = &job.options.match_release {
        let help = "leave --match-release out";
        return refuse(format!("--match-release {name}: files of this family are not known to the byte"), help);
    }
    if let Some(pair) = job.options.assume.iter().find(|pair| pair.key != "instruct") {
        let help = "only `--assume instruct=true` and `--assume instruct=false` are asked for";
        return refuse(format!("--assume {}: of this family everything else stands in its files", pair.key), help);
    }
    let vision = table.arch.is_some_and(|arch| arch.name == "mllama");
    let found = tokenizer::model(checkpoint)?;
    let vocab = table.tensors.iter().find(|tensor| tensor.name.ends_with("lm_head.weight"));
    let vocab = vocab.and_then(|head| head.recipe.shape.first().copied()).unwrap_or(0);
    let specials = u64::from(if vision { names::SLOTS } else { names::SLOTS_LLAMA4 });
    let first = match found.as_ref().map(|found| &found.tokenizer) {
        Some(Tokenizer::Tiktoken(ranks)) => to_u64(ranks.len()),
        _ => vocab.saturating_sub(specials),
    };
    let instruct = tuned(job, draft)?;
    let dtype = main_dtype(&table.tensors, job.options.dtype);
    let seen = Seen::new(params, table, dtype, instruct, first);
    let refusal = |cause: String| Refusal::new(cause, super::AS_IT_IS);
    let config = config(&seen, vision)?;
    let said: Value = serde_json::from_slice(&config).unwrap_or_default();
    if let Some(arch) = table.arch {
        super::is_described(table, &Sizes::of(arch, Naming::Hf, Some(&said)), "params.json")?;
    }
    draft.make("generation_config.json", generation_of(&said));
    draft.make("config.json", config);
    if seen.sees() {
        let preprocessor = if vision { mllama::preprocessor(params) } else { llama4::preprocessor(&seen) };
        draft.make("preprocessor_config.json", preprocessor.map_err(refusal)?);
    }
    let context = if vision { mllama::CONTEXT } else { llama4::context(&seen) };
    let Some(found) = found else {
        let message = "there is no tokenizer in the source, so none is written";
        let finding = Finding::new(Id::TokenizerMissing, message);
        draft.warnings.push(finding.fix("copy tokenizer.model beside the weights and convert again"));
        return Ok(());
    };
    let Tokenizer::Tiktoken(ranks) = &found.tokenizer else {
        return refuse(format!("{} is no file of ranks, as this family has", found.name), "put Meta's own file there");
    };
    let (names, pattern) = if vision { (names::vision(), LLAMA3_PATTERN) } else { (names::llama4(), LLAMA4_PATTERN) };
    draft.make("tokenizer.json", json::from_ranks_cut(ranks, &names, pattern, MergeForm::Strings)?);
    let end = match (vision, instruct) {
        (_, false) => "<|end_of_text|>",
        (true, true) => "<|eot_id|>",
        (false, true) => "<|eot|>",
    };
    let pad = if vision { "<|finetune_right_pad_id|>" } else { "<|finetune_right_pad|>" };
    let tokens = Tokens::named(ranks, &names, end, pad);
    let template = match small::template(job)? {
        Some(given) => Some(given),
        None => instruct.then(|| seeing_template(vision).to_owned()),
    };
    draft.make("tokenizer_config.json", tokens.tokenizer_config(context, template.as_deref()));
    draft.make("special_tokens_map.json", tokens.special_tokens_map());
    draft.files.insert("tokenizer.model".to_owned(), Content::Copied(found.path));
    Ok(())
}

/// Meta's `params.json` of a model whose weights are numbers.
///
/// # Errors
/// That there is none, or that weights are packed.
fn params<'a>(job: &Job<'a>, table: &Table) -> Result<&'a Value> {
    let from_meta = job.checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    let Some(params) = job.checkpoint.params().filter(|_| from_meta) else {
        return refuse("the config of this model is made of Meta's params.json, and there is none", super::AS_IT_IS);
    };
    let plain = |dtype: Dtype| matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16);
    if let Some(packed) = table.tensors.iter().find(|tensor| !plain(tensor.recipe.dtype)) {
        let what =
            format!("{} is {}: weights whose scales stand in files of their own", packed.name, packed.recipe.dtype);
        return refuse(what, "take the release in BF16");
    }
    Ok(params)
}

fn config(seen: &Seen<'_>, vision: bool) -> Result<Vec<u8>> {
    let config = if vision { mllama::config(seen) } else { llama4::config(seen) };
    Ok(config.map_err(|cause| Refusal::new(cause, super::AS_IT_IS))?)
}

/// The sizes of a model of Meta's, in the words of Hugging Face's config. Which tokens end a text is not among them.
///
/// # Errors
/// What `params.json` and the shapes do not tell; packed weights.
pub(super) fn sizes(job: &Job<'_>, table: &Table) -> Result<Value> {
    let vision = table.arch.is_some_and(|arch| arch.name == "mllama");
    let dtype = main_dtype(&table.tensors, job.options.dtype);
    let seen = Seen::new(params(job, table)?, table, dtype, false, 0);
    Ok(serde_json::from_slice(&config(&seen, vision)?).unwrap_or_default())
}

/// Whether the model is tuned for dialogue, by its name or as was assumed.
fn tuned(job: &Job<'_>, draft: &mut Draft) -> Result<bool> {
    let assume: BTreeMap<String, String> =
        job.options.assume.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let path = job.checkpoint.path.canonicalize().unwrap_or_else(|_| job.checkpoint.path.clone());
    let evidence = Evidence {
        shape: &|_| None,
        shards: 1,
        kv_repeat: 1,
        vocabulary: None,
        tied: None,
        dtype: Dtype::Bf16,
        path: &path.to_string_lossy(),
        sibling: None,
        headers_trained: None,
        assume: &assume,
    };
    let (tuned, inferred, findings) = infer::tuned(&evidence)?;
    draft.inferred.extend(inferred.into_iter().map(|row| Inferred { key: row.key, value: row.value, from: row.from }));
    draft.warnings.extend(findings);
    Ok(tuned)
}
