//! `--to meta`: one `consolidated.NN.pth` a rank, `params.json`, `tokenizer.model`, `checklist.chk`.

use anyhow::{Result, bail};
use ckpt::archs::llama::ModelFacts;
use ckpt::archs::{Arch, Change, Counts, Naming, Size, Split};
use ckpt::canonical;
use ckpt::cli::Refusal;
use ckpt::facts::recipe::RotaryOrder;
use ckpt::facts::{Finding, Id, Op, Recipe, Tensor};

use super::{Job, own, seeing, small};
use crate::carry;
use crate::draft::{Content, Draft, Form, Weights};
use crate::metadata;
use crate::options::refuse;

/// Model-parallel ranks that Meta ships a model of so many layers and such a width with (facts of the releases; the
/// 405B also exists in 16).
const SHIPPED: &[(u64, u64, u64)] = &[
    (16, 2048, 1),
    (28, 3072, 1),
    (32, 4096, 1),
    (40, 5120, 2),
    (60, 6656, 4),
    (48, 8192, 4),
    (80, 8192, 8),
    (126, 16384, 8),
];

/// Plans the conversion.
///
/// # Errors
/// What Meta's format cannot hold, by name; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    if job.checkpoint.family.as_ref().is_some_and(|family| seeing::is_known(family.arch)) {
        return own::draft(job, job.table()?.0);
    }
    small::holds(job)?;
    let (mut table, tied) = job.table()?;
    let Some(arch) = table.arch else {
        return refuse("Meta's format is for Llama models, and this is none that is known", super::AS_IT_IS);
    };
    let says_tied = job.checkpoint.params().and_then(|params| params.get("tie_word_embeddings")?.as_bool());
    if tied && says_tied == Some(false) && table.left_out.is_empty() {
        let message = "the config says that the output head is not the embedding, and there is no head";
        bail!(Finding::new(Id::TiedHeadMissing, message).tensor("lm_head.weight"));
    }
    let mut draft = Draft::default();
    let facts = small::facts(job, &table, tied, &mut draft)?;
    let shipped = SHIPPED.iter().find(|row| (row.0, row.1) == (facts.layers, facts.dim)).map_or(1, |row| row.2);
    let ranks = job.options.mp.unwrap_or(shipped);
    if ranks == 0 || ranks > 99 {
        return refuse(format!("{ranks} model-parallel ranks"), "--mp takes 1 to 99");
    }
    let split = Ranks { arch, facts: &facts, ranks };
    super::complete(&table, Counts::of_layers(facts.layers))?;
    let mut files: Vec<Vec<Tensor>> = (0..ranks).map(|_| Vec::new()).collect();
    let tensors = std::mem::take(&mut table.tensors);
    let tensors = crate::cast::cast(tensors, job.options.dtype, job.checkpoint);
    let embedding = tensors.first().filter(|_| tied).cloned();
    for tensor in tensors {
        split.tensor(&tensor, &mut files)?;
    }
    if let Some(embedding) = embedding {
        split.head(&embedding, &mut files)?;
    }
    for (rank, tensors) in files.into_iter().enumerate() {
        draft.weights.push(Weights { name: format!("consolidated.{rank:02}.pth"), form: Form::Torch, tensors });
    }
    described(job, &facts, ranks, &mut draft)?;
    carry::texts(job.checkpoint, "Meta's form", &mut draft);
    carry::derived(&table.left_out, &mut draft);
    draft.checklist = true;
    carry::objects(job.checkpoint, &mut draft);
    Ok(draft)
}

/// The small files of Meta's form.
///
/// # Errors
/// What `params.json` cannot say; a tokenizer that cannot be read.
fn described(job: &Job<'_>, facts: &ModelFacts, ranks: u64, draft: &mut Draft) -> Result<()> {
    // As many key and value heads as there are in the rank files: those that several ranks hold count for each.
    let kv_heads = facts.kv_heads.max(ranks.min(facts.heads));
    let number = |key: &str| job.checkpoint.params().and_then(|params| params.get(key)?.as_u64());
    let same_heads = number("n_kv_heads").or_else(|| number("n_heads")) == Some(kv_heads);
    if !(same_heads && job.options.assume.is_empty() && own_params(job, draft)) {
        let facts = ModelFacts { kv_heads, ..facts.clone() };
        let text = metadata::params(&facts).map_err(|cause| Refusal::new(cause, super::AS_IT_IS))?;
        draft.make("params.json", text);
        draft.lost.extend(metadata::losses(&facts));
    }
    small::tokenizer_of_meta(job, facts.generation.has_tiktoken(), draft)
}

/// Takes the `params.json` of a source in Meta's form as it is, where it has one.
pub(super) fn own_params(job: &Job<'_>, draft: &mut Draft) -> bool {
    let checkpoint = job.checkpoint;
    let from_meta = checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Meta);
    let path = checkpoint.root_file(&format!("{}params.json", checkpoint.weights.display()));
    let Some(path) = path.filter(|_| from_meta) else { return false };
    // Meta's own code reads its keys on top of the file and nowhere else.
    let whole = checkpoint.config.as_ref().map(|config| &config.value);
    match checkpoint.params().filter(|params| Some(*params) != whole) {
        Some(inner) => draft.make("params.json", format!("{inner}\n").into_bytes()),
        None => drop(draft.files.insert("params.json".to_owned(), Content::Copied(path))),
    }
    true
}

/// Divides a model among ranks.
struct Ranks<'a> {
    arch: &'static Arch,
    facts: &'a ModelFacts,
    ranks: u64,
}

impl Ranks<'_> {
    /// Puts a tensor's parts into the ranks' files, under Meta's name and in Meta's row order.
    fn tensor(&self, tensor: &Tensor, files: &mut [Vec<Tensor>]) -> Result<()> {
        let Some(found) = self.arch.find(Naming::Hf, &tensor.name) else {
            let message = "Meta's format has no place for this tensor";
            bail!(Finding::new(Id::TensorUnexpected, message).tensor(tensor.name.clone()));
        };
        let Some(name) = found.named(Naming::Meta) else {
            let message = "Meta's format has no place for this tensor";
            bail!(Finding::new(Id::TensorUnexpected, message).tensor(tensor.name.clone()));
        };
        let axis = match found.row.split {
            Split::Rows => Some(0),
            Split::Columns => Some(1),
            // Llama 3 and later divide the vocabulary, the earlier ones the width.
            Split::Embedding => Some(usize::from(!self.facts.generation.has_tiktoken())),
            Split::Replicated => None,
        };
        let keys = found.row.shape.first() == Some(&Size::KvHeads);
        for (rank, file) in (0..self.ranks).zip(files) {
            let part = match axis {
                None => tensor.recipe.clone(),
                Some(0) if keys => self.heads(tensor, found.row.change, rank)?,
                Some(axis) => self.part(tensor, found.row.change, axis, rank, self.ranks)?,
            };
            file.push(Tensor { name: name.clone(), recipe: part, crc32: None });
        }
        Ok(())
    }

    /// A rank's key or value heads: its share, or one head that several ranks hold where there are more of them.
    fn heads(&self, tensor: &Tensor, change: Change, rank: u64) -> Result<Recipe> {
        let kv_heads = self.facts.kv_heads.max(1);
        if self.ranks <= kv_heads {
            return self.part(tensor, change, 0, rank, self.ranks);
        }
        let repeated = self.ranks.checked_div(kv_heads).unwrap_or(1);
        if repeated.checked_mul(kv_heads) != Some(self.ranks) {
            let message = format!("{kv_heads} key and value heads cannot be divided among {} ranks", self.ranks);
            return refuse(message, "choose a number for --mp that the heads divide, or a divisor of it");
        }
        self.part(tensor, change, 0, rank.checked_div(repeated).unwrap_or(0), kv_heads)
    }

    /// Part number `number` of `count` equal ones along a dimension, in Meta's row order.
    fn part(&self, tensor: &Tensor, change: Change, axis: usize, number: u64, count: u64) -> Result<Recipe> {
        // The order of rows changes within heads, so a share of whole heads can be cut out first.
        let (inner, cancelled) = match (&tensor.recipe.op, change) {
            (Op::Rows { of, order: RotaryOrder::Halves, .. }, Change::RotaryQuery | Change::RotaryKey) => {
                (of.as_ref(), true)
            }
            _ => (&tensor.recipe, false),
        };
        let size = inner.shape.get(axis).copied().unwrap_or(0);
        let share = size.checked_div(count).unwrap_or(0);
        let heads = axis == 0 && change != Change::Same;
        let whole =
            share.checked_mul(count) == Some(size) && (!heads || share.is_multiple_of(self.facts.head_dim.max(1)));
        if !whole {
            let message = format!("{} of {:?} cannot be divided among {count} ranks", tensor.name, inner.shape);
            return refuse(message, "choose another number with --mp");
        }
        let part = inner.slice(axis, number.saturating_mul(share), share);
        let same = cancelled || change == Change::Same;
        Ok(if same { part } else { canonical::rotary(part, self.facts.head_dim, RotaryOrder::Interleaved) })
    }

    /// The output head of a tied model: Meta's loaders insist on it. It is divided by rows, and so shares the storage
    /// of an embedding that is.
    fn head(&self, embedding: &Tensor, files: &mut [Vec<Tensor>]) -> Result<()> {
        for (rank, file) in (0..self.ranks).zip(files) {
            let recipe = self.part(embedding, Change::Same, 0, rank, self.ranks)?;
            file.push(Tensor { name: "output.weight".to_owned(), recipe, crc32: None });
        }
        Ok(())
    }
}
