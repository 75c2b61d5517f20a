//! Joins what Megatron's ranks hold: parts of a tensor along the dimension they share, layers by their number in the whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::table::{self, Split};
use crate::facts::recipe::Tile;
use crate::facts::{Finding, Id, Op, Recipe, Severity, Tensor};
use crate::layouts::chunks::same_geometry;
use crate::layouts::{Checkpoint, Replica};

/// The ranks of tensor parallelism of one chunk of the model, in their order: number, file, tensors.
pub(super) type Chunk = Vec<(u64, String, Vec<Tensor>)>;

/// The key of the model in a rank's dictionary, before its number where pipeline stages are virtual.
const MODEL: &str = "model";
/// What Transformer Engine keeps of its scaling, which is no weight.
const EXTRA: &str = "_extra_state";

/// The tensors of each model in a rank's file, by the number of its virtual stage: optimizer and random states stay behind,
/// unless the file is `whole`, the model's own dictionary and nothing else.
pub(super) fn models(tensors: Vec<Tensor>, whole: bool) -> BTreeMap<u64, Vec<Tensor>> {
    let own = |name: &str| {
        let (key, rest) = name.split_once('.')?;
        let number = key.strip_prefix(MODEL)?;
        let number = if number.is_empty() { 0 } else { number.parse().ok()? };
        Some((number, rest.to_owned()))
    };
    let mut named = tensors.iter().map(|tensor| own(&tensor.name).is_some());
    let bare = if whole { !named.all(|named| named) } else { !named.any(|named| named) };
    let mut models: BTreeMap<u64, Vec<Tensor>> = BTreeMap::new();
    for tensor in tensors {
        let found = if bare { Some((0, tensor.name.clone())) } else { own(&tensor.name) };
        if let Some((number, name)) = found.filter(|(_, name)| !name.contains(EXTRA)) {
            models.entry(number).or_default().push(Tensor { name, ..tensor });
        }
    }
    models
}

/// Joins every chunk, in the order of the layers: virtual stages first, within them pipeline ranks.
pub(super) fn run(checkpoint: &mut Checkpoint, chunks: BTreeMap<(u64, u64), Chunk>) {
    let mut before: HashMap<String, u64> = HashMap::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut unknown: Vec<String> = Vec::new();
    for ((_, stage), ranks) in chunks {
        let held = layers(&ranks);
        for mut tensor in join(checkpoint, &ranks, &mut unknown) {
            if let Some((prefix, number, rest)) = layer(&tensor.name) {
                let number = number.saturating_add(before.get(prefix).copied().unwrap_or(0));
                tensor.name = format!("{prefix}{number}{rest}");
            }
            if let Some(kept) = places.get(&tensor.name).and_then(|&place| checkpoint.tensors.get(place)) {
                // The last stage has a copy of the embedding where its head is tied to it.
                let copy = (usize::try_from(stage).unwrap_or(usize::MAX), tensor.recipe);
                let kept = (0, kept.recipe.clone());
                match same_geometry(&kept.1, &copy.1, None) {
                    Ok(()) => checkpoint.replicas.push(Replica { tensor: tensor.name, kept, copy }),
                    Err(finding) => checkpoint.findings.push(finding.tensor(tensor.name)),
                }
                continue;
            }
            places.insert(tensor.name.clone(), checkpoint.tensors.len());
            checkpoint.tensors.push(tensor);
        }
        for (prefix, count) in held {
            let all = before.entry(prefix).or_default();
            *all = all.saturating_add(count);
        }
    }
    if let Some(first) = unknown.first() {
        let message = format!(
            "nothing is known of how the ranks share {} tensors; each rank's part is kept under its own name, \
             {first} first among them",
            unknown.len()
        );
        let finding = Finding::new(Id::ShardMismatch, message).severity(Severity::Warning);
        checkpoint.findings.push(finding.tensor(first.as_str()));
    }
}

/// Prefix, number and rest of a name with a layer's number in it.
fn layer(name: &str) -> Option<(&str, u64, &str)> {
    const LAYERS: &str = "layers.";
    let at = name.find(LAYERS)?.checked_add(LAYERS.len())?;
    let (prefix, rest) = name.split_at_checked(at)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    Some((prefix, number.parse().ok()?, rest))
}

/// How many layers of each kind a chunk has.
fn layers(ranks: &Chunk) -> BTreeMap<String, u64> {
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for tensor in ranks.iter().flat_map(|(.., tensors)| tensors) {
        if let Some((prefix, number, _)) = layer(&tensor.name) {
            let count = held.entry(prefix.to_owned()).or_default();
            *count = (*count).max(number.saturating_add(1));
        }
    }
    held
}

/// The tensors of one chunk.
fn join(checkpoint: &mut Checkpoint, ranks: &Chunk, unknown: &mut Vec<String>) -> Vec<Tensor> {
    if let [(.., tensors)] = ranks.as_slice() {
        return tensors.clone();
    }
    let tables: Vec<HashMap<&str, &Tensor>> = ranks
        .iter()
        .map(|(.., tensors)| tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect())
        .collect();
    let mut joined = Vec::new();
    let mut seen = HashSet::new();
    for (_, file, tensors) in ranks {
        for tensor in tensors.iter().filter(|tensor| seen.insert(tensor.name.as_str())) {
            let name = tensor.name.as_str();
            let parts: Vec<&Recipe> = tables.iter().filter_map(|table| Some(&table.get(name)?.recipe)).collect();
            if parts.len() != tables.len() {
                let message = "only some ranks hold this tensor";
                let finding = Finding::new(Id::ShardMismatch, message).in_file(file.clone()).tensor(name);
                let held = format!("{} ranks", parts.len());
                checkpoint.findings.push(finding.needed(format!("{} ranks", tables.len()), held));
                continue;
            }
            let Some(split) = table::split(name) else {
                unknown.push(name.to_owned());
                joined.extend(parts.iter().zip(ranks).map(|(part, (rank, ..))| Tensor {
                    name: format!("mp_rank_{rank:02}.{name}"),
                    recipe: (*part).clone(),
                    crc32: None,
                }));
                continue;
            };
            let out = table::out_of(name).and_then(|out| Some(&tables.first()?.get(out.as_str())?.recipe));
            match whole(name, &parts, split, out, &mut checkpoint.replicas) {
                Ok(recipe) => joined.push(Tensor { name: name.to_owned(), recipe, crc32: None }),
                Err(finding) => checkpoint.findings.push(finding.in_file(file.clone()).tensor(name)),
            }
        }
    }
    joined
}

/// One tensor of the parts of all ranks, in their order.
fn whole(
    name: &str,
    parts: &[&Recipe],
    split: Split,
    out: Option<&Recipe>,
    replicas: &mut Vec<Replica>,
) -> Result<Recipe, Finding> {
    let first = *parts.first().ok_or_else(|| Finding::new(Id::ShardMismatch, "no rank holds this tensor"))?;
    let axis = match split {
        Split::Rows | Split::Gated => Some(0),
        Split::Columns => Some(1),
        Split::Replicated => None,
    };
    parts.iter().try_for_each(|part| same_geometry(first, part, axis))?;
    let Some(axis) = axis else {
        for (rank, copy) in parts.iter().enumerate().skip(1) {
            let (kept, copy) = ((0, first.clone()), (rank, (*copy).clone()));
            replicas.push(Replica { tensor: name.to_owned(), kept, copy });
        }
        return Ok(first.clone());
    };
    let extent = |part: &Recipe| part.shape.get(axis).copied().unwrap_or(0);
    // Twice the rows that the way out has columns: gate and up, one above the other.
    let columns = out.and_then(|out| out.shape.get(1).copied());
    let gated = split == Split::Gated && columns.and_then(|columns| columns.checked_mul(2)) == Some(extent(first));
    let mut tiles = Vec::new();
    let mut reached = 0u64;
    let mut put = |part: Recipe| {
        let mut at = vec![0; part.shape.len()];
        if let Some(at) = at.get_mut(axis) {
            *at = reached;
        }
        reached = reached.saturating_add(extent(&part));
        tiles.push(Tile { at, part: Arc::new(part) });
    };
    let halves: &[u64] = if gated { &[0, 1] } else { &[] };
    for half in halves {
        for part in parts {
            put(half_of(part, *half));
        }
    }
    for part in parts.iter().filter(|_| !gated) {
        put((*part).clone());
    }
    let mut shape = first.shape.clone();
    if let Some(size) = shape.get_mut(axis) {
        *size = reached;
    }
    Ok(Recipe { dtype: first.dtype, shape, op: Op::Tiles(tiles) })
}

/// The first or the second half of the rows.
fn half_of(part: &Recipe, half: u64) -> Recipe {
    let rows = part.shape.first().map_or(0, |rows| rows / 2);
    part.slice(0, half.saturating_mul(rows), rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::facts::{Dtype, FileId};
    use crate::layouts::{Layout, tree};

    /// Two layers of one pipeline rank's chunk, at a place that tells which they are.
    fn chunk(place: u64) -> Chunk {
        let layer = |number: u64| Tensor {
            name: format!("decoder.layers.{number}.linear_proj.bias"),
            recipe: Recipe::bytes(Dtype::F32, vec![4], FileId(0), place.saturating_add(number)),
            crc32: None,
        };
        vec![(0, "mp_rank_00_000/model_optim_rng.pt".to_owned(), vec![layer(0), layer(1)])]
    }

    #[test]
    fn layers_of_virtual_stages_follow_those_of_all_pipeline_ranks() {
        // Megatron's interleaved schedule: stage 0 of both ranks, then stage 1 of both (`get_transformer_layer_offset`).
        let chunks = [((0, 0), chunk(0)), ((0, 1), chunk(10)), ((1, 0), chunk(20)), ((1, 1), chunk(30))];
        let mut checkpoint = Checkpoint::new(Path::new("run"), Layout::Megatron, tree::Tree::default());
        run(&mut checkpoint, BTreeMap::from(chunks));
        let told: Vec<(&str, u64)> =
            checkpoint.tensors.iter().map(|tensor| (&*tensor.name, tensor.recipe.contiguous().unwrap().1)).collect();
        let names: Vec<String> = (0..8).map(|number| format!("decoder.layers.{number}.linear_proj.bias")).collect();
        let places = [0, 1, 10, 11, 20, 21, 30, 31];
        assert_eq!(told, names.iter().map(String::as_str).zip(places).collect::<Vec<_>>());
        assert_eq!(checkpoint.findings, []);
    }

    #[test]
    fn each_virtual_stage_is_a_model_of_its_own() {
        let tensor = |name: &str| Tensor {
            name: name.to_owned(),
            recipe: Recipe::bytes(Dtype::F32, vec![1], FileId(0), 0),
            crc32: None,
        };
        let saved = ["model0.a", "model1.a", "model1.b", "model1.c._extra_state", "optimizer.a"].map(tensor);
        let models = models(saved.to_vec(), false);
        let names: Vec<Vec<&str>> = models.values().map(|own| own.iter().map(|one| &*one.name).collect()).collect();
        assert_eq!(names, [vec!["a"], vec!["a", "b"]]);
    }
}
