//! A checkpoint as the rules look at it: what every one of them would otherwise work out again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ckpt::archs::{self, ARCHS, Arch, Match, Naming, Need, Row, Size, Sizes};
use ckpt::facts::{Finding, Id, Severity, Tensor};
use ckpt::layouts::{Checkpoint, Layout, names};
use serde_json::Value;

/// A checkpoint and what is known of it.
pub(crate) struct Case<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    /// The family and the scheme of its names, where both are known and the weights are not packed.
    pub(crate) family: Option<(&'static Arch, Naming)>,
    /// What the config says; empty if there is none, or if it does not speak of the weights at hand.
    pub(crate) sizes: Sizes<'a>,
    /// Every weight file that should be there was read, so that what is missing is missing.
    pub(crate) complete: bool,
    /// The tensors are the parts that a rank of model parallelism holds, and not joined ones.
    is_rank: bool,
    /// Before each of Hugging Face's names; see [`base_prefix`].
    pub(crate) prefix: &'static str,
    /// The weights are packed by a quantisation.
    pub(crate) is_packed: bool,
    /// By their own names, and by those of the family's table.
    tensors: HashMap<Cow<'a, str>, &'a Tensor>,
    /// Tensors of which a reader has already said something.
    told: HashSet<&'a str>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Case<'a> {
        let told = checkpoint.findings.iter().filter_map(|finding| finding.tensor.as_deref()).collect();
        let is_packed = is_packed(checkpoint);
        let family = if is_packed { None } else { family(checkpoint) };
        let prefix = family.map_or("", |(arch, naming)| base_prefix(checkpoint, arch, naming));
        let complete = is_complete(checkpoint);
        let is_part = checkpoint.layout == Layout::File || !complete;
        let is_rank = is_part && family.is_some_and(|(_, naming)| naming == Naming::Meta);
        let (arch, naming) = family.unwrap_or((&archs::llama::LLAMA, Naming::Hf));
        // The shapes of a rank are not those of the model.
        let known = family.is_some() && !is_rank;
        let sizes = Sizes::of(arch, naming, checkpoint.params().filter(|_| known));
        let table = checkpoint.tensors.iter().flat_map(|tensor| {
            let own = (Cow::Borrowed(tensor.name.as_str()), tensor);
            let table = family.map(|(arch, naming)| (arch.table_name(naming, &tensor.name), tensor));
            table.into_iter().chain([own])
        });
        let tensors: HashMap<Cow<'_, str>, &Tensor> = table.collect();
        Case { checkpoint, family, sizes, complete, is_rank, prefix, is_packed, tensors, told }
    }

    /// The tensor of that name.
    pub(crate) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name).copied()
    }

    /// Whether a reader has already said what is wrong with the tensor of that name.
    pub(crate) fn is_told(&self, name: &str) -> bool {
        self.told.contains(name)
    }

    /// A setting of the config, of the language model first.
    pub(crate) fn setting(&self, key: &str) -> Option<&'a Value> {
        archs::setting(self.checkpoint.params()?, key)
    }

    /// Whether the output head is the embedding, by the config or by what the family takes where it says nothing.
    pub(crate) fn is_tied(&self) -> bool {
        let said = self.setting("tie_word_embeddings").and_then(Value::as_bool);
        said.unwrap_or_else(|| self.family.is_some_and(|(arch, _)| arch.tied))
    }

    /// Whether a setting of the config is true.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.setting(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The name of the config file, for findings about it.
    pub(crate) fn config_name(&self) -> &'a str {
        self.checkpoint.config.as_ref().map_or("config.json", |config| config.name.as_str())
    }

    /// A finding about a tensor, with the file that holds it.
    pub(crate) fn about(&self, id: Id, tensor: &Tensor, message: impl Into<String>) -> Finding {
        let finding = Finding::new(id, message).tensor(tensor.name.clone());
        match tensor.recipe.file() {
            Some(file) => finding.in_file(self.checkpoint.pool.name(file)),
            None => finding,
        }
    }

    /// The row of the family's table that a name belongs to, the wrapper's prefix seen to.
    pub(crate) fn find(&self, name: &str) -> Option<Match> {
        let (arch, naming) = self.family?;
        if self.prefix.is_empty() {
            arch.find(naming, name)
        } else {
            arch.find(naming, &format!("{}{name}", self.prefix))
        }
    }

    /// The name that the family's table gives to a tensor of this checkpoint.
    pub(crate) fn named(&self, found: &Match) -> Option<String> {
        let name = found.named(self.family?.1)?;
        Some(name.strip_prefix(self.prefix).map_or_else(|| name.clone(), str::to_owned))
    }

    /// The shape that a row's tensor has in this checkpoint's scheme, in the family's sizes. GGUF files of before the
    /// experts of a layer stood in one tensor, and of when one row had two dimensions, are taken as they are.
    pub(crate) fn shape(&self, found: &Match, tensor: &Tensor) -> Vec<Size> {
        let own = found.row.shape_in(self.family.map_or(Naming::Hf, |(_, naming)| naming));
        let as_table = tensor.recipe.shape.len() == found.row.shape.len();
        let gguf = self.family.is_some_and(|(_, naming)| naming == Naming::Gguf);
        let apart = found.apart().is_some_and(|name| name == tensor.name);
        let one = tensor.recipe.shape.first() == Some(&1);
        if gguf && as_table && (apart || one) { found.row.shape.to_vec() } else { own }
    }

    /// The tensor of a row outside the layers.
    pub(crate) fn alone(&self, row: &'static Row) -> Option<&'a Tensor> {
        self.tensor(&self.named(&Match { row, layer: 0, expert: 0 })?)
    }

    /// The embedding: the table's, or else the one tensor that is called what embeddings of tokens are called.
    pub(crate) fn embedding(&self) -> Option<&'a Tensor> {
        if self.is_rank {
            return None;
        }
        if let Some((arch, _)) = self.family {
            return self.alone(arch.embedding()?);
        }
        let called = |name: &str| {
            let stem = name.strip_suffix(".weight")?;
            EMBEDDINGS.contains(&stem.rsplit('.').next()?).then_some(())
        };
        let mut found = self.checkpoint.tensors.iter().filter(|tensor| called(&tensor.name).is_some());
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

/// Names of transformers' models (`embed_tokens`, `wte`, `word_embeddings`, `embed_in`) and of Meta's.
const EMBEDDINGS: &[&str] = &["embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings"];

/// Whether the config says that weights are packed by a quantisation: names and shapes are then its own.
fn is_packed(checkpoint: &Checkpoint) -> bool {
    // `quantization_config` of transformers, `quantization_args` of Meta's, `quantization` of Mistral's and MLX's.
    let keys = ["quantization_config", "compression_config", "quantization_args", "quantization"];
    let set =
        |key: &&str| checkpoint.params().and_then(|config| config.get(*key)).is_some_and(|value| !value.is_null());
    keys.iter().any(set)
}

/// The family, also where a few names are missing or too many: a damaged model is still of its family.
fn family(checkpoint: &Checkpoint) -> Option<(&'static Arch, Naming)> {
    if let Some(family) = &checkpoint.family {
        return Some((family.arch, family.naming));
    }
    // A file alone may be any part of a model; a config that names another family is believed.
    if checkpoint.layout == Layout::File || model_type(checkpoint).is_some() {
        return None;
    }
    let schemes = [Naming::Meta, Naming::Hf, Naming::Tune];
    let candidates = ARCHS.iter().flat_map(|arch| schemes.map(|naming| (*arch, naming)));
    let fits = candidates.filter_map(|(arch, naming)| {
        let found: Vec<Match> =
            checkpoint.tensors.iter().filter_map(|tensor| arch.find(naming, &tensor.name)).collect();
        // Nine in ten: a mixture of experts with Llama's attention has fewer.
        let nearly = found.len().saturating_mul(10) >= checkpoint.tensors.len().saturating_mul(9);
        let has = |row: &Row| found.iter().any(|found| std::ptr::eq(found.row, row));
        let lacking = arch.rows.iter().filter(|row| row.need == Need::Always && !has(row)).count();
        (nearly && !found.is_empty()).then_some((lacking, arch, naming))
    });
    // Of two families whose names these can be, the one of which more is there.
    fits.min_by_key(|(lacking, ..)| *lacking).map(|(_, arch, naming)| (arch, naming))
}

/// `model_type` of a `config.json`.
pub(crate) fn model_type(checkpoint: &Checkpoint) -> Option<&str> {
    checkpoint.config.as_ref()?.value.get("model_type")?.as_str()
}

/// A model saved without its head (`LlamaModel`) leaves out the `model.` before every name, and transformers puts
/// it back (`base_model_prefix`).
fn base_prefix(checkpoint: &Checkpoint, arch: &Arch, naming: Naming) -> &'static str {
    const PREFIX: &str = "model.";
    let known = |prefix: &str| {
        checkpoint.tensors.iter().any(|tensor| arch.find(naming, &format!("{prefix}{}", tensor.name)).is_some())
    };
    if naming == Naming::Hf && !known("") && known(PREFIX) { PREFIX } else { "" }
}

/// Whether every weight file that should be there was read.
fn is_complete(checkpoint: &Checkpoint) -> bool {
    let read = |name: &str| checkpoint.shards.iter().any(|shard| shard.name == name);
    let spoils = |finding: &Finding| {
        let whole = [Id::ShardMissing, Id::ShardMismatch, Id::NameUnsafe, Id::NotACheckpoint, Id::IndexInvalid];
        let unread = finding.file.as_deref().is_some_and(|file| names::is_weights(file) && !read(file));
        finding.severity == Severity::Error && (whole.contains(&finding.id) || unread)
    };
    !checkpoint.findings.iter().any(spoils)
}
