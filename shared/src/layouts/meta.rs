//! Meta: one `consolidated.NN.pth` a model-parallel rank, `params.json` beside them, here or under `original/`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::chunks::same_geometry;
use super::shards::{self, Read};
use super::{Checkpoint, Family, Replica, directory, names};
use crate::archs::{ARCHS, Arch, Naming, Size, Split, llama};
use crate::bytes::to_u64;
use crate::facts::recipe::Tile;
use crate::facts::{FileId, Finding, Id, Op, Recipe, Tensor};

/// Reads a folder of ranks.
pub(super) fn read(mut checkpoint: Checkpoint, jobs: usize) -> Checkpoint {
    let on_top = checkpoint.files.iter().any(|entry| names::meta_rank(&entry.name).is_some());
    let folder = if on_top { "" } else { "original/" };
    checkpoint.weights = PathBuf::from(folder);
    checkpoint.config = checkpoint.json(&format!("{folder}params.json"));
    let ranks: BTreeMap<u64, Vec<FileId>> = ranks(&checkpoint, folder);
    let files = files(&mut checkpoint, folder, &ranks);
    let read = shards::read(&mut checkpoint, &files, jobs);
    let damaged = read.len() != files.len();
    let (shards, tables): (Vec<_>, Vec<_>) =
        read.into_iter().map(|Read { shard, tensors, .. }| (shard, tensors)).unzip();
    checkpoint.shards = shards;
    if let ([_], false) = (tables.as_slice(), damaged) {
        checkpoint.tensors = tables.into_iter().flatten().collect();
    } else if !damaged {
        Join::new(&checkpoint, &tables).run(&mut checkpoint, tables);
    }
    checkpoint.family = family(&checkpoint);
    missing_ranks(&mut checkpoint, files.len());
    checkpoint.also.extend(super::adapter::also(&checkpoint));
    checkpoint
}

fn ranks(checkpoint: &Checkpoint, folder: &str) -> BTreeMap<u64, Vec<FileId>> {
    let mut ranks: BTreeMap<u64, Vec<FileId>> = BTreeMap::new();
    for (place, entry) in checkpoint.files.iter().enumerate() {
        if let Some(rank) = entry.name.strip_prefix(folder).and_then(names::meta_rank) {
            ranks.entry(rank).or_default().push(FileId(place));
        }
    }
    ranks
}

/// One file a rank, from 0 on without a gap.
fn files(checkpoint: &mut Checkpoint, folder: &str, ranks: &BTreeMap<u64, Vec<FileId>>) -> Vec<FileId> {
    let mut files = Vec::new();
    let mut expected = 0u64;
    for (&rank, same) in ranks {
        for gap in expected..rank {
            let message = "a model-parallel rank is missing between those that are there";
            let name = format!("{folder}consolidated.{gap:02}.pth");
            checkpoint.findings.push(Finding::new(Id::ShardMissing, message).in_file(name));
        }
        if let [_, second, ..] = same.as_slice() {
            let message = "two files claim to be the same rank";
            let name = checkpoint.pool.name(*second).to_owned();
            checkpoint.findings.push(Finding::new(Id::ShardStray, message).in_file(name));
        }
        files.extend(same.first());
        expected = rank.saturating_add(1);
    }
    files
}

/// `params.json` is sometimes wrapped in `model`.
pub(super) fn params(checkpoint: &Checkpoint) -> Option<&Value> {
    let value = &checkpoint.config.as_ref()?.value;
    Some(value.get("model").filter(|inner| inner.is_object()).unwrap_or(value))
}

/// The family whose names these are. Where `params.json` is a family's and nearly all names are, a tensor that is missing
/// or one too many is what is wrong with that model, and does not make it another one.
fn family(checkpoint: &Checkpoint) -> Option<Family> {
    let from = |names: String| checkpoint.config.as_ref().map_or(names, |config| config.name.clone());
    if let Some(found) = directory::by_names(checkpoint).filter(|family| family.naming == Naming::Meta) {
        return Some(Family { from: from(found.from.clone()), ..found });
    }
    let params = params(checkpoint)?;
    let is_llama = ["dim", "n_layers", "n_heads"].iter().all(|key| params.get(key).is_some_and(Value::is_u64));
    let arch = match llama::infer::foreign(params) {
        None => &llama::LLAMA,
        Some((key, _)) => own_table(key)?,
    };
    let known = |name: &str| arch.find(Naming::Meta, name).is_some();
    let unknown = checkpoint.tensors.iter().filter(|tensor| !known(&tensor.name)).count();
    let nearly = unknown.saturating_mul(10) < checkpoint.tensors.len();
    (is_llama && nearly).then(|| Family { arch, naming: Naming::Meta, from: from(String::new()) })
}

/// The table of the family that alone has this key in its `params.json`.
fn own_table(key: &str) -> Option<&'static Arch> {
    let name = match key {
        "vision_chunk_size" => "mllama",
        "moe_args" | "vision_args" => "llama4",
        _ => return None,
    };
    Arch::of_model_type(name)?.own_table(Naming::Meta)
}

/// What stands before every name of the language model: nothing, mostly; the model's part that reads, where another
/// sees; the key under which a training loop saved it.
fn wrapper(tensors: &[Tensor]) -> &str {
    tensors.iter().find_map(|tensor| tensor.name.strip_suffix("tok_embeddings.weight")).unwrap_or("")
}

/// How many ranks there should be follows from a tensor that is split by columns: its rows are whole everywhere.
///
/// A params.json of another width than the norm's is that of another model, and says nothing about ranks.
fn missing_ranks(checkpoint: &mut Checkpoint, found: usize) {
    let wrapper = wrapper(&checkpoint.tensors);
    let width =
        checkpoint.tensor(&format!("{wrapper}norm.weight")).and_then(|tensor| tensor.recipe.shape.first().copied());
    let dim = params(checkpoint).and_then(|params| params.get("dim")?.as_u64());
    if let (Some(width), Some(dim)) = (width, dim)
        && width != dim
    {
        let message = "params.json speaks of a model of another width than the weights";
        let finding = Finding::new(Id::ConfigShape, message).tensor(format!("{wrapper}norm.weight")).needed(dim, width);
        checkpoint.findings.push(finding.in_file(format!("{}params.json", checkpoint.weights.display())));
        return;
    }
    let wanted = params(checkpoint).and_then(|params| {
        let (dim, heads) = (params.get("dim")?.as_u64()?, params.get("n_heads")?.as_u64()?);
        let head_dim = params.get("head_dim").and_then(Value::as_u64).or(dim.checked_div(heads))?;
        let joined = checkpoint.tensor(&format!("{wrapper}layers.0.attention.wo.weight"))?;
        let held = joined.recipe.shape.get(1)?.checked_div(to_u64(found))?;
        heads.checked_mul(head_dim)?.checked_div(held)
    });
    let gaps = checkpoint.findings.iter().filter(|finding| finding.id == Id::ShardMissing).count();
    // Gaps between ranks have been told already; with them the number may be right.
    let told = |wanted: u64| wanted == to_u64(found.saturating_add(gaps));
    let Some(wanted) = wanted.filter(|&wanted| !told(wanted)) else { return };
    let message = format!("the shapes are those of one of {wanted} model-parallel ranks, and there are {found}");
    let folder = checkpoint.weights.display().to_string();
    let name = format!("{folder}consolidated.{found:02}.pth");
    let finding = if wanted > to_u64(found) {
        Finding::new(Id::ShardMissing, message).in_file(name)
    } else {
        Finding::new(Id::ShardMismatch, message).in_file(folder + "params.json")
    };
    checkpoint.findings.push(finding.needed(format!("{wanted} files"), format!("{found} files")));
}

/// Joins the tables of the ranks into one.
struct Join {
    arch: &'static Arch,
    /// What stands before every name.
    wrapper: String,
    ranks: u64,
    /// Width of the residual stream, from a norm that every rank holds whole.
    dim: Option<u64>,
    /// How many ranks hold the same key and value heads.
    repeated: u64,
}

impl Join {
    fn new(checkpoint: &Checkpoint, tables: &[Vec<Tensor>]) -> Join {
        let ranks = to_u64(tables.len());
        let first = tables.first().map_or(&[][..], Vec::as_slice);
        let wrapper = wrapper(first).to_owned();
        // The part that reads is a part of the model's own names.
        let outside = wrapper.strip_suffix("text_model.").unwrap_or(&wrapper).to_owned();
        let shape = |name: &str| {
            let is_named = |tensor: &&Tensor| tensor.name.strip_prefix(&wrapper) == Some(name);
            first.iter().find(is_named).map(|tensor| tensor.recipe.shape.as_slice())
        };
        let dim = shape("norm.weight").and_then(|shape| shape.first().copied());
        // PROTOCOL §3 (d): r = MP x wk.rows / head_dim / n_kv_heads.
        let repeated = params(checkpoint).and_then(|params| {
            let heads = params.get("n_heads")?.as_u64()?;
            let kv_heads = params.get("n_kv_heads").and_then(Value::as_u64).unwrap_or(heads);
            let head_dim = dim?.checked_div(heads)?;
            let rows = shape("layers.0.attention.wk.weight")?.first().copied()?;
            ranks.checked_mul(rows)?.checked_div(head_dim)?.checked_div(kv_heads)
        });
        let whole = |repeated: &u64| *repeated > 1 && ranks.is_multiple_of(*repeated);
        let repeated = repeated.filter(whole).unwrap_or(1);
        let names = || first.iter().filter_map(|tensor| tensor.name.strip_prefix(&outside));
        let known = |arch: &&&'static Arch| arch.recognises(Naming::Meta, names());
        let foreign = params(checkpoint).and_then(|params| own_table(llama::infer::foreign(params)?.0));
        let arch = ARCHS.iter().find(known).copied().or(foreign).unwrap_or(&llama::LLAMA);
        Join { arch, ranks, dim, repeated, wrapper: outside }
    }

    fn run(&self, checkpoint: &mut Checkpoint, tables: Vec<Vec<Tensor>>) {
        let mut order: Vec<String> = Vec::new();
        let mut parts: HashMap<String, Vec<(usize, Tensor)>> = HashMap::new();
        for (rank, table) in tables.into_iter().enumerate() {
            for tensor in table {
                let same = parts.entry(tensor.name.clone()).or_default();
                if same.is_empty() {
                    order.push(tensor.name.clone());
                }
                same.push((rank, tensor));
            }
        }
        for name in order {
            let same = parts.remove(&name).unwrap_or_default();
            match self.tensor(&name, same, &mut checkpoint.replicas) {
                Ok(tensor) => checkpoint.tensors.push(tensor),
                Err(finding) => checkpoint.findings.push(finding.tensor(name)),
            }
        }
    }

    /// One tensor from its parts, in the order of the ranks.
    fn tensor(&self, name: &str, parts: Vec<(usize, Tensor)>, replicas: &mut Vec<Replica>) -> Result<Tensor, Finding> {
        let mismatch = |message: String| Finding::new(Id::ShardMismatch, message);
        if to_u64(parts.len()) != self.ranks {
            let held: Vec<usize> = parts.iter().map(|(rank, _)| *rank).collect();
            return Err(mismatch("only some ranks hold this tensor".to_owned())
                .needed(format!("{} ranks", self.ranks), format!("ranks {held:?}")));
        }
        let own = name.strip_prefix(&self.wrapper).unwrap_or(name);
        let row = self.arch.find(Naming::Meta, own).map(|found| found.row);
        let first = parts.first().map(|(_, tensor)| tensor.recipe.clone()).ok_or_else(|| mismatch(String::new()))?;
        let axis = match row.map_or(Split::Replicated, |row| row.split) {
            Split::Rows => Some(0),
            Split::Columns => Some(1),
            Split::Embedding => Some(usize::from(first.shape.get(1).copied() != self.dim)),
            Split::Replicated => None,
        };
        let every = if row.is_some_and(|row| row.shape.first() == Some(&Size::KvHeads)) { self.repeated } else { 1 };
        let Some(axis) = axis else {
            let mut parts = parts.into_iter();
            let Some((kept, tensor)) = parts.next() else { return Err(mismatch(String::new())) };
            for (copy, other) in parts {
                same_geometry(&tensor.recipe, &other.recipe, None)?;
                let (kept, copy) = ((kept, tensor.recipe.clone()), (copy, other.recipe));
                replicas.push(Replica { tensor: name.to_owned(), kept, copy });
            }
            return Ok(tensor);
        };
        let mut tiles: Vec<Tile> = Vec::new();
        let mut shape = first.shape.clone();
        let mut reached = 0u64;
        let mut kept = (0, first.clone());
        // Rows that ranks hold one after the other are the bytes of the whole in their order, and so are checksums.
        let mut sum = (axis == 0).then(crc32fast::Hasher::new);
        for (rank, part) in parts {
            same_geometry(&first, &part.recipe, Some(axis))?;
            if !to_u64(rank).is_multiple_of(every) {
                replicas.push(Replica { tensor: name.to_owned(), kept: kept.clone(), copy: (rank, part.recipe) });
                continue;
            }
            kept = (rank, part.recipe.clone());
            sum = sum.zip(part.crc32).map(|(mut sum, crc32)| {
                sum.combine(&crc32fast::Hasher::new_with_initial_len(crc32, part.recipe.len_bytes()));
                sum
            });
            let mut at = vec![0; shape.len()];
            if let Some(at) = at.get_mut(axis) {
                *at = reached;
            }
            reached = reached.saturating_add(part.recipe.shape.get(axis).copied().unwrap_or(0));
            tiles.push(Tile { at, part: Arc::new(part.recipe) });
        }
        if let Some(size) = shape.get_mut(axis) {
            *size = reached;
        }
        let recipe = Recipe { dtype: first.dtype, shape, op: Op::Tiles(tiles) };
        Ok(Tensor { name: name.to_owned(), recipe, crc32: sum.map(crc32fast::Hasher::finalize) })
    }
}
