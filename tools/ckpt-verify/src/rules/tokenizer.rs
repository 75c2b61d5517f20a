//! tokenizer-missing, tokenizer-invalid, tokenizer-vocab: the tokenizer beside the weights, and whether they fit.

use ckpt::facts::{Finding, Id, Severity, limits};
use ckpt::layouts::Layout;
use ckpt::tokenizers;
use serde_json::Value;

use super::explain;
use crate::case::{Case, model_type};

explain! {
    /// Looks for a tokenizer: `tokenizer.model` beside Meta's weights or one folder up; in Hugging Face's layout, for a
    /// language model, any of the files that transformers' tokenizers are made of.
    ///
    /// The weights alone cannot read or write text, and with another model's tokenizer they speak nonsense.
    ///
    /// Copy the tokenizer's files from the model that the training began with.
    TokenizerMissing;
    /// Reads `tokenizer.json` and `tokenizer.model` whole. A defect is an error for a known family and a warning for
    /// others, whose tokenizers may have forms of their own.
    ///
    /// The model cannot be used until the file is replaced, and what the file is (a Git LFS pointer, half a download)
    /// often says what else is wrong.
    TokenizerInvalid;
    /// Compares the tokenizer's largest id with the rows of the embedding. More rows than ids are usual padding.
    ///
    /// The first text with one of the new tokens stops the run, on a GPU with "device-side assert triggered".
    ///
    /// The tokenizer got tokens and the embedding was not resized, or was resized and then not saved.
    TokenizerVocab;
    /// In a conversion: Meta's layout has tiktoken ranks or a SentencePiece model, and this tokenizer is neither.
    ///
    /// Meta's own code cannot run the result; everything else is as it should be.
    TokenizerNotMeta;
    /// In a conversion: neither the name nor the tokenizer's rows say whether the model was tuned for dialogue.
    ///
    /// The chat template and the end-of-turn token depend on it.
    ///
    /// `ckpt-convert --assume instruct=true` says it.
    InstructUnknown;
}

/// Files that a tokenizer of transformers is made of, one or more of them.
const HF_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "source.spm",
    "vocab.model",
];

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let names = match case.checkpoint.layout {
        Layout::Meta => {
            let found = meta_names(case).into_iter().find(|name| case.checkpoint.root_file(name).is_some());
            if found.is_none() {
                let message = "there is no tokenizer.model beside the weights or one folder up";
                findings.push(Finding::new(Id::TokenizerMissing, message));
            }
            found.into_iter().collect()
        }
        Layout::Mistral => {
            let found = tokenizers::names::mistral(case.checkpoint.files.iter().map(|entry| entry.name.as_str()));
            if found.is_none() {
                let message = "there is no tekken.json or tokenizer.model beside the weights";
                findings.push(Finding::new(Id::TokenizerMissing, message));
            }
            found.map(str::to_owned).into_iter().collect()
        }
        Layout::Hf => {
            if !has_hf_files(case) && speaks(case) {
                let message = "there is no tokenizer beside the weights";
                findings.push(Finding::new(Id::TokenizerMissing, message).needed("tokenizer.json", "none"));
            }
            vec!["tokenizer.json".to_owned(), "tokenizer.model".to_owned()]
        }
        Layout::Dcp | Layout::DeepSpeed | Layout::Adapter | Layout::Megatron | Layout::File | Layout::Directory => {
            return;
        }
    };
    for name in names {
        match case.checkpoint.small_file(&name, limits::JSON) {
            Ok(Some(file)) => findings.extend(read(case, &name, &file)),
            Ok(None) => {}
            Err(finding) => findings.push(finding),
        }
    }
}

/// Where Meta's tokenizer may be: beside the weights, or one folder up as in Llama 1 and 2.
pub(crate) fn meta_names(case: &Case<'_>) -> Vec<String> {
    let folder = case.checkpoint.weights.to_string_lossy();
    let up = if folder.is_empty() { "../tokenizer.model" } else { "tokenizer.model" };
    vec![format!("{folder}tokenizer.model"), up.to_owned()]
}

/// Whether any file is there that a tokenizer of transformers is made of.
pub(crate) fn has_hf_files(case: &Case<'_>) -> bool {
    case.checkpoint
        .files
        .iter()
        .any(|entry| HF_FILES.contains(&entry.name.as_str()) || entry.name.ends_with(".tiktoken"))
}

/// Whether it is a language model, which is nothing without its tokenizer. Of others one cannot know.
fn speaks(case: &Case<'_>) -> bool {
    let causal = case
        .setting("architectures")
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().filter_map(Value::as_str).any(|name| name.ends_with("ForCausalLM")));
    model_type(case.checkpoint).is_some() && (case.family.is_some() || causal)
}

/// Reads one tokenizer and holds it against the embedding.
fn read(case: &Case<'_>, name: &str, file: &[u8]) -> Option<Finding> {
    let severity = if case.family.is_some() { Severity::Error } else { Severity::Warning };
    let tokenizer = match tokenizers::read(file) {
        Ok(tokenizer) => tokenizer.summary(),
        Err(finding) => return Some(finding.in_file(name).severity(severity)),
    };
    // A vocabulary has one row a token; a matrix of another rank is no embedding.
    let embedding = case.embedding().filter(|embedding| !case.is_packed && embedding.recipe.shape.len() == 2)?;
    let rows = embedding.recipe.shape.first().copied().filter(|&rows| rows > 0 && rows < tokenizer.ids)?;
    let message = format!("the {} tokenizer has ids beyond the embedding's rows", tokenizer.kind);
    let finding = Finding::new(Id::TokenizerVocab, message).in_file(name).tensor(embedding.name.clone());
    Some(finding.severity(severity).needed(format!("{} rows", tokenizer.ids), format!("{rows} rows")))
}
