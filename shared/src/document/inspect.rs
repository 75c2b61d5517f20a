//! The section of ckpt-inspect: what a checkpoint is, from headers alone unless `stats` was asked for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Stats;

/// What a checkpoint is. Fields that are not known are null; the last five are there when asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Inspect {
    /// How the files lie: `hf`, `meta`, `file` …. Of a folder whose checkpoints are the document's children: `run` (figures
    /// are each step's own), `tree` for several models and `cache` for the hub's (figures are sums over the children).
    pub layout: String,
    /// Container formats found, sorted: `safetensors`, `torch-zip` …
    pub formats: Vec<String>,
    /// Which shard of a larger checkpoint this one file is, as its name has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The model family, if it is one the tools know.
    pub family: Option<Family>,
    /// Logical parameters: replicas and tied tensors count once, packed weights as what they stand for; scales of
    /// packed weights, buffers that can be derived and training state do not count.
    pub parameters: u64,
    /// Bytes of the logical tensors' data as stored, of everything: replicas and shared data once, a tied head that
    /// is stored a second time twice.
    pub bytes: u64,
    /// What there is of each dtype, by safetensors' name of it.
    pub dtypes: BTreeMap<String, DtypeSum>,
    /// Whether the output head is the embedding, and which tensors share their data.
    pub tied: Tied,
    /// Every file of the checkpoint, sorted by path.
    pub files: Vec<File>,
    /// The model's configuration.
    pub config: Option<Config>,
    /// What an adapter changes, if this is one; `config` is then its base's, if that lies beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The tokenizer beside the weights.
    pub tokenizer: Option<Tokenizer>,
    /// Training state beside or among the weights.
    pub training: Option<Training>,
    /// What belongs to such a checkpoint and is not there: file names, or a few words.
    pub missing: Vec<String>,
    /// Other layouts at the same path, such as `meta at original/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Every tensor, sorted by name (`--tensors`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<Tensor>>,
    /// Tensors grouped by module (`--tree`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeNode>,
    /// Figures of every tensor's values (`--stats`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Vec<Stats>>,
    /// Differences to another checkpoint (`--diff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
}

/// The place of one file among the shards of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// Its number as written: most writers count from 1, Meta's ranks and a few releases from 0.
    pub number: u64,
    /// How many shards there are, if the name says so.
    pub of: Option<u64>,
}

/// A model family, and why we think so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// Its name: `llama` …
    pub name: String,
    /// Version and size where they can be told: `3.2-1B` …
    pub variant: Option<String>,
    /// What it was inferred from: `config.json`, `params.json`, `names` …
    pub from: String,
}

/// What there is of one dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DtypeSum {
    /// Tensors.
    pub tensors: u64,
    /// Those of the logical parameters that are held in it; the sum over all dtypes is their number.
    pub parameters: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

/// An answer that headers cannot always give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum YesNo {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// Only the data could tell, or there is nothing to ask about.
    #[default]
    Unknown,
}

/// Tensors that share their data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tied {
    /// Whether the output head is the embedding.
    pub head: YesNo,
    /// What that was told from: `storage` (one and the same bytes), `crc` (equal checksums, first and last 64 KiB),
    /// `bytes` (the first or last 64 KiB differ), `shape`, `config` (it says so, and the head is not stored) or `absent`
    /// (the head is not stored); null when unknown.
    pub from: Option<String>,
    /// Names of tensors that share data, each group sorted.
    pub shared: Vec<Vec<String>>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// Relative to the document's path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The container format of a weight file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// The figures of a configuration that say what a model is, whatever file they stand in. Where the file leaves one to
/// be worked out and the family is known, it is worked out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// `config.json` or `params.json`, relative to the document's path.
    pub file: String,
    /// `model_type` of config.json.
    pub model_type: Option<String>,
    /// The first of config.json's `architectures`, or diffusers' `_class_name`.
    pub architecture: Option<String>,
    /// Layers.
    pub layers: Option<u64>,
    /// Width of the residual stream.
    pub hidden: Option<u64>,
    /// Width of the feed-forward block.
    pub intermediate: Option<u64>,
    /// Attention heads.
    pub heads: Option<u64>,
    /// Heads of keys and values.
    pub kv_heads: Option<u64>,
    /// Width of one head.
    pub head_dim: Option<u64>,
    /// Rows of the embedding.
    pub vocab: Option<u64>,
    /// Longest context in tokens.
    pub context: Option<u64>,
    /// Base of the rotary embedding.
    pub rope_theta: Option<f64>,
    /// Scaling of the rotary embedding, as the file has it.
    pub rope_scaling: Option<Value>,
    /// Epsilon of the norms.
    pub norm_eps: Option<f64>,
    /// Whether it says that the output head is the embedding.
    pub tied: Option<bool>,
    /// The dtype it announces, in safetensors' spelling.
    pub dtype: Option<String>,
    /// The quantisation it announces, as the file has it.
    pub quantization: Option<Value>,
}

/// An adapter: small matrices that change those of a base model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Adapter {
    /// `lora`, `dora`, or PEFT's word for another kind.
    pub kind: String,
    /// Whose names its tensors have: `peft`, `torchtune` or `meta`.
    pub names: String,
    /// The rank of most pairs.
    pub rank: Option<u64>,
    /// What the product is scaled by, over the rank; null if nothing tells.
    pub alpha: Option<f64>,
    /// Scaled over the root of the rank instead (rsLoRA).
    pub rslora: bool,
    /// Modules that it changes.
    pub modules: u64,
    /// The last parts of their names, in Hugging Face's scheme, sorted.
    pub targets: Vec<String>,
    /// The base model that its config names.
    pub base: Option<String>,
    /// Its config, relative to the document's path.
    pub config: Option<String>,
}

/// The tokenizer beside the weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokenizer {
    /// `tiktoken`, `sentencepiece`, `tokenizer.json` …
    pub kind: String,
    /// Tokens it knows, added ones included; null if the file could not be read.
    pub tokens: Option<u64>,
    /// Relative to the document's path.
    pub file: String,
}

/// Training state: what a resumed run would find.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Training {
    /// The form it is saved in: `hf-trainer`, `accelerate`, `lightning`, `torchtune`, `dcp`, or `file` for a script's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// Optimizer steps done.
    pub step: Option<u64>,
    /// Epochs done.
    pub epoch: Option<f64>,
    /// Whether the optimizer's state is there.
    pub optimizer: bool,
    /// Whether the learning-rate schedule's state is there.
    pub scheduler: bool,
    /// Whether the random generators' states are there.
    pub rng: bool,
    /// Files and keys that hold it, sorted.
    pub found: Vec<String>,
    /// Other scalars of the training state, by their path, sorted.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Value>,
}

/// One tensor of the logical checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tensor {
    /// Its name as the layout gives it.
    pub name: String,
    /// In safetensors' spelling.
    pub dtype: String,
    /// In torch's order.
    pub shape: Vec<u64>,
    /// Bytes of its data.
    pub bytes: u64,
    /// The file that holds it, if one alone does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where its data begin in that file, if they lie there contiguously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// A module and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeNode {
    /// The last part of its name; empty for the root. Equal neighbours whose names are numbers are folded into one
    /// node `0..31`: figures add up over all of them, down to the tensors, and shapes are those of each.
    pub name: String,
    /// Tensors below it.
    pub tensors: u64,
    /// Parameters below it.
    pub parameters: u64,
    /// Bytes below it.
    pub bytes: u64,
    /// Dtype and shape, if it is a tensor itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<Geometry>,
    /// Modules and tensors in it, in natural order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<TreeNode>,
}

/// Dtype and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Geometry {
    /// In safetensors' spelling.
    pub dtype: String,
    /// In torch's order.
    pub shape: Vec<u64>,
}

/// Differences between this checkpoint and another, from headers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The other checkpoint, as it was typed.
    pub other: String,
    /// Tensors that only this one has, sorted.
    pub only_here: Vec<Tensor>,
    /// Tensors that only the other one has, sorted.
    pub only_there: Vec<Tensor>,
    /// Tensors of another dtype or shape, sorted.
    pub changed: Vec<Changed>,
    /// Settings that differ, sorted.
    pub config: Vec<ConfigChange>,
}

impl Diff {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.only_here.is_empty() && self.only_there.is_empty() && self.changed.is_empty() && self.config.is_empty()
    }
}

/// A tensor that both checkpoints have, with another dtype or shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The tensor.
    pub name: String,
    /// What it is here.
    pub here: Geometry,
    /// What it is there.
    pub there: Geometry,
}

/// A setting that differs; null where it is not set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// The setting, a key of config.json.
    pub key: String,
    /// Its value here.
    pub here: Value,
    /// Its value there.
    pub there: Value,
}
