//! The kinds of checkpoint that can be made, one file each: from an open source to a draft.

pub(crate) mod adapter;
mod container;
mod family;
pub(crate) mod gguf;
mod hf;
mod hub;
mod meta;
mod mistral;
mod own;
mod seeing;
mod small;
mod tokenizer;

use std::collections::HashSet;

use anyhow::{Result, bail};
use ckpt::archs::{Counts, Naming, Need};
use ckpt::canonical::Table;
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Checkpoint;
use ckpt::plan::read::Reader;
use clap::ValueEnum;

use crate::draft::Draft;
use crate::options::Options;

/// A kind of checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Hugging Face: safetensors, config, generation config, tokenizer
    Hf,
    /// Meta: consolidated.NN.pth, params.json, tokenizer.model, checklist.chk
    Meta,
    /// Mistral: consolidated.safetensors, params.json, tekken.json or tokenizer.model.vN
    Mistral,
    /// Hugging Face's hub layout of a Meta download: config and tokenizer on top, weights under original/
    Hub,
    /// Safetensors, names as they are, whatever the model
    Safetensors,
    /// What torch.save writes, names as they are, whatever the model
    Torch,
    /// One GGUF file for llama.cpp: weights, sizes and vocabulary
    Gguf,
    /// Of an adapter: PEFT's adapter_model.safetensors and adapter_config.json
    Peft,
    /// Of an adapter: torchtune's adapter_model.pt
    Torchtune,
}

impl Kind {
    /// The word on the command line and in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Hf => "hf",
            Kind::Meta => "meta",
            Kind::Mistral => "mistral",
            Kind::Hub => "hub",
            Kind::Safetensors => "safetensors",
            Kind::Torch => "torch",
            Kind::Gguf => "gguf",
            Kind::Peft => "peft",
            Kind::Torchtune => "torchtune",
        }
    }
}

/// A source that is open, and what is asked of it.
pub(crate) struct Job<'a> {
    pub(crate) options: &'a Options,
    pub(crate) context: &'a Context,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) reader: &'a Reader<'a>,
    /// The name of the one file to write, if the target is a file.
    pub(crate) one_file: Option<String>,
}

impl Job<'_> {
    pub(crate) fn jobs(&self) -> usize {
        self.context.jobs.get()
    }

    /// The canonical table, its head settled.
    fn table(&self) -> Result<(Table, bool)> {
        let progress = &self.context.progress;
        let mut table = ckpt::canonical::table(self.checkpoint, self.reader, self.jobs(), progress)?;
        let tied = table.settle_head(self.reader, progress)?;
        Ok((table, tied))
    }
}

/// Plans the conversion.
///
/// # Errors
/// What the source lacks or the target cannot hold, with what would help.
pub(crate) fn draft(job: &Job<'_>) -> Result<Draft> {
    let kind = job.options.kind();
    if matches!(kind, Kind::Hf | Kind::Meta | Kind::Hub | Kind::Gguf) {
        adapter::no_adapter(job)?;
    }
    match kind {
        Kind::Hf => hf::draft(job),
        Kind::Meta => meta::draft(job),
        Kind::Mistral => mistral::draft(job),
        Kind::Hub => hub::draft(job),
        Kind::Gguf => gguf::draft(job),
        Kind::Peft | Kind::Torchtune => adapter::draft(job),
        Kind::Safetensors | Kind::Torch => container::draft(job),
    }
}

/// Whether the source has every tensor that the family needs: loaders of its own form insist on them.
///
/// # Errors
/// A finding that names the first one missing.
fn complete(table: &Table, counts: Counts) -> Result<()> {
    let Some(arch) = table.arch else { return Ok(()) };
    let names: HashSet<&str> = table.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let needed = arch.expected(counts).filter(|found| found.row.need == Need::Always);
    for name in needed.filter_map(|found| found.named(Naming::Hf)) {
        if !names.contains(name.as_str()) {
            bail!(Finding::new(Id::TensorMissing, "the model needs this tensor, and it is not there").tensor(name));
        }
    }
    Ok(())
}
