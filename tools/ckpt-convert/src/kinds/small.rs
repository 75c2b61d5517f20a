//! The small files beside the weights: worked out from what the source says, made for the target.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ckpt::archs::Naming;
use ckpt::archs::llama::ModelFacts;
use ckpt::archs::llama::infer::{self, Evidence, Inference};
use ckpt::bytes::to_usize;
use ckpt::canonical::Table;
use ckpt::cli::Usage;
use ckpt::document::Inferred;
use ckpt::facts::{Dtype, Finding, Id, Tensor};
use ckpt::plan::blocks::Block;
use ckpt::tokenizers::json::{self, MergeForm};
use ckpt::tokenizers::{Ggml, Tokenizer, TokenizerJson};
use serde_json::Value;

use super::{Job, gguf, hf::main_dtype, tokenizer};
use crate::draft::{Content, Draft};
use crate::metadata::{self, Release, Tokens};
use crate::options::refuse;

/// Works out the facts of a Llama model and notes in the draft how.
///
/// # Errors
/// What cannot be worked out, with the key of `--assume` that would help; those of reading.
pub(super) fn facts(job: &Job<'_>, table: &Table, tied: bool, draft: &mut Draft) -> Result<ModelFacts> {
    let checkpoint = job.checkpoint;
    if let Some(arch) = table.arch.filter(|arch| arch.name != "llama") {
        let message = format!("--to {} does not write models of the family {}", job.options.kind().name(), arch.name);
        return refuse(message, "`--to safetensors` and `--to torch` take any model as it is");
    }
    let Some(params) = checkpoint.params() else {
        let help = "put params.json (Meta) or config.json (Hugging Face) beside the weights";
        return refuse("nothing tells how many heads the model has", help);
    };
    let params = &gguf::with_scaling(job, params)?;
    let inside = tokenizer::ggml(checkpoint)?;
    let found = match tokenizer::model(checkpoint)? {
        _ if inside.is_some() => None,
        Some(found) => Some(found),
        None => tokenizer::json(checkpoint)?,
    };
    let assume: BTreeMap<String, String> =
        job.options.assume.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let path = checkpoint.path.canonicalize().unwrap_or_else(|_| checkpoint.path.clone());
    let sibling = checkpoint.small_file("config.json", ckpt::facts::limits::JSON)?;
    let sibling = sibling.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let naming = checkpoint.family.as_ref().map(|family| family.naming);
    let tuned = naming == Some(Naming::Tune);
    // Beside torchtune's names the config of either form can stand.
    let from_meta = naming == Some(Naming::Meta) || (tuned && params.get("dim").is_some());
    let shape = |name: &str| {
        let tuned = table.arch.filter(|_| tuned).and_then(|arch| arch.find(Naming::Meta, name)?.named(Naming::Tune));
        checkpoint.tensor(tuned.as_deref().unwrap_or(name)).map(|tensor| tensor.recipe.shape.clone())
    };
    let evidence = Evidence {
        shape: &shape,
        shards: 1,
        kv_repeat: table.repeated,
        vocabulary: match &inside {
            Some(inside) => Some(tokenizer::vocabulary_of(inside)),
            None => found.as_ref().map(tokenizer::Found::vocabulary),
        },
        tied: from_meta.then_some(tied),
        dtype: main_dtype(&table.tensors, job.options.dtype),
        path: &path.to_string_lossy(),
        sibling: sibling.as_ref().filter(|_| from_meta),
        headers_trained: found.as_ref().and_then(|found| headers_trained(job, table, &found.tokenizer)),
        assume: &assume,
    };
    let inference =
        if from_meta { infer::from_params(params, &evidence) } else { infer::from_config(params, &evidence) };
    let Inference { facts, inferred, findings } = inference?;
    let told = |row: infer::Inferred| Inferred { key: row.key, value: row.value, from: row.from };
    draft.inferred.extend(inferred.into_iter().map(told));
    draft.warnings.extend(findings);
    gguf::same_scaling(job, &facts)?;
    if found.is_none() && inside.is_none() {
        let message = "there is no tokenizer in the source, so none is written";
        let finding = Finding::new(Id::TokenizerMissing, message);
        draft.warnings.push(finding.fix("copy tokenizer.model beside the weights and convert again"));
    }
    Ok(facts)
}

/// Whether the embedding's rows of the tokens that begin and end messages are trained, as in a model tuned for
/// dialogue: then they are longer than those of reserved tokens, which never were.
fn headers_trained(job: &Job<'_>, table: &Table, tokenizer: &Tokenizer) -> Option<bool> {
    let Tokenizer::Tiktoken(ranks) = tokenizer else { return None };
    let first = ckpt::bytes::to_u64(ranks.len());
    let embedding = table.tensors.first().filter(|tensor| tensor.name == "model.embed_tokens.weight")?;
    let norm = |slot: u64| row_norm(job, embedding, first.checked_add(slot)?);
    // Slots of start_header_id, end_header_id and eot_id; then some that are reserved in every release.
    let (mut headers, mut reserved) = (f64::INFINITY, 0.0f64);
    for slot in [6, 7, 9] {
        headers = headers.min(norm(slot)?);
    }
    for slot in [100, 150, 200, 250] {
        reserved = reserved.max(norm(slot)?);
    }
    Some(headers > 2.0 * reserved)
}

/// The Euclidean norm of a row.
fn row_norm(job: &Job<'_>, tensor: &Tensor, row: u64) -> Option<f64> {
    let recipe = &tensor.recipe;
    let &[rows, width] = recipe.shape.as_slice() else { return None };
    if row >= rows {
        return None;
    }
    let bytes = recipe.dtype.bytes_of(width)?;
    let block = Block { start: vec![row, 0], size: vec![1, width], offset: 0, bytes };
    let mut values = vec![0; to_usize(bytes)];
    job.reader.block(recipe, &block, &mut values).ok()?;
    let squares: f64 = match recipe.dtype {
        Dtype::Bf16 => values.as_chunks().0.iter().map(|v| half::bf16::from_le_bytes(*v).to_f64().powi(2)).sum(),
        Dtype::F16 => values.as_chunks().0.iter().map(|v| half::f16::from_le_bytes(*v).to_f64().powi(2)).sum(),
        Dtype::F32 => values.as_chunks().0.iter().map(|v| f64::from(f32::from_le_bytes(*v)).powi(2)).sum(),
        _ => return None,
    };
    Some(squares.sqrt())
}

/// Refuses what would change small files that go along as they are.
///
/// # Errors
/// The refusal, with the option's name.
pub(super) fn nothing_inferred(job: &Job<'_>) -> Result<()> {
    let what = match (job.options.assume.first(), &job.options.match_release) {
        (Some(pair), _) => format!("--assume {}", pair.key),
        (None, Some(name)) => format!("--match-release {name}"),
        (None, None) => return Ok(()),
    };
    let name = job.checkpoint.config.as_ref().map_or("config.json", |config| config.name.as_str());
    let message = format!("{what}: the source has a {name} of its own, which is carried, and nothing is inferred");
    refuse(message, format!("leave the option out, and change {name} afterwards"))
}

/// The chat template that was asked for.
pub(super) fn template(job: &Job<'_>) -> Result<Option<String>> {
    let Some(path) = &job.options.chat_template else { return Ok(None) };
    std::fs::read_to_string(path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// A `tokenizer_config.json` that is carried along gets the chat template that was asked for.
///
/// # Errors
/// If the template cannot be read, or there is no such file to put it into.
pub(super) fn retemplate(job: &Job<'_>, draft: &mut Draft) -> Result<()> {
    let Some(template) = template(job)? else { return Ok(()) };
    let name = "tokenizer_config.json";
    let Some(text) = job.checkpoint.small_file(name, ckpt::facts::limits::JSON)? else {
        return refuse(format!("the source has no {name} to put the chat template into"), "leave --chat-template out");
    };
    let mut value = ckpt::formats::json::parse(&text).map_err(|finding| finding.in_file(name))?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("chat_template".to_owned(), template.into());
    }
    // A file of its own would win over the setting.
    draft.files.remove("chat_template.jinja");
    draft.make(name, metadata::text(&value));
    Ok(())
}

/// A `config.json` that is carried along tells the dtype that the weights now have, and no quantisation they no longer
/// have.
pub(super) fn retype(job: &Job<'_>, draft: &mut Draft) {
    let dtype = job.options.dtype.or(job.options.dequantize.filter(|_| job.unpacked));
    let config = job.checkpoint.config.as_ref().filter(|config| config.name == "config.json");
    let (Some(dtype), Some(config)) = (dtype, config) else { return };
    let mut value = config.value.clone();
    let Some(fields) = value.as_object_mut() else { return };
    if job.options.dequantize.is_some() {
        unquantised(fields);
        for name in QUANTISATIONS {
            if draft.files.remove(*name).is_some() {
                draft.lost.push(format!("{name}: the weights are quantised no more"));
            }
        }
    }
    let key = if fields.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    // A config of diffusers holds the arguments of its class, of which the dtype is none.
    if fields.contains_key(key) || !super::is_diffusers(job.checkpoint) {
        fields.insert(key.to_owned(), dtype.torch().into());
    }
    retype_parts(fields, dtype);
    draft.make("config.json", metadata::text(&value));
}

/// Tells the parts of a model of several (`text_config`, `vision_config`) the dtype too, where they said one.
fn retype_parts(fields: &mut serde_json::Map<String, Value>, dtype: Dtype) {
    for (name, part) in fields.iter_mut().filter(|(name, _)| name.ends_with("_config")) {
        let Some(part) = part.as_object_mut().filter(|_| name != "quantization_config") else { continue };
        for key in ["dtype", "torch_dtype"] {
            if let Some(said) = part.get_mut(key).filter(|said| said.is_string()) {
                *said = dtype.torch().into();
            }
        }
        retype_parts(part, dtype);
    }
}

/// Files that say how weights are quantised, beside a config that may not: GPTQ's, AWQ's and ModelOpt's.
const QUANTISATIONS: &[&str] = &["hf_quant_config.json", "quant_config.json", "quantize_config.json"];

/// Takes out what a config says of quantisation, also where a model of several parts says it with one of them.
fn unquantised(fields: &mut serde_json::Map<String, serde_json::Value>) {
    for key in ["quantization_config", "compression_config", "quantization"] {
        fields.shift_remove(key);
    }
    for part in ["text_config", "llm_config"] {
        if let Some(part) = fields.get_mut(part).and_then(serde_json::Value::as_object_mut) {
            unquantised(part);
        }
    }
}

/// The release whose files are to be matched, if one was named.
///
/// # Errors
/// For a name that is not known, or a model that is not that release.
fn release(job: &Job<'_>, facts: &ModelFacts) -> Result<Option<&'static Release>> {
    let Some(name) = &job.options.match_release else { return Ok(None) };
    let known = metadata::find_release(name).map_err(Usage)?;
    match known.differs(facts) {
        Some(difference) => refuse(difference, "leave --match-release out, or correct what is wrong with --assume"),
        None => Ok(Some(known)),
    }
}

/// Makes the small files of Hugging Face's form.
///
/// # Errors
/// A tokenizer that cannot be read; a release that is not this model.
pub(super) fn hf(job: &Job<'_>, facts: &ModelFacts, draft: &mut Draft) -> Result<()> {
    let release = release(job, facts)?;
    draft.make("config.json", metadata::config(facts, release));
    draft.make("generation_config.json", metadata::generation_config(facts, release));
    if let Some(inside) = tokenizer::ggml(job.checkpoint)? {
        return vocabulary(job, Some(facts), facts.max_position_embeddings, &inside, draft);
    }
    let Some(found) = tokenizer::model(job.checkpoint)? else {
        // A tokenizer in Hugging Face's own form goes along as it is.
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"] {
            if let Some(path) = job.checkpoint.root_file(name) {
                draft.files.insert(name.to_owned(), Content::Copied(path));
            }
        }
        return retemplate(job, draft);
    };
    let (json, tokens) = match &found.tokenizer {
        Tokenizer::Tiktoken(ranks) => {
            let tokens = Tokens::of_ranks(ranks, facts);
            let names: Vec<String> = tokens.added.iter().map(|added| added.content.clone()).collect();
            (json::from_ranks(ranks, &names, MergeForm::Strings)?, tokens)
        }
        Tokenizer::SentencePiece(model) => {
            (json::from_sentencepiece(model, MergeForm::Strings)?, Tokens::of_model(model))
        }
        _ => return refuse(format!("{} is no tokenizer.model", found.name), "put Meta's own file there"),
    };
    draft.make("tokenizer.json", json);
    let own = if let Some(template) = template(job)? {
        Some(template)
    } else {
        // The path as typed may be `.`; the model's name is in the real one.
        let path = job.checkpoint.path.canonicalize().unwrap_or_else(|_| job.checkpoint.path.clone());
        metadata::chat_template(facts, &path.to_string_lossy()).map(str::to_owned)
    };
    let context = facts.max_position_embeddings;
    draft.make("tokenizer_config.json", tokens.tokenizer_config(context, own.as_deref()));
    draft.make("special_tokens_map.json", tokens.special_tokens_map());
    draft.files.insert("tokenizer.model".to_owned(), Content::Copied(found.path));
    Ok(())
}

/// The vocabulary of a source in the form that GGUF keeps, if there is one.
///
/// # Errors
/// A tokenizer that cannot be read, or for whose kind llama.cpp's name is not known.
pub(super) fn ggml(job: &Job<'_>, facts: Option<&ModelFacts>) -> Result<Option<Ggml>> {
    if let Some(inside) = tokenizer::ggml(job.checkpoint)? {
        return Ok(Some(inside));
    }
    let found = match tokenizer::model(job.checkpoint)? {
        Some(found) => Some(found),
        None => tokenizer::json(job.checkpoint)?,
    };
    let Some(found) = found else { return Ok(None) };
    let told = |finding: Finding| finding.in_file(found.name.clone());
    Ok(Some(match &found.tokenizer {
        Tokenizer::SentencePiece(model) => Ggml::from_sentencepiece(model),
        Tokenizer::Json(json) => Ggml::from_json(json).map_err(told)?,
        Tokenizer::Tiktoken(ranks) => {
            let Some(facts) = facts else {
                return refuse("ranks alone do not tell the names of this family's tokens", "put tokenizer.json there");
            };
            let names: Vec<String> =
                Tokens::of_ranks(ranks, facts).added.into_iter().map(|added| added.content).collect();
            let text = json::from_ranks(ranks, &names, MergeForm::Strings)?;
            match ckpt::tokenizers::read(&text)? {
                Tokenizer::Json(json) => Ggml::from_json(&json).map_err(told)?,
                _ => return Ok(None),
            }
        }
        Tokenizer::Tekken(_) => {
            return refuse("a tekken vocabulary is not written as GGUF", "use llama.cpp's converter");
        }
    }))
}

/// The chat template that goes along: the one that was given, the source's own, or that of the release.
///
/// # Errors
/// A file that was named and cannot be read.
pub(super) fn chat_template(job: &Job<'_>, facts: Option<&ModelFacts>) -> Result<Option<String>> {
    if let Some(path) = &job.options.chat_template {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(Some(text));
    }
    let own = crate::carry::key(job.checkpoint, "tokenizer.chat_template").and_then(Value::as_str).map(str::to_owned);
    if own.is_some() || tokenizer::ggml(job.checkpoint)?.is_some() {
        return Ok(own);
    }
    if let Some(text) = job.checkpoint.small_file("chat_template.jinja", ckpt::facts::limits::JSON)? {
        return Ok(String::from_utf8(text).ok());
    }
    if let Some(text) = job.checkpoint.small_file("tokenizer_config.json", ckpt::facts::limits::JSON)? {
        let config: Option<Value> = serde_json::from_slice(&text).ok();
        return Ok(config.and_then(|config| Some(config.get("chat_template")?.as_str()?.to_owned())));
    }
    let path = job.checkpoint.path.canonicalize().unwrap_or_else(|_| job.checkpoint.path.clone());
    Ok(facts.and_then(|facts| metadata::chat_template(facts, &path.to_string_lossy())).map(str::to_owned))
}

/// Makes the tokenizer's files of the vocabulary inside a GGUF file, for texts of at most `context` tokens. One that has
/// no exact `tokenizer.json` here is left out with a warning.
///
/// # Errors
/// A chat template that was named and cannot be read.
pub(super) fn vocabulary(
    job: &Job<'_>,
    facts: Option<&ModelFacts>,
    context: u64,
    inside: &Ggml,
    draft: &mut Draft,
) -> Result<()> {
    match inside.to_json(MergeForm::Strings) {
        Ok(json) => draft.make("tokenizer.json", json),
        Err(finding) => {
            let message = format!("no tokenizer is written: {}", finding.message);
            draft.warnings.push(Finding::new(Id::TokenizerMissing, message));
            return Ok(());
        }
    }
    let template = chat_template(job, facts)?;
    let tokens = Tokens::of_ggml(inside);
    draft.make("tokenizer_config.json", tokens.tokenizer_config(context, template.as_deref()));
    draft.make("special_tokens_map.json", tokens.special_tokens_map());
    Ok(())
}

/// The `tokenizer.model` of Meta's form: the source's own, or made of what it has instead.
///
/// # Errors
/// A tokenizer that cannot be read.
pub(super) fn tokenizer_of_meta(job: &Job<'_>, tiktoken: bool, draft: &mut Draft) -> Result<()> {
    let checkpoint = job.checkpoint;
    if let Some(inside) = tokenizer::ggml(checkpoint)? {
        from_inside(&inside, tiktoken, draft);
    } else if let Some(found) = tokenizer::model(checkpoint)? {
        draft.files.insert("tokenizer.model".to_owned(), Content::Copied(found.path));
    } else if let Some(found) = tokenizer::json(checkpoint)? {
        rebuilt(&found, tiktoken, draft);
    }
    Ok(())
}

/// Refuses, with every cause, a source whose config says what Meta's format cannot.
///
/// # Errors
/// The refusal.
pub(super) fn holds(job: &Job<'_>) -> Result<()> {
    let naming = job.checkpoint.family.as_ref().map(|family| family.naming);
    let hf = |config: &&Value| match naming {
        None | Some(Naming::Hf) => true,
        Some(Naming::Tune) => config.get("dim").is_none(),
        Some(Naming::Meta | Naming::Gguf) => false,
    };
    let Some(config) = job.checkpoint.params().filter(hf) else { return Ok(()) };
    let causes = metadata::meta_refusals(config);
    if causes.is_empty() {
        return Ok(());
    }
    refuse(format!("Meta's format cannot hold this model: {}", causes.join("; ")), super::AS_IT_IS)
}

/// A `tokenizer.model` made of a `tokenizer.json`: Meta's own bytes for tiktoken, an equal model for SentencePiece.
/// One that Meta's forms cannot express goes along as it is.
fn rebuilt(found: &tokenizer::Found, tiktoken: bool, draft: &mut Draft) {
    let Tokenizer::Json(tokenizer) = &found.tokenizer else { return };
    let made = if tiktoken {
        ranks(tokenizer, draft)
    } else {
        json::to_sentencepiece(tokenizer).map(|model| {
            draft.lost.push(format!("{RECORD} tokenizer.json"));
            model.write()
        })
    };
    match made {
        Ok(bytes) => draft.make("tokenizer.model", bytes),
        Err(finding) => {
            draft.warnings.push(finding.in_file(found.name.clone()));
            draft.files.insert(found.name.clone(), Content::Copied(found.path.clone()));
            for beside in ["tokenizer_config.json", "special_tokens_map.json"] {
                let path = found.path.with_file_name(beside);
                if path.is_file() {
                    draft.files.insert(beside.to_owned(), Content::Copied(path));
                }
            }
        }
    }
}

/// What a SentencePiece model made of something else lacks.
const RECORD: &str = "training record of the SentencePiece model: it is rebuilt from";

/// The file of ranks of byte pairs.
fn ranks(tokenizer: &TokenizerJson, draft: &mut Draft) -> Result<Vec<u8>, Finding> {
    let made = json::to_ranks(tokenizer)?;
    for (id, name) in made.renamed {
        draft.lost.push(format!("the name {name} of token {id}: Meta's file has no names"));
    }
    Ok(made.ranks.write())
}

/// A `tokenizer.model` made of the vocabulary inside a GGUF file. One that Meta's forms cannot express becomes a
/// `tokenizer.json`, if it can be that.
fn from_inside(inside: &Ggml, tiktoken: bool, draft: &mut Draft) {
    let text = inside.to_json(MergeForm::Strings);
    let made = if tiktoken {
        let json = text.clone().and_then(|text| ckpt::tokenizers::read(&text));
        json.and_then(|json| match &json {
            Tokenizer::Json(json) => ranks(json, draft),
            _ => Err(Finding::new(Id::TokenizerNotMeta, "the vocabulary is none of byte pairs")),
        })
    } else {
        draft.lost.push(format!("{RECORD} the vocabulary of the GGUF file"));
        Ok(inside.sentencepiece().write())
    };
    match (made, text) {
        (Ok(bytes), _) => draft.make("tokenizer.model", bytes),
        (Err(finding), Ok(text)) => {
            draft.warnings.push(finding);
            draft.make("tokenizer.json", text);
        }
        (Err(finding), Err(_)) => {
            let message = format!("no tokenizer is written: {}", finding.message);
            let finding = Finding::new(Id::TokenizerMissing, message);
            draft.warnings.push(finding.fix("copy the model's tokenizer.model beside the target's weights"));
        }
    }
}
