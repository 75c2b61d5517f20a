//! Files of `torch.save`, one a rank, whose tensors are `DTensor`: each says which part of the whole it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::chunks::Whole;
use super::shards::Read;
use super::{Checkpoint, Replica};
use crate::facts::recipe::Tile;
use crate::facts::{Finding, Id, Recipe, Tensor, limits};
use crate::formats::Piece;

/// One rank's part of a tensor, or its copy of one that is no `DTensor`.
struct Part {
    rank: u64,
    file: String,
    piece: Option<Piece>,
    tensor: Tensor,
}

/// Whether these are all files of ranks.
pub(super) fn are_ranks(read: &[Read]) -> bool {
    read.len() > 1 && read.iter().all(|read| !read.pieces.is_empty())
}

/// Joins the files of all ranks.
pub(super) fn join(checkpoint: &mut Checkpoint, read: Vec<Read>) {
    let ranks: BTreeSet<u64> = read.iter().filter_map(|read| read.pieces.first().map(|piece| piece.rank)).collect();
    let of = read.iter().flat_map(|read| &read.pieces).map(|piece| piece.of).max().unwrap_or(0);
    let missing: Vec<u64> = (0..of).filter(|rank| !ranks.contains(rank)).take(limits::FINDINGS).collect();
    for rank in &missing {
        let message = format!("the file of rank {rank} is missing: the tensors were cut for {of} ranks");
        checkpoint.findings.push(Finding::new(Id::ShardMissing, message));
    }
    let mut order: Vec<String> = Vec::new();
    let mut parts: HashMap<String, Vec<Part>> = HashMap::new();
    for (place, mut read) in read.into_iter().enumerate() {
        let rank = read.pieces.first().map_or(0, |piece| piece.rank);
        let mut pieces: BTreeMap<String, Piece> =
            read.pieces.drain(..).map(|piece| (piece.name.clone(), piece)).collect();
        for tensor in read.tensors {
            let same = parts.entry(tensor.name.clone()).or_default();
            if same.is_empty() {
                order.push(tensor.name.clone());
            }
            let piece = pieces.remove(&tensor.name);
            same.push(Part { rank, file: read.shard.name.clone(), piece, tensor });
        }
        if place > 0 {
            // What is no tensor every rank says again.
            read.shard.objects = Vec::new();
        }
        checkpoint.shards.push(read.shard);
    }
    if !missing.is_empty() {
        return;
    }
    for name in order {
        let mut same = parts.remove(&name).unwrap_or_default();
        same.sort_by_key(|part| part.rank);
        match whole(&name, same, of, &mut checkpoint.replicas) {
            Ok(tensor) => checkpoint.tensors.push(tensor),
            Err(finding) => checkpoint.findings.push(finding.tensor(name)),
        }
    }
}

/// One tensor of its parts, in the order of the ranks.
fn whole(name: &str, parts: Vec<Part>, of: u64, replicas: &mut Vec<Replica>) -> Result<Tensor, Finding> {
    let wrong = |file: &str, message: &str| Finding::new(Id::ShardMismatch, message).in_file(file);
    let Some(first) = parts.first() else { return Err(wrong("", "no rank holds this tensor")) };
    let (along, shape) = match &first.piece {
        Some(piece) => (piece.along, piece.shape.clone()),
        None => (None, first.tensor.recipe.shape.clone()),
    };
    let dtype = first.tensor.recipe.dtype;
    let crc32 = first.tensor.crc32;
    let kept = first.tensor.recipe.clone();
    let mut ranks = BTreeSet::new();
    let mut tiles: Vec<Tile> = Vec::new();
    let mut reached = 0u64;
    for part in parts {
        let same = match &part.piece {
            Some(piece) => piece.along == along && piece.shape == shape && piece.of == of,
            None => along.is_none() && part.tensor.recipe.shape == shape,
        };
        if !same || part.tensor.recipe.dtype != dtype {
            let message = "the rank holds another part than the others' files leave for it: is it of another save?";
            return Err(wrong(&part.file, message));
        }
        if !ranks.insert(part.rank) {
            return Err(wrong(&part.file, "two files claim to be the same rank"));
        }
        let recipe = part.tensor.recipe;
        let Some(axis) = along else {
            copy(name, &kept, part.rank, recipe, replicas);
            continue;
        };
        let mut at = vec![0; recipe.shape.len()];
        let extent = recipe.shape.get(axis).copied().unwrap_or(0);
        let Some(start) = at.get_mut(axis) else { return Err(wrong(&part.file, "the part has not that dimension")) };
        *start = reached;
        reached = reached.saturating_add(extent);
        tiles.push(Tile { at, part: Arc::new(recipe) });
    }
    if along.is_none() {
        return Ok(Tensor { name: name.to_owned(), recipe: kept, crc32 });
    }
    Whole { name: name.to_owned(), dtype, shape }.join(tiles, None)
}

/// A further rank's copy, to be compared with the first.
fn copy(name: &str, kept: &Recipe, rank: u64, recipe: Recipe, replicas: &mut Vec<Replica>) {
    if rank > 0 {
        let copy = (usize::try_from(rank).unwrap_or(usize::MAX), recipe);
        replicas.push(Replica { tensor: name.to_owned(), kept: (0, kept.clone()), copy });
    }
}
