//! Logical parameters and bytes: what each tensor counts for, and the sums.

use std::collections::BTreeMap;

use ckpt::canonical;
use ckpt::document::{DtypeSum, Tied, YesNo};
use ckpt::facts::{Dtype, FileId, Op, Tensor};
use ckpt::layouts::{Checkpoint, training};

use super::packed::{Packed, Stands};
use super::tied;

/// Endings of names of integers that a module counts with, beside those that any family derives.
const COUNTERS: &[&str] = &["position_ids", "num_batches_tracked"];

/// What one tensor counts for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Logical parameters.
    pub(crate) parameters: u64,
    /// Bytes; none where another tensor's data hold these.
    pub(crate) bytes: u64,
}

/// What every tensor counts for, and the sums.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// In the order of the checkpoint's tensors.
    pub(crate) each: Vec<Count>,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) dtypes: BTreeMap<String, DtypeSum>,
    /// Names of tensors that share data, each group sorted.
    pub(super) shared: Vec<Vec<String>>,
}

impl Counts {
    /// Counts the tensors of a checkpoint.
    pub(super) fn of(checkpoint: &Checkpoint, tied: &Tied) -> Counts {
        let tensors = &checkpoint.tensors;
        let packed = Packed::of(checkpoint.config.as_ref().map(|config| &config.value), tensors);
        let sharing = Sharing::of(checkpoint);
        let head = if tied.head == YesNo::Yes { tied::pair(checkpoint).and_then(|pair| pair.head) } else { None };
        let head = head.map(|head| head.name.as_str());
        let state = training::Keys::of(checkpoint);
        let mut sums: BTreeMap<Dtype, DtypeSum> = BTreeMap::new();
        let mut counts = Counts { each: Vec::with_capacity(tensors.len()), ..Counts::default() };
        for (place, tensor) in tensors.iter().enumerate() {
            let again = sharing.held_by_another.get(place).copied().unwrap_or(false);
            let counts_for_nothing = again
                || Some(tensor.name.as_str()) == head
                || canonical::is_derived(&tensor.name)
                || COUNTERS.iter().any(|ending| tensor.name.ends_with(ending))
                || state.holds(&tensor.name);
            let parameters = match packed.stands(tensor) {
                Stands::For(count) if !counts_for_nothing => count,
                _ => 0,
            };
            let bytes = if again { 0 } else { tensor.recipe.len_bytes() };
            counts.each.push(Count { parameters, bytes });
            counts.parameters = counts.parameters.saturating_add(parameters);
            counts.bytes = counts.bytes.saturating_add(bytes);
            let sum = sums.entry(tensor.recipe.dtype).or_default();
            sum.tensors = sum.tensors.saturating_add(1);
            sum.parameters = sum.parameters.saturating_add(parameters);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
        counts.dtypes = sums.into_iter().map(|(dtype, sum)| (dtype.name().to_owned(), sum)).collect();
        counts.shared = sharing.groups;
        counts
    }
}

/// Which tensors share data.
#[derive(Debug, Default)]
struct Sharing {
    /// Of each tensor, whether all its data belong to one that counts before it; empty if none shares.
    held_by_another: Vec<bool>,
    groups: Vec<Vec<String>>,
}

/// The bytes that a view spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    file: FileId,
    begin: u64,
    /// First after the last, negated in the order by being stored as what is left of 64 bits: of spans with one begin
    /// the longest comes first.
    rest: u64,
    place: usize,
}

impl Span {
    fn end(&self) -> u64 {
        u64::MAX.saturating_sub(self.rest)
    }
}

impl Sharing {
    fn of(checkpoint: &Checkpoint) -> Sharing {
        let mut sharing = Sharing::default();
        sharing.views(checkpoint);
        // `save_model` of the safetensors library leaves `{"dropped": "kept"}` in the metadata, beside the `format`
        // that nearly every file has.
        let metadata = checkpoint.shards.iter().flat_map(|shard| &shard.metadata);
        for (alias, kept) in metadata.filter(|(key, _)| *key != "format") {
            if checkpoint.tensor(kept).is_some() && checkpoint.tensor(alias).is_none() {
                sharing.alias(alias, kept);
            }
        }
        sharing.groups.iter_mut().for_each(|group| group.sort());
        sharing.groups.sort();
        sharing
    }

    /// Views of one storage, which only torch's files have; in safetensors shared bytes are damage.
    fn views(&mut self, checkpoint: &Checkpoint) {
        let torch = |file: FileId| {
            let shard = checkpoint.shards.iter().find(|shard| shard.file == file);
            shard.is_some_and(|shard| shard.format.has_views())
        };
        if !checkpoint.shards.iter().any(|shard| torch(shard.file)) {
            return;
        }
        let spans = checkpoint.tensors.iter().enumerate().filter_map(|(place, tensor)| span(place, tensor));
        let mut spans: Vec<Span> = spans.filter(|span| torch(span.file)).collect();
        spans.sort_unstable();
        let mut held = vec![false; checkpoint.tensors.len()];
        let mut group: Vec<usize> = Vec::new();
        let (mut file, mut reached) = (None, 0);
        let name =
            |place: &usize| checkpoint.tensors.get(*place).map_or_else(String::new, |tensor| tensor.name.clone());
        let mut close = |group: &mut Vec<usize>| {
            if group.len() > 1 {
                self.groups.push(group.iter().map(name).collect());
            }
            group.clear();
        };
        for span in &spans {
            if file != Some(span.file) || span.begin >= reached {
                close(&mut group);
                (file, reached) = (Some(span.file), 0);
            } else if span.end() <= reached
                && let Some(held) = held.get_mut(span.place)
            {
                *held = true;
            }
            group.push(span.place);
            reached = reached.max(span.end());
        }
        close(&mut group);
        self.held_by_another = held;
    }

    /// A name that stands for another tensor and is not stored.
    fn alias(&mut self, alias: &str, kept: &str) {
        match self.groups.iter_mut().find(|group| group.iter().any(|name| name == kept)) {
            Some(group) => group.push(alias.to_owned()),
            None => self.groups.push(vec![alias.to_owned(), kept.to_owned()]),
        }
    }
}

/// The bytes of the file from a tensor's first to its last.
fn span(place: usize, tensor: &Tensor) -> Option<Span> {
    let recipe = &tensor.recipe;
    let (file, begin, end) = match &recipe.op {
        Op::Bytes { file, offset } => (*file, *offset, offset.checked_add(recipe.len_bytes())?),
        Op::Strided { file, storage, start, strides } => {
            let item = recipe.dtype.item_bytes()?;
            let begin = storage.checked_add(start.checked_mul(item)?)?;
            let last =
                recipe.shape.iter().zip(strides).try_fold(0u64, |last, (size, stride)| {
                    last.checked_add(size.checked_sub(1)?.checked_mul(*stride)?)
                })?;
            (*file, begin, begin.checked_add(last.checked_add(1)?.checked_mul(item)?)?)
        }
        _ => return None,
    };
    (end > begin).then_some(Span { file, begin, rest: u64::MAX.saturating_sub(end), place })
}
