//! A path on disk to a checkpoint: which files there are, which tensors they hold together, what stands beside them.

mod adapter;
mod chunks;
mod dcp;
mod deepspeed;
mod directory;
mod external;
mod gguf;
mod hf;
pub mod hub;
mod index;
pub mod inside;
mod megatron;
mod meta;
mod mistral;
pub mod names;
mod nothing;
mod shards;
pub mod training;
mod tree;
mod wrapped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::archs::{Arch, Naming, setting};
use crate::bytes::{FileSource, Pool, ReadAt};
use crate::facts::{FileId, Finding, Id, Recipe, Severity, Tensor};
use crate::formats::{self, Format, Object};

pub use adapter::{CONFIG as ADAPTER_CONFIG, is_adapter, torchtunes as torchtunes_adapter};
pub use tree::Entry;

/// How a checkpoint's files lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Hugging Face: `model.safetensors` or shards with an index, `config.json`.
    Hf,
    /// Meta: `consolidated.NN.pth`, `params.json`, here or under `original/`.
    Meta,
    /// Mistral: `consolidated.safetensors` or `consolidated.NN.pth`, with a `params.json` of its own.
    Mistral,
    /// torch.distributed: chunks in `.distcp` files with their directory `.metadata`, or in safetensors files.
    Dcp,
    /// DeepSpeed: `latest`, a folder for each step, states of the model and of the optimizer a rank.
    DeepSpeed,
    /// Megatron-LM: a folder a model-parallel rank with `model_optim_rng.pt`.
    Megatron,
    /// An adapter: PEFT's `adapter_model.safetensors` with its config, or the file of torchtune and llama-stack.
    Adapter,
    /// One file.
    File,
    /// Any other directory with weight files on top.
    Directory,
}

/// Layout and its name.
type Row = (Layout, &'static str);

const ROWS: &[Row] = &[
    (Layout::Hf, "hf"),
    (Layout::Meta, "meta"),
    (Layout::Mistral, "mistral"),
    (Layout::Dcp, "dcp"),
    (Layout::DeepSpeed, "deepspeed"),
    (Layout::Megatron, "megatron"),
    (Layout::Adapter, "adapter"),
    (Layout::File, "file"),
    (Layout::Directory, "directory"),
];

impl Layout {
    /// The name used in documents and by `--from`.
    pub fn name(self) -> &'static str {
        ROWS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// Every layout's name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.1)
    }

    /// The layout of that name.
    pub fn from_name(name: &str) -> Option<Layout> {
        ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// Which weights are meant where a trainer keeps two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// The fp32 masters that its optimizer updates.
    #[default]
    Master,
    /// The copies, mostly of 16 bits, that its model computes with.
    Module,
}

/// A weight file.
#[derive(Debug)]
pub struct Shard {
    /// The file.
    pub file: FileId,
    /// Its path, relative to the checkpoint.
    pub name: String,
    /// What it is.
    pub format: Format,
    /// Its size in bytes.
    pub size: u64,
    /// Number of tensors it holds.
    pub tensors: usize,
    /// Text it carries about itself.
    pub metadata: BTreeMap<String, String>,
    /// What it holds besides tensors.
    pub objects: Vec<Object>,
}

/// A small JSON file beside the weights.
#[derive(Debug)]
pub struct Json {
    /// Its path, relative to the checkpoint.
    pub name: String,
    /// What it says.
    pub value: Value,
}

/// Copies of one tensor that must be equal to the bit.
#[derive(Debug)]
pub struct Replica {
    /// The tensor's name.
    pub tensor: String,
    /// The rank whose copy counts, and that copy.
    pub kept: (usize, Recipe),
    /// The rank whose copy is left out, and that copy.
    pub copy: (usize, Recipe),
}

/// The family a checkpoint belongs to.
#[derive(Debug, Clone)]
pub struct Family {
    /// Its table.
    pub arch: &'static Arch,
    /// The scheme its names follow.
    pub naming: Naming,
    /// What that was told from.
    pub from: String,
}

/// A checkpoint: a table of tensors, and what stands beside them.
#[derive(Debug)]
pub struct Checkpoint {
    /// As it was given.
    pub path: PathBuf,
    /// The snapshot that a repository of the hub's cache was read as, relative to `path`: `snapshots/COMMIT`.
    pub snapshot: Option<String>,
    /// How its files lie.
    pub layout: Layout,
    /// Other layouts at the same path.
    pub also: Vec<String>,
    /// Every file, sorted by path; a [`FileId`] is a place in this list.
    pub files: Vec<Entry>,
    /// The same files, to be read.
    pub pool: Pool,
    /// The weight files.
    pub shards: Vec<Shard>,
    /// The logical tensors: shards joined, names as the layout gives them.
    pub tensors: Vec<Tensor>,
    /// Copies in several ranks of which one counts.
    pub replicas: Vec<Replica>,
    /// The family, if it is a known one.
    pub family: Option<Family>,
    /// `adapter_config.json`, if this is an adapter.
    pub adapter: Option<Json>,
    /// `config.json` or `params.json`; beside an adapter, that of its base.
    pub config: Option<Json>,
    /// The index of the shards.
    pub index: Option<Json>,
    /// The folder of the weights, relative to the checkpoint; empty if they lie on top.
    pub weights: PathBuf,
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
}

impl Checkpoint {
    fn new(path: &Path, layout: Layout, tree: tree::Tree) -> Checkpoint {
        Checkpoint {
            path: path.to_owned(),
            snapshot: None,
            layout,
            also: Vec::new(),
            files: tree.entries,
            pool: tree.pool,
            shards: Vec::new(),
            tensors: Vec::new(),
            replicas: Vec::new(),
            family: None,
            adapter: None,
            config: None,
            index: None,
            weights: PathBuf::new(),
            findings: tree.findings,
        }
    }

    /// The folder that paths of files are relative to.
    pub fn root(&self) -> PathBuf {
        match &self.snapshot {
            Some(snapshot) => self.path.join(snapshot),
            None if self.layout == Layout::File => self.path.parent().unwrap_or(Path::new("")).to_owned(),
            None => self.path.clone(),
        }
    }

    /// The first finding that says the checkpoint is damaged, if there is one. Only verify goes on with such a one.
    pub fn damage(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.severity == Severity::Error)
    }

    /// Holds the weight files against what they were when they were opened. What else lies there, a log of the training
    /// say, may be written to meanwhile.
    ///
    /// # Errors
    /// As [`Pool::unchanged`].
    pub fn unchanged(&self) -> Result<(), Finding> {
        let weights: BTreeSet<FileId> = self.shards.iter().map(|shard| shard.file).collect();
        self.pool.unchanged_among(|file| weights.contains(&file))
    }

    /// The file of that relative path.
    pub fn file(&self, name: &str) -> Option<(FileId, &Entry)> {
        let place = self.files.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.files.get(place).map(|entry| (FileId(place), entry))
    }

    /// Reads a whole small file of the checkpoint; `None` if there is none of that name.
    ///
    /// # Errors
    /// A finding with the file's name if it is larger than `limit` bytes or cannot be read.
    pub fn small_file(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Finding> {
        let Some(path) = self.root_file(name) else { return Ok(None) };
        read_small(&path, limit).map(Some).map_err(|finding| finding.in_file(name))
    }

    /// Where a file of that relative path is, if it is there. A name may lead one folder up (`../tokenizer.model`),
    /// which only our own code asks for.
    pub fn root_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.root().join(name);
        path.is_file().then_some(path)
    }

    /// Parses a JSON file of the checkpoint. What is wrong with it becomes a finding.
    fn json(&mut self, name: &str) -> Option<Json> {
        let path = self.root_file(name)?;
        let parsed = FileSource::open(&path)
            .map_err(|error| formats::detect::unreadable(&error))
            .and_then(|source| formats::json::read(&source));
        match parsed {
            Ok(value) => Some(Json { name: name.to_owned(), value }),
            Err(finding) => {
                self.findings.push(finding.in_file(name));
                None
            }
        }
    }

    /// What `params.json` or `config.json` says; Meta's is sometimes wrapped in `model`.
    pub fn params(&self) -> Option<&Value> {
        meta::params(self)
    }

    /// Elements of one attention head, as the config says it outright or by a quotient.
    pub fn head_dim(&self) -> Option<u64> {
        let params = self.params()?;
        let number = |key: &str| setting(params, key).and_then(Value::as_u64);
        let quotient = |width, heads| number(width)?.checked_div(number(heads)?);
        // Of what a GGUF file does not say llama.cpp makes the quotient.
        let family = self.family.as_ref().filter(|family| family.naming != Naming::Gguf);
        let default = || family?.arch.defaults.iter().find(|row| row.0 == "head_dim").map(|row| row.1);
        number("head_dim")
            .or_else(default)
            .or_else(|| quotient("dim", "n_heads"))
            .or_else(|| quotient("hidden_size", "num_attention_heads"))
            .filter(|&size| size > 0)
    }

    /// Size of a file in bytes, as recipes are checked against; also of one that has come to the pool since, as an
    /// adapter's do.
    pub fn size_of(&self, file: FileId) -> u64 {
        let added = || Some(std::fs::metadata(self.pool.path(file)?).ok()?.len());
        self.files.get(file.0).map(|entry| entry.size).or_else(added).unwrap_or(0)
    }

    /// The tensors that are the model's, as far as names tell: a training state saved as one dictionary holds others.
    pub fn model(&self) -> impl Iterator<Item = &Tensor> {
        let keys = training::Keys::of(self);
        let whole = self.layout == Layout::Dcp;
        self.tensors.iter().filter(move |tensor| !(whole && keys.holds(&tensor.name)))
    }

    /// The logical tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// Reads a whole small file.
fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, Finding> {
    let source = FileSource::open(path).map_err(|error| formats::detect::unreadable(&error))?;
    if source.size() > limit {
        let message = "the file is larger than one of its kind can be";
        return Err(Finding::new(Id::TooLarge, message).needed(format!("at most {limit} bytes"), source.size()));
    }
    source.read_vec_at(source.size(), 0).map_err(|error| formats::detect::unreadable(&error))
}

/// Opens a checkpoint: a directory or one file. `from` overrides the layout; `jobs` headers are read at once.
///
/// # Errors
/// If there is nothing at the path or it may not be read. What is wrong with what is there is in
/// [`Checkpoint::findings`].
pub fn open(path: &Path, from: Option<Layout>, jobs: usize) -> Result<Checkpoint> {
    open_weights(path, from, Weights::Master, jobs)
}

/// As [`open`], with a choice of weights where there are two.
///
/// # Errors
/// As [`open`].
pub fn open_weights(path: &Path, from: Option<Layout>, weights: Weights, jobs: usize) -> Result<Checkpoint> {
    let data = std::fs::metadata(path).map_err(|error| missing(path, &error))?;
    let snapshot = match hub::snapshot(path) {
        Some(Ok(snapshot)) => Some(snapshot),
        Some(Err(finding)) => {
            let mut checkpoint = Checkpoint::new(path, Layout::Directory, tree::Tree::default());
            checkpoint.findings.push(finding);
            return Ok(checkpoint);
        }
        None => None,
    };
    let mut checkpoint = if data.is_dir() {
        let folder = snapshot.as_ref().map_or(path, |snapshot| &snapshot.folder);
        let mut tree = tree::walk(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        tree.findings.extend(hub::unfinished(folder));
        let layout = from.unwrap_or_else(|| names::layout_of(&tree.entries));
        let mut checkpoint = Checkpoint::new(path, layout, tree);
        checkpoint.snapshot = snapshot.as_ref().map(|snapshot| snapshot.name.clone());
        match layout {
            Layout::Hf => hf::read(checkpoint, jobs),
            Layout::Meta => meta::read(checkpoint, jobs),
            Layout::Mistral => mistral::read(checkpoint, jobs),
            Layout::Dcp => dcp::read(checkpoint, jobs),
            Layout::DeepSpeed => deepspeed::read(checkpoint, weights, jobs),
            Layout::Megatron => megatron::read(checkpoint, jobs),
            Layout::Adapter => adapter::read(checkpoint, jobs),
            Layout::File | Layout::Directory => directory::read(checkpoint, jobs),
        }
    } else {
        let tree = external::with_values(path, &data).unwrap_or_else(|| gguf::with_parts(path, &data));
        directory::read_file(Checkpoint::new(path, Layout::File, tree), jobs)
    };
    if checkpoint.tensors.is_empty() && checkpoint.damage().is_none() {
        let finding = nothing::finding(&checkpoint);
        checkpoint.findings.push(finding);
    }
    check_recipes(&mut checkpoint);
    let others = snapshot.into_iter().flat_map(|snapshot| snapshot.others);
    checkpoint.also.extend(others.map(|name| format!("another snapshot at {name}")));
    if let Some(finding) = unfinished(path) {
        checkpoint.findings.insert(0, finding);
    }
    Ok(checkpoint)
}

/// The finding for a path that is an unfinished conversion: however far it came, what has not been given its name was not
/// finished.
fn unfinished(path: &Path) -> Option<Finding> {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_partial = place.file_name().is_some_and(|name| tree::is_partial(&name.to_string_lossy()));
    let message = "this is an unfinished conversion; convert again, or remove it";
    is_partial.then(|| Finding::new(Id::PartialLeft, message))
}

/// The files below a folder and nothing else: no weights are read, and of a cache's repository no snapshot is chosen.
///
/// # Errors
/// As [`open`].
pub fn list(path: &Path) -> Result<Checkpoint> {
    std::fs::metadata(path).map_err(|error| missing(path, &error))?;
    let tree = tree::walk(path).with_context(|| format!("cannot list {}", path.display()))?;
    Ok(Checkpoint::new(path, Layout::Directory, tree))
}

/// The finding for a path that cannot be opened.
fn missing(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let id = if error.kind() == std::io::ErrorKind::NotFound { Id::PathMissing } else { Id::FileUnreadable };
    let message = match error.kind() {
        std::io::ErrorKind::NotFound if path.is_symlink() => "the symbolic link leads to nothing".to_owned(),
        std::io::ErrorKind::NotFound => "there is nothing at this path".to_owned(),
        _ => format!("the path cannot be read: {error}"),
    };
    Finding::new(id, message).in_file(path.to_string_lossy()).into()
}

/// Holds every recipe against the files it stands on; what does not fit is a finding, and the tensor goes.
fn check_recipes(checkpoint: &mut Checkpoint) {
    let sizes: Vec<u64> = checkpoint.files.iter().map(|entry| entry.size).collect();
    let size = |file: FileId| sizes.get(file.0).copied().unwrap_or(0);
    let findings = &mut checkpoint.findings;
    checkpoint.tensors.retain(|tensor| match crate::facts::check::check(&tensor.recipe, &size) {
        Ok(()) => true,
        Err(finding) => {
            findings.push(finding.tensor(tensor.name.clone()));
            false
        }
    });
}
