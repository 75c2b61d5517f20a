//! The items of a `.distcp` file: each is a whole file of `torch.save`, or the file is one of safetensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::metadata::Item;
use crate::bytes::{Part, Pool, ReadAt};
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Severity, Tensor};
use crate::formats::{self, Container, Format, Object, detect};

/// What an item should be.
#[derive(Debug)]
pub(super) enum Wanted<'m> {
    /// That chunk of the tensor of that number.
    Chunk { tensor: usize, name: &'m str, dtype: Dtype, at: &'m [u64], shape: &'m [u64] },
    /// A pickled object.
    Object { name: &'m str },
}

/// Items of one file, to be read in one go.
#[derive(Debug)]
pub(super) struct Batch<'m> {
    pub(super) file: FileId,
    pub(super) items: Vec<(Wanted<'m>, &'m Item)>,
}

/// A chunk that was found: the number of its tensor, its first indices, its value, its checksum.
#[derive(Debug)]
pub(super) struct Chunk<'m> {
    pub(super) tensor: usize,
    pub(super) at: &'m [u64],
    pub(super) value: Recipe,
    pub(super) crc32: Option<u32>,
}

/// What a batch held.
#[derive(Debug, Default)]
pub(super) struct Found<'m> {
    pub(super) chunks: Vec<Chunk<'m>>,
    /// Numbers of the tensors that miss a chunk; a finding says why.
    pub(super) broken: Vec<usize>,
    /// Tensors within pickled objects.
    pub(super) tensors: Vec<Tensor>,
    pub(super) objects: Vec<Object>,
    pub(super) findings: Vec<Finding>,
}

/// Reads the headers of a batch of items.
pub(super) fn read<'m>(pool: &Pool, batch: &Batch<'m>) -> Found<'m> {
    let mut found = Found::default();
    let opened = pool.get(batch.file).map_err(|error| detect::unreadable(&error)).and_then(|source| {
        let whole = (detect::detect(&*source)? == Format::Safetensors)
            .then(|| formats::safetensors::read(&*source, batch.file))
            .transpose()?;
        Ok((source, whole))
    });
    let (source, whole) = match opened {
        Ok(opened) => opened,
        Err(finding) => {
            found.findings.push(finding);
            found.broken.extend(batch.items.iter().filter_map(|(wanted, _)| wanted.tensor()));
            return found;
        }
    };
    let mut by_name = BTreeMap::new();
    if let Some(mut whole) = whole {
        found.findings.append(&mut whole.findings);
        by_name.extend(whole.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)));
    }
    for (wanted, item) in &batch.items {
        let name = wanted.name();
        let read = match by_name.get(name) {
            Some(tensor) => Ok(Container { tensors: vec![tensor.clone()], ..Container::default() }),
            None if by_name.is_empty() => self::item(&*source, batch.file, item),
            None => Err(Finding::new(Id::IndexTensorMissing, "the file does not hold the tensor")),
        };
        let taken = read.and_then(|container| take(wanted, item, container, &mut found));
        if let Err(finding) = taken {
            found.findings.push(finding.tensor(name));
            found.broken.extend(wanted.tensor());
        }
    }
    found
}

impl Wanted<'_> {
    fn name(&self) -> &str {
        match self {
            Wanted::Chunk { name, .. } | Wanted::Object { name } => name,
        }
    }

    /// The number of the tensor it is a chunk of.
    pub(super) fn tensor(&self) -> Option<usize> {
        match self {
            Wanted::Chunk { tensor, .. } => Some(*tensor),
            Wanted::Object { .. } => None,
        }
    }
}

/// Reads one item as the file that it is; places in it are those of the whole file.
fn item(source: &dyn ReadAt, file: FileId, item: &Item) -> Result<Container, Finding> {
    let (offset, length) = (item.offset, item.length);
    if item.packed {
        let message = "the item was packed by an extension of the writer, which is not read; load it with torch";
        return Err(Finding::new(Id::Unsupported, message).at(offset));
    }
    if offset.checked_add(length).is_none_or(|end| end > source.size()) {
        let message = "the item lies beyond the end of its file, which was cut off or is one of another save";
        let left = source.size().saturating_sub(offset);
        let finding = Finding::new(Id::ZipTruncated, message).at(offset);
        return Err(finding.needed(format!("{length} bytes"), format!("{left} bytes")));
    }
    let part = Part::new(source, offset, length).map_err(|error| detect::unreadable(&error).at(offset))?;
    let moved =
        |finding: Finding| Finding { offset: Some(finding.offset.unwrap_or(0).saturating_add(offset)), ..finding };
    let (_, mut container) = formats::open(&part, file).map_err(moved)?;
    container.findings = container.findings.into_iter().map(moved).collect();
    for tensor in &mut container.tensors {
        shift(&mut tensor.recipe, offset);
    }
    Ok(container)
}

/// Takes from an item what it was to hold.
fn take<'m>(wanted: &Wanted<'m>, item: &Item, mut container: Container, found: &mut Found<'m>) -> Result<(), Finding> {
    // Unknown classes are no surprise in a pickled object, and a warning of thousands of items is one of none.
    let grave = |finding: &Finding| finding.severity == Severity::Error;
    found.findings.extend(container.findings.drain(..).filter(grave).map(|finding| finding.tensor(wanted.name())));
    match *wanted {
        Wanted::Object { name } => {
            let below = |path: &str| if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") };
            for tensor in container.tensors {
                found.tensors.push(Tensor { name: below(&tensor.name), ..tensor });
            }
            for object in container.objects {
                found.objects.push(Object { path: below(&object.path), ..object });
            }
        }
        Wanted::Chunk { tensor, dtype, at, shape, .. } => {
            let wrong = |message: &str, is: String| {
                let finding = Finding::new(Id::ShardMismatch, message).at(item.offset);
                Err(finding.needed(format!("{dtype} {shape:?}"), is))
            };
            let count = container.tensors.len();
            let (Some(one), 1) = (container.tensors.pop(), count) else {
                return wrong("the item should be one tensor", format!("{count} tensors"));
            };
            if one.recipe.dtype != dtype || one.recipe.shape != shape {
                let is = format!("{} {:?}", one.recipe.dtype, one.recipe.shape);
                return wrong("the item is not the chunk that the metadata promise: is it of another save?", is);
            }
            found.chunks.push(Chunk { tensor, at, value: one.recipe, crc32: one.crc32 });
        }
    }
    Ok(())
}

/// Moves every place in a file that a value is read from.
fn shift(recipe: &mut Recipe, by: u64) {
    match &mut recipe.op {
        Op::Bytes { offset: place, .. } | Op::Strided { storage: place, .. } => *place = place.saturating_add(by),
        Op::Literal(_) | Op::Absent(_) => {}
        Op::Tiles(tiles) => tiles.iter_mut().for_each(|tile| shift(Arc::make_mut(&mut tile.part), by)),
        Op::ByteSwap(of)
        | Op::Conj(of)
        | Op::Neg(of)
        | Op::Slice { of, .. }
        | Op::Reshape(of)
        | Op::Transpose(of, ..)
        | Op::Rows { of, .. }
        | Op::Dequant(of)
        | Op::Quant(of)
        | Op::Cast(of) => shift(Arc::make_mut(of), by),
        Op::Math(math) => math.operands_mut().into_iter().for_each(|of| shift(Arc::make_mut(of), by)),
    }
}
