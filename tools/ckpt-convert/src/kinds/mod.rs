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

use anyhow::Result;
use ckpt::archs::{Counts, Match, Naming, Need, Sizes};
use ckpt::canonical::Table;
use ckpt::cli::Context;
use ckpt::facts::{Finding, Id};
use ckpt::layouts::Checkpoint;
use ckpt::plan::read::Reader;
use clap::ValueEnum;

use crate::draft::Draft;
use crate::options::Options;

/// What takes a model that a kind cannot hold.
const AS_IT_IS: &str = "`--to safetensors` and `--to torch` take any model as it is";

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
    /// Some of the weights were packed by a quantisation that has been undone.
    pub(crate) unpacked: bool,
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

/// The name before the number and the ending of weight files in Hugging Face's form: diffusers has one of its own.
fn stem(checkpoint: &Checkpoint, usual: &'static str) -> &'static str {
    const DIFFUSERS: &str = "diffusion_pytorch_model";
    let is_named = checkpoint.shards.iter().any(|shard| shard.name.starts_with(DIFFUSERS));
    if is_named || is_diffusers(checkpoint) { DIFFUSERS } else { usual }
}

/// Whether the config is that of a model of diffusers, which says the class so.
fn is_diffusers(checkpoint: &Checkpoint) -> bool {
    checkpoint.config.as_ref().is_some_and(|config| config.value.get("_class_name").is_some())
}

/// Whether the source has every tensor that the family needs: loaders of its own form insist on them.
///
/// # Errors
/// A finding that names the first one missing.
fn complete(table: &Table, counts: Counts) -> Result<()> {
    Ok(has_all(table, counts, |found| found.row.need == Need::Always)?)
}

/// Whether a table under Hugging Face's names is all of the model that a config describes, and nothing else: its layers,
/// the tensors that they need and the head, and every shape. `file` is where the config comes from.
///
/// # Errors
/// A finding about the first that is not so.
fn is_described(table: &Table, sizes: &Sizes<'_>, file: &str) -> Result<(), Finding> {
    let Some(arch) = table.arch else { return Ok(()) };
    let found = || table.tensors.iter().filter_map(|tensor| Some((arch.find(Naming::Hf, &tensor.name)?, tensor)));
    let mut counts = Counts::default();
    found().for_each(|(found, _)| counts.cover(&found));
    has_all(table, counts, |found| found.row.need == Need::Head || sizes.needs(found.row, found.layer))?;
    for (what, said, there) in [
        ("layers", sizes.layers(), counts.layers),
        ("layers of the vision tower", sizes.vision_layers(), counts.vision),
        ("layers of the vision tower that see all tiles", sizes.global_layers(), counts.global),
    ] {
        if let Some(said) = said.filter(|said| *said != there) {
            let message = format!("{file} has another number of {what} than the weights");
            return Err(Finding::new(Id::ConfigLayers, message).in_file(file).needed(said, there));
        }
    }
    for (found, tensor) in found() {
        let (shape, wanted) = (&tensor.recipe.shape, sizes.shape(found.row.shape));
        let fits = |(size, wanted): (&u64, &Option<u64>)| wanted.is_none_or(|wanted| wanted == *size);
        if shape.len() != wanted.len() || !shape.iter().zip(&wanted).all(fits) {
            let word = |size: &Option<u64>| size.map_or_else(|| "?".to_owned(), |size| size.to_string());
            let wanted = wanted.iter().map(word).collect::<Vec<_>>().join(", ");
            let finding = Finding::new(Id::ConfigShape, format!("the shape is not the one that {file} gives"));
            let finding = finding.in_file(file).tensor(tensor.name.clone());
            return Err(finding.needed(format!("[{wanted}]"), format!("{shape:?}")));
        }
    }
    Ok(())
}

/// Whether a table has every tensor of so many layers that is needed. Numbers of layers come from names in files: the
/// first gap between them ends this.
fn has_all(table: &Table, counts: Counts, needed: impl Fn(&Match) -> bool) -> Result<(), Finding> {
    let Some(arch) = table.arch else { return Ok(()) };
    let names: HashSet<&str> = table.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    for name in arch.expected(counts).filter(needed).filter_map(|found| found.named(Naming::Hf)) {
        if !names.contains(name.as_str()) {
            let message = "the model needs this tensor, and it is not there";
            return Err(Finding::new(Id::TensorMissing, message).tensor(name));
        }
    }
    Ok(())
}
