//! The canonical table of a checkpoint: its model's weights under Hugging Face's names, in whatever way they lie.
//!
//! One definition for three uses: what `ckpt-convert --to hf` writes, what `ckpt-hash --canonical` digests and what
//! `ckpt-verify --against` compares.

pub mod own;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::archs::{ARCHS, Arch, Change, Match, Naming, Need, Row, Size, Sizes};
use crate::bytes::work;
use crate::facts::math::{Arithmetic, Math};
use crate::facts::recipe::{RotaryOrder, Tile};
use crate::facts::{Dtype, Finding, Id, Op, Progress, Recipe, Tensor, limits};
use crate::layouts::training::{Keys, is_progress};
use crate::layouts::{Checkpoint, Family, Layout};
use crate::plan::compare;
use crate::plan::read::Reader;

/// Prefixes that wrappers put before every name: DDP, `torch.compile`, Lightning, trainers' own dictionaries.
const WRAPPERS: &[&str] = &[
    "module.",
    "_orig_mod.",
    "state_dict.",
    "state_dict.model.",
    "state_dict.net.",
    "model.",
    "net.",
    "app.model.",
    "model_state_dict.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.module.",
    "model._orig_mod.",
];

/// Endings of names that hold what can be derived, in any family.
const DERIVED: &[&str] = &["rope.freqs", "rotary_emb.inv_freq", "_extra_state"];

/// A checkpoint's tensors as its family names them.
#[derive(Debug)]
pub struct Table {
    /// The family, or `None` if the names are those stored.
    pub arch: Option<&'static Arch>,
    /// The tensors, in the order of transformers' state dict, those the family does not know at the end.
    pub tensors: Vec<Tensor>,
    /// Names of derived buffers and of the head that is the embedding, sorted.
    pub left_out: Vec<String>,
    /// How often each key and value head is stored; they count once.
    pub repeated: u64,
    /// What one should know.
    pub notes: Vec<String>,
}

/// Makes the canonical table.
///
/// # Errors
/// The checkpoint's damage; a finding if copies that should be equal are not; those of reading.
pub fn table(checkpoint: &Checkpoint, reader: &Reader<'_>, jobs: usize, progress: &Progress) -> Result<Table> {
    if let Some(damage) = checkpoint.damage() {
        bail!(damage.clone());
    }
    replicas(checkpoint, reader, jobs, progress)?;
    let Some((family, tensors)) = unwrapped(checkpoint) else {
        return Ok(stored(checkpoint));
    };
    let head_dim = checkpoint.head_dim();
    if family.naming != Naming::Hf && head_dim.is_none() {
        let mut table = stored(checkpoint);
        table.notes.push("nothing tells the size of a head, so the names are those stored".to_owned());
        return Ok(table);
    }
    let repeated = repeated_heads(family.arch, family.naming, &tensors, head_dim, reader, progress)?;
    if let Some(target) = family.arch.in_hf() {
        let sizes = Sizes::of(family.arch, family.naming, checkpoint.params());
        let ranked = checkpoint.layout == Layout::Meta;
        let head_dim = head_dim.unwrap_or(1);
        let own::Made { arch, known, left_out, unknown } =
            own::Own { arch: family.arch, naming: family.naming, sizes, head_dim, repeated, ranked }
                .make(target, tensors)?;
        return Ok(sorted(arch, known, unknown, left_out, repeated));
    }
    let mut known: Vec<(Match, Tensor)> = Vec::new();
    let (mut unknown, mut left_out) = (Vec::new(), Vec::new());
    for tensor in tensors {
        match family.arch.find(family.naming, &tensor.name) {
            Some(found) if found.row.need == Need::Derived => left_out.push(tensor.name),
            Some(found) => {
                for (found, tensor) in unstacked(family.naming, found, tensor, known.len())? {
                    let tensor = renamed(family.naming, found, tensor, head_dim.unwrap_or(1), repeated);
                    known.push((found, tensor));
                }
            }
            None if is_derived(&tensor.name) => left_out.push(tensor.name),
            None => unknown.push(tensor),
        }
    }
    Ok(sorted(family.arch, known, unknown, left_out, repeated))
}

/// A table in the order of transformers' state dict.
fn sorted(
    arch: &'static Arch,
    mut known: Vec<(Match, Tensor)>,
    unknown: Vec<Tensor>,
    mut left_out: Vec<String>,
    repeated: u64,
) -> Table {
    known.sort_by_cached_key(|(found, _)| arch.place(found));
    left_out.sort();
    let tensors = known.into_iter().map(|(_, tensor)| tensor).chain(unknown).collect();
    Table { arch: Some(arch), tensors, left_out, repeated, notes: Vec::new() }
}

impl Table {
    /// The embedding and the output head, if both are there and could be one.
    pub fn head(&self) -> Option<(&Tensor, &Tensor)> {
        let arch = self.arch?;
        let find = |row: &Row| self.tensors.iter().find(|tensor| tensor.name == row.hf);
        let (embedding, head) = (find(arch.embedding()?)?, find(arch.head()?)?);
        let alike = embedding.recipe.dtype == head.recipe.dtype && embedding.recipe.shape == head.recipe.shape;
        alike.then_some((embedding, head))
    }

    /// Compares head and embedding, all bytes of them, and leaves the head out if they are equal. A head that is not
    /// there at all is the embedding too.
    ///
    /// # Errors
    /// Those of reading.
    pub fn settle_head(&mut self, reader: &Reader<'_>, progress: &Progress) -> Result<bool> {
        let Some((embedding, head)) = self.head() else {
            return Ok(self.arch.is_some_and(|arch| self.lacks_head(arch)));
        };
        let name = head.name.clone();
        let tied = if embedding.recipe == head.recipe {
            true
        } else if let (Some(a), Some(b)) = (embedding.crc32, head.crc32)
            && a != b
        {
            // Different checksums of the same values cannot be.
            false
        } else {
            progress.expect(embedding.recipe.len_bytes().saturating_mul(2));
            compare::first_difference((reader, &embedding.recipe), (reader, &head.recipe), progress)?.is_none()
        };
        if tied {
            self.leave_out(&name);
        }
        Ok(tied)
    }

    /// Whether a model of that family is here without its output head.
    fn lacks_head(&self, arch: &Arch) -> bool {
        let has = |row: Option<&Row>| row.is_some_and(|row| self.tensors.iter().any(|tensor| tensor.name == row.hf));
        has(arch.embedding()) && !has(arch.head())
    }

    /// Takes a tensor out of the table and lists it as left out.
    pub fn leave_out(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.name != name);
        self.left_out.push(name.to_owned());
        self.left_out.sort();
    }
}

/// The table under stored names: every tensor, and the aliases that safetensors' metadata names.
pub fn stored(checkpoint: &Checkpoint) -> Table {
    let mut tensors = checkpoint.tensors.clone();
    if checkpoint.shards.iter().any(|shard| !shard.metadata.is_empty()) {
        let mut held: HashMap<&str, &Tensor> =
            checkpoint.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        // `save_model` of the safetensors library leaves `{"dropped": "kept"}` there.
        for (alias, kept) in checkpoint.shards.iter().flat_map(|shard| &shard.metadata) {
            if !held.contains_key(alias.as_str())
                && let Some(&tensor) = held.get(kept.as_str())
            {
                tensors.push(Tensor { name: alias.clone(), ..tensor.clone() });
                held.insert(alias, tensor);
            }
        }
    }
    Table { arch: None, tensors, left_out: Vec::new(), repeated: 1, notes: Vec::new() }
}

/// Keys under which training loops save the model beside the rest of their state.
const DICTIONARIES: &[&str] = &["state_dict.", "model_state_dict.", "model.", "module."];

/// The model's part of a checkpoint under stored names, and the wrapper's prefix that was taken off them.
///
/// The rule: what lies under a key of training state (`optimizer`, `lr_schedulers` …) is no part of the model, unless the
/// file holds nothing else. Where such state or a step lies beside the weights, the file is a training loop's
/// dictionary, and the key that all weights have in common goes: the wrapper after which the names are a known
/// family's, or else the first key alone.
pub fn weights(checkpoint: &Checkpoint) -> (Table, Option<&'static str>) {
    let mut table = stored(checkpoint);
    let keys = Keys::of(checkpoint);
    let objects = checkpoint.shards.iter().flat_map(|shard| &shard.objects);
    let in_objects = objects.into_iter().any(|object| keys.holds(&object.path) || is_progress(&object.path));
    let (state, model): (Vec<Tensor>, Vec<Tensor>) =
        std::mem::take(&mut table.tensors).into_iter().partition(|tensor| keys.holds(&tensor.name));
    if model.is_empty() {
        table.tensors = state;
        return (table, None);
    }
    let is_dictionary = in_objects || !state.is_empty();
    table.tensors = model;
    let wrapper = if is_dictionary { common_wrapper(&table.tensors) } else { None };
    for tensor in &mut table.tensors {
        if let Some(own) = wrapper.and_then(|wrapper| tensor.name.strip_prefix(wrapper)) {
            tensor.name = own.to_owned();
        }
    }
    (table, wrapper)
}

/// The wrapper that all names have in common, if there is one.
fn common_wrapper(tensors: &[Tensor]) -> Option<&'static str> {
    let all = |wrapper: &str| tensors.iter().all(|tensor| tensor.name.starts_with(wrapper));
    let known = |wrapper: &str| {
        let names = || tensors.iter().filter_map(|tensor| tensor.name.strip_prefix(wrapper));
        let schemes = [Naming::Hf, Naming::Meta, Naming::Tune];
        ARCHS.iter().any(|arch| schemes.iter().any(|naming| arch.recognises(*naming, names())))
    };
    let candidates = || WRAPPERS.iter().copied().filter(|wrapper| all(wrapper));
    candidates().find(|wrapper| known(wrapper)).or_else(|| DICTIONARIES.iter().copied().find(|key| all(key)))
}

/// Copies of one tensor in several ranks must be equal to the bit.
///
/// # Errors
/// A finding that names the tensor and the ranks; those of reading.
pub fn replicas(checkpoint: &Checkpoint, reader: &Reader<'_>, jobs: usize, progress: &Progress) -> Result<()> {
    work::run(jobs, checkpoint.replicas.len(), |number| {
        let Some(replica) = checkpoint.replicas.get(number) else { return Ok(()) };
        let (kept, copy) = (&replica.kept, &replica.copy);
        progress.expect(kept.1.len_bytes().saturating_mul(2));
        let Some(element) = compare::first_difference((reader, &kept.1), (reader, &copy.1), progress)? else {
            return Ok(());
        };
        let message = format!("the copies in ranks {} and {} differ, first at element {element}", kept.0, copy.0);
        Err(Finding::new(Id::ReplicaDiffers, message).tensor(replica.tensor.clone()).into())
    })
}

/// Whether a name is that of a buffer that can be derived, in any family.
pub fn is_derived(name: &str) -> bool {
    DERIVED.iter().any(|ending| name.ends_with(ending))
}

/// The family and its tensors, a wrapper's prefix taken off if the rest is then a family's.
fn unwrapped(checkpoint: &Checkpoint) -> Option<(Family, Vec<Tensor>)> {
    let Some((family, wrapper)) = wrapper(checkpoint) else {
        return checkpoint.family.clone().map(|family| (family, checkpoint.model().cloned().collect()));
    };
    let strip = |tensor: &Tensor| {
        let name = tensor.name.strip_prefix(wrapper)?.to_owned();
        Some(Tensor { name, ..tensor.clone() })
    };
    let inside = checkpoint.tensors.iter().filter_map(strip).collect();
    Some((family, inside))
}

/// The wrapper's prefix after which the names are a family's; none if they are so as they stand, or not at all.
fn wrapper(checkpoint: &Checkpoint) -> Option<(Family, &'static str)> {
    let names = || checkpoint.tensors.iter().map(|tensor| tensor.name.as_str());
    if let Some(family) = &checkpoint.family
        && names().any(|name| family.arch.find(family.naming, name).is_some())
    {
        return None;
    }
    let schemes = [Naming::Hf, Naming::Meta, Naming::Tune];
    let candidates = ARCHS.iter().flat_map(|arch| schemes.map(|naming| (*arch, naming)));
    candidates.into_iter().find_map(|(arch, naming)| {
        let fits = |wrapper: &&&str| arch.recognises(naming, names().filter_map(|name| name.strip_prefix(**wrapper)));
        let wrapper = WRAPPERS.iter().find(fits)?;
        Some((Family { arch, naming, from: format!("names after {wrapper}") }, *wrapper))
    })
}

/// Takes a wrapper's prefix off the tensors of a checkpoint itself, if the rest is then a family's. Returns the names
/// of what does not carry the prefix and so is no weight of the model: it is taken out.
pub fn unwrap(checkpoint: &mut Checkpoint) -> Vec<String> {
    let Some((_, wrapper)) = wrapper(checkpoint) else { return Vec::new() };
    let names = checkpoint.tensors.iter().map(|tensor| &tensor.name);
    let outside = names.filter(|name| !name.starts_with(wrapper)).cloned().collect();
    if let Some((family, inside)) = unwrapped(checkpoint) {
        checkpoint.family = Some(family);
        checkpoint.tensors = inside;
    }
    outside
}

/// How often each key and value head is stored in a row, by comparing bytes: only where each rank holds one head,
/// which is how a model with fewer heads than ranks is split.
fn repeated_heads(
    arch: &Arch,
    naming: Naming,
    tensors: &[Tensor],
    head_dim: Option<u64>,
    reader: &Reader<'_>,
    progress: &Progress,
) -> Result<u64> {
    let mut parts: Vec<&[Tile]> = Vec::new();
    for tensor in tensors {
        let keys = arch.find(naming, &tensor.name).is_some_and(|found| found.row.shape.first() == Some(&Size::KvHeads));
        let Op::Tiles(tiles) = &tensor.recipe.op else { continue };
        if keys {
            if tiles.iter().any(|tile| tile.part.shape.first().copied() != head_dim) {
                return Ok(1);
            }
            parts.push(tiles);
        }
    }
    let Some(ranks) = parts.first().map(|tiles| tiles.len()).filter(|&ranks| ranks > 0) else { return Ok(1) };
    let mut repeated = 1usize;
    while ranks.is_multiple_of(repeated.saturating_mul(2)) {
        for tiles in &parts {
            let kept: Vec<&Tile> = tiles.iter().step_by(repeated).collect();
            for pair in kept.chunks_exact(2) {
                let [a, b] = pair else { continue };
                if compare::first_difference((reader, &a.part), (reader, &b.part), progress)?.is_some() {
                    return Ok(u64::try_from(repeated).unwrap_or(1));
                }
            }
        }
        repeated = repeated.saturating_mul(2);
    }
    Ok(u64::try_from(repeated).unwrap_or(1))
}

/// The tensors of a layer's experts, where all of them stand in one; any other as it is.
///
/// # Errors
/// A finding for more experts than a model can have, counting those that there are `already`.
fn unstacked(naming: Naming, found: Match, tensor: Tensor, already: usize) -> Result<Vec<(Match, Tensor)>, Finding> {
    let stack = found.row.stacks(naming) && tensor.recipe.shape.len() > found.row.shape.len();
    let (Some(&experts), true) = (tensor.recipe.shape.first(), stack) else { return Ok(vec![(found, tensor)]) };
    if experts > limits::EXPERTS || already > limits::TENSORS {
        let finding = Finding::new(Id::Unsupported, "more experts than models have").tensor(tensor.name);
        return Err(finding.needed(format!("at most {}", limits::EXPERTS), experts));
    }
    let one = |expert: u64| {
        let recipe = tensor.recipe.part(expert);
        (Match { expert, ..found }, Tensor { name: tensor.name.clone(), recipe, crc32: None })
    };
    Ok((0..experts).map(one).collect())
}

/// A tensor under its Hugging Face name, with Hugging Face's values.
fn renamed(naming: Naming, found: Match, tensor: Tensor, head_dim: u64, repeated: u64) -> Tensor {
    let name = found.named(Naming::Hf).unwrap_or(tensor.name);
    if naming == Naming::Hf {
        return Tensor { name, ..tensor };
    }
    let mut recipe = tensor.recipe.dequantized();
    let mut crc32 = tensor.crc32;
    if let ([Size::Exactly(1), _], &[columns]) = (found.row.shape, recipe.shape.as_slice()) {
        // One row is a row.
        let (dtype, shape) = (recipe.dtype, vec![1, columns]);
        recipe = Recipe { dtype, shape, op: Op::Reshape(Arc::new(recipe)) };
    }
    if found.row.shape.first() == Some(&Size::KvHeads) && repeated > 1 {
        recipe = without_repeats(recipe, repeated);
        crc32 = None;
    }
    if matches!(found.row.change, Change::RotaryQuery | Change::RotaryKey) {
        recipe = rotary(recipe, head_dim, RotaryOrder::Halves);
        crc32 = None;
    }
    if found.row.change == Change::LessOne {
        recipe = plus(recipe, -1.0);
        crc32 = None;
    }
    Tensor { name, recipe, crc32 }
}

/// The rows of every head of `recipe` in the other rotary order; `order` is the one wanted.
pub fn rotary(recipe: Recipe, head_dim: u64, order: RotaryOrder) -> Recipe {
    let (dtype, shape) = (recipe.dtype, recipe.shape.clone());
    Recipe { dtype, shape, op: Op::Rows { of: Arc::new(recipe), head_dim, order } }
}

/// The rows of a canonical value in the order that the family's own files and llama.cpp's keep.
pub fn interleaved(recipe: Recipe, change: Change, head_dim: u64) -> Recipe {
    match (recipe, change) {
        // What was put in order is taken as it was.
        (
            Recipe { op: Op::Rows { of, order: RotaryOrder::Halves, .. }, .. },
            Change::RotaryQuery | Change::RotaryKey,
        ) => Arc::unwrap_or_clone(of),
        (recipe, Change::RotaryQuery | Change::RotaryKey) => rotary(recipe, head_dim, RotaryOrder::Interleaved),
        (recipe, _) => recipe,
    }
}

/// Values in F32, each plus a number.
pub fn plus(recipe: Recipe, number: f32) -> Recipe {
    let shape = recipe.shape.clone();
    let made = |op: Op| Arc::new(Recipe { dtype: Dtype::F32, shape: shape.clone(), op });
    let left = if recipe.dtype == Dtype::F32 { Arc::new(recipe) } else { made(Op::Cast(Arc::new(recipe))) };
    let one = Recipe {
        dtype: Dtype::F32,
        shape: vec![1; shape.len()],
        op: Op::Literal(number.to_le_bytes().to_vec().into()),
    };
    let right = made(Op::Math(Math::Spread { of: Arc::new(one), by: shape.clone() }));
    let sum = Math::With { how: Arithmetic::Plus, left, right };
    Recipe { dtype: Dtype::F32, shape, op: Op::Math(sum) }
}

/// Every `repeated`-th part of a value that ranks hold in parts.
fn without_repeats(recipe: Recipe, repeated: u64) -> Recipe {
    let Op::Tiles(tiles) = recipe.op else { return recipe };
    let step = crate::bytes::to_usize(repeated).max(1);
    let mut reached = 0u64;
    let mut kept = Vec::new();
    for mut tile in tiles.into_iter().step_by(step) {
        if let Some(at) = tile.at.first_mut() {
            *at = reached;
        }
        reached = reached.saturating_add(tile.part.shape.first().copied().unwrap_or(0));
        kept.push(tile);
    }
    let mut shape = recipe.shape;
    if let Some(rows) = shape.first_mut() {
        *rows = reached;
    }
    Recipe { dtype: recipe.dtype, shape, op: Op::Tiles(kept) }
}
