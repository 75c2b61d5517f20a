//! The weights of a step: masters put together from the ranks' flat arrays, and what has no master from the module.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::flat::{Flat, shaped};
use super::states::{self, Model, Named};
use super::{EACH, File, MASTER, Step};
use crate::bytes::work;
use crate::facts::dtype::Kind;
use crate::facts::recipe::elements;
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Tensor};
use crate::formats::{self, detect};
use crate::layouts::{Checkpoint, Weights};

/// Values by the name of the parameter.
type Table = HashMap<String, (Recipe, Option<u32>)>;

/// A file, and a byte of it.
type Place = (FileId, u64);

/// Puts the tensors of a step into the checkpoint.
pub(super) fn weights(
    checkpoint: &mut Checkpoint,
    folder: &str,
    step: &Step,
    model: &Model,
    weights: Weights,
    jobs: usize,
) {
    let universal: Vec<(String, FileId)> = universal(checkpoint, folder);
    let masters = match weights {
        Weights::Module => Ok(Table::new()),
        Weights::Master if !universal.is_empty() => {
            lost(checkpoint, folder, model, &universal);
            each(checkpoint, &universal, jobs)
        }
        // Without ZeRO there are no parts to put together.
        Weights::Master if model.groups.is_empty() => Ok(Table::new()),
        Weights::Master => partitioned(checkpoint, folder, step, model),
    };
    let masters = match masters {
        Ok(masters) => masters,
        Err(finding) => return checkpoint.findings.push(finding),
    };
    checkpoint.tensors = joined(step, model, masters, weights);
}

/// The table of the model, in the order of its state dict.
fn joined(step: &Step, model: &Model, mut masters: Table, weights: Weights) -> Vec<Tensor> {
    let Some(first) = step.models.first() else { return Vec::new() };
    let mut values: Table = Table::new();
    let mut order: Vec<String> = Vec::new();
    // Where the placeholders of ZeRO-3 stand: those of one parameter stand in one place.
    let mut places: BTreeMap<Place, String> = BTreeMap::new();
    let mut later: Vec<(String, Option<Place>, &Tensor)> = Vec::new();
    let said = Said::of(model);
    for tensor in &first.tensors {
        let Some(name) = tensor.name.strip_prefix("module.") else { continue };
        order.push(name.to_owned());
        let place = tensor.recipe.contiguous();
        if let Some(master) = masters.remove(name) {
            if let Some(place) = place {
                places.insert(place, name.to_owned());
            }
            values.insert(name.to_owned(), master);
        } else {
            later.push((name.to_owned(), place, tensor));
        }
    }
    // What has a master and does not stand in the module at all.
    let mut rest: Vec<_> = masters.into_iter().collect();
    rest.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, master) in rest {
        order.push(name.clone());
        values.insert(name, master);
    }
    for (name, place, tensor) in later {
        let alias = said.shared.get(name.as_str()).copied().or_else(|| places.get(&place?).map(String::as_str));
        let alias = alias.filter(|_| weights == Weights::Master);
        let value = match alias.and_then(|kept| values.get(kept)) {
            Some(value) => value.clone(),
            None => from_module(&name, tensor, &said, weights),
        };
        values.insert(name, value);
    }
    let tensor = |name: String| values.remove(&name).map(|(recipe, crc32)| Tensor { name, recipe, crc32 });
    order.into_iter().filter_map(tensor).collect()
}

/// What a model says of its tensors, by their names.
struct Said<'m> {
    shapes: HashMap<&'m str, &'m [u64]>,
    /// The name under which a parameter of several names is kept.
    shared: HashMap<&'m str, &'m str>,
    buffers: HashSet<&'m str>,
    /// Parameters are in optimizer groups: ZeRO cut them.
    is_cut: bool,
}

impl Said<'_> {
    fn of(model: &Model) -> Said<'_> {
        let shapes = model.groups.iter().flatten().chain(&model.frozen);
        Said {
            shapes: shapes.map(|(name, shape)| (name.as_str(), shape.as_slice())).collect(),
            shared: model.shared.iter().map(|(other, kept)| (other.as_str(), kept.as_str())).collect(),
            buffers: model.buffers.iter().map(String::as_str).collect(),
            is_cut: !model.groups.is_empty(),
        }
    }
}

/// A tensor that has no master: a buffer, a parameter that is not trained (stage 1 keeps those nowhere else), or all
/// of them where the module's own are asked for.
fn from_module(name: &str, tensor: &Tensor, said: &Said<'_>, weights: Weights) -> (Recipe, Option<u32>) {
    let wanted = said.shapes.get(name).copied();
    let recipe = &tensor.recipe;
    if recipe.shape == [0] && wanted != Some(&[0]) && said.is_cut {
        let why = "ZeRO stage 3 leaves a placeholder in the module; its masters are read with --weights master";
        let shape = wanted.map_or_else(|| vec![0], <[u64]>::to_vec);
        let recipe = Recipe { dtype: recipe.dtype, shape, op: Op::Absent(why.to_owned()) };
        return (recipe, None);
    }
    let buffer = weights == Weights::Master && said.buffers.contains(name);
    if buffer && recipe.dtype.kind() == Kind::Float && recipe.dtype != Dtype::F32 {
        let op = Op::Cast(Arc::new(recipe.clone()));
        return (Recipe { dtype: Dtype::F32, shape: recipe.shape.clone(), op }, None);
    }
    (recipe.clone(), tensor.crc32)
}

/// The parameters' files of a universal checkpoint.
fn universal(checkpoint: &Checkpoint, folder: &str) -> Vec<(String, FileId)> {
    let own = |name: &str| Some(name.strip_prefix(folder)?.strip_prefix(EACH)?.strip_suffix(MASTER)?.to_owned());
    let files = checkpoint.files.iter().enumerate();
    files.filter_map(|(place, entry)| Some((own(&entry.name)?, FileId(place)))).collect()
}

/// Says which parameters that were trained have no file: their 16-bit copies in the module must not pass for masters.
fn lost(checkpoint: &mut Checkpoint, folder: &str, model: &Model, files: &[(String, FileId)]) {
    let has: HashSet<&str> = files.iter().map(|file| file.0.as_str()).collect();
    for (name, _) in model.groups.iter().flatten().filter(|parameter| !has.contains(parameter.0.as_str())) {
        let message = "the file of a parameter's fp32 weights is missing; --weights module takes the 16-bit ones";
        let finding = Finding::new(Id::ShardMissing, message).in_file(format!("{folder}{EACH}{name}{MASTER}"));
        checkpoint.findings.push(finding.tensor(name.clone()));
    }
}

/// The masters of a universal checkpoint.
fn each(checkpoint: &mut Checkpoint, files: &[(String, FileId)], jobs: usize) -> Result<Table, Finding> {
    let pool = &checkpoint.pool;
    let read = work::map(jobs, files, |(name, file)| {
        let source = pool.get(*file).map_err(|error| detect::unreadable(&error));
        let opened = source.and_then(|source| formats::open(&*source, *file));
        let (_, container) = opened.map_err(|finding| finding.in_file(pool.name(*file)))?;
        let tensor = container.tensors.into_iter().find(|tensor| tensor.name == "param");
        let lacks = || Finding::new(Id::TensorMissing, "the file holds no `param`").in_file(pool.name(*file));
        let tensor = tensor.ok_or_else(|| lacks().tensor(name.clone()))?;
        Ok((name.clone(), (tensor.recipe, tensor.crc32)))
    })?;
    Ok(read.into_iter().collect())
}

/// The masters of ZeRO, from every rank's file.
fn partitioned(checkpoint: &mut Checkpoint, folder: &str, step: &Step, model: &Model) -> Result<Table, Finding> {
    let Some(first) = step.optimizers.first() else {
        let message = "the optimizer's files are missing, which hold the fp32 weights; --weights module takes the \
                       16-bit ones";
        return Err(Finding::new(Id::ShardMissing, message).in_file(folder));
    };
    let source = checkpoint.pool.get(first.file).map_err(|error| detect::unreadable(&error));
    let said = source.and_then(|source| states::optimizer(&*source));
    let said = said.map_err(|finding| finding.in_file(first.name.clone()))?;
    let ranks = said.partitions.or(model.world).unwrap_or_else(|| crate::bytes::to_u64(step.optimizers.len()));
    complete(&step.optimizers, ranks, &first.name)?;
    let mut table = Table::new();
    if said.stage == Some(3) {
        complete(&step.models, ranks, step.models.first().map_or("", |file| &file.name))?;
        stage3(step, model, ranks, &mut table)?;
    } else {
        stage2(step, model, &said.padding, &mut table)?;
    }
    Ok(table)
}

/// Every rank must have its file.
fn complete(files: &[File], ranks: u64, like: &str) -> Result<(), Finding> {
    for rank in 0..ranks {
        if files.iter().any(|file| file.rank == rank) {
            continue;
        }
        let name = like.replacen("_rank_0_", &format!("_rank_{rank}_"), 1);
        let message = format!("the file of rank {rank} is missing; every rank holds a part of each parameter group");
        let finding = Finding::new(Id::ShardMissing, message).in_file(name);
        return Err(finding.needed(format!("{ranks} ranks"), format!("{} files", files.len())));
    }
    if crate::bytes::to_u64(files.len()) > ranks {
        let message = "there are files of more ranks than wrote the save: two saves are mixed here";
        let last = files.last().map_or(String::new(), |file| file.name.clone());
        let finding = Finding::new(Id::ShardMismatch, message).in_file(last);
        return Err(finding.needed(format!("{ranks} ranks"), format!("{} files", files.len())));
    }
    Ok(())
}

/// A rank's flat array of a group.
fn group<'f>(file: &'f File, key: &str, number: usize) -> Option<&'f Recipe> {
    let tensor = file.get(&format!("optimizer_state_dict.{key}.{number}"))?;
    (tensor.recipe.shape.len() == 1).then_some(&tensor.recipe)
}

fn mismatch(file: &str, what: &str) -> Finding {
    let message = format!("{what}; is the file of a rank from another run?");
    Finding::new(Id::ShardMismatch, message).in_file(file)
}

/// Stages 1 and 2: each group is one array cut over the ranks.
fn stage2(step: &Step, model: &Model, padding: &[Vec<u64>], table: &mut Table) -> Result<(), Finding> {
    const KEY: &str = "single_partition_of_fp32_groups";
    let ranks = crate::bytes::to_u64(step.optimizers.len());
    let align = ranks.saturating_mul(2);
    for (number, parameters) in model.groups.iter().enumerate() {
        let mut flat = Flat::default();
        let mut size = None;
        for file in &step.optimizers {
            let part = group(file, KEY, number);
            let part = part.ok_or_else(|| mismatch(&file.name, &format!("it holds no part of group {number}")))?;
            // The last rank saves its part without the padding at its end.
            let last = file.rank.saturating_add(1) == ranks && Some(part.elements()) < size;
            if *size.get_or_insert(part.elements()) != part.elements() && !last {
                let what = format!("its part of group {number} has another size than the first rank's");
                let sizes = (size.unwrap_or(0), part.elements());
                return Err(mismatch(&file.name, &what).needed(sizes.0, sizes.1));
            }
            flat.push(part.clone());
        }
        let mut at = 0u64;
        for (place, (name, shape)) in parameters.iter().enumerate() {
            let count = elements(shape).unwrap_or(u64::MAX);
            let value = shaped(flat.pieces(at, count), shape).ok_or_else(|| short(step, name, flat.len()))?;
            table.insert(name.clone(), (value, None));
            let gap = padding.get(number).and_then(|group| group.get(place)).copied().unwrap_or(0);
            at = at.saturating_add(count).saturating_add(gap);
        }
        if at.div_ceil(align.max(1)) != flat.len().div_ceil(align.max(1)) {
            let file = step.optimizers.first().map_or("", |file| &file.name);
            let what = format!("the ranks' parts of group {number} are not as large as its parameters");
            return Err(mismatch(file, &what).needed(at, flat.len()));
        }
    }
    let Some(file) = step.models.first() else { return Ok(()) };
    for (name, _) in &model.frozen {
        if let Some(tensor) = file.get(&format!("frozen_param_fragments.{name}")) {
            table.insert(name.clone(), (tensor.recipe.clone(), tensor.crc32));
        }
    }
    Ok(())
}

/// The finding for arrays that end before a parameter does.
fn short(step: &Step, name: &str, has: u64) -> Finding {
    let file = step.optimizers.first().map_or("", |file| &file.name);
    mismatch(file, "the ranks' flat arrays end before the parameter does").tensor(name).needed("more", has)
}

/// Stage 3: each parameter is cut over the ranks by itself, at one place in all of them.
fn stage3(step: &Step, model: &Model, ranks: u64, table: &mut Table) -> Result<(), Finding> {
    let mut flats = Vec::new();
    for file in &step.optimizers {
        let mut flat = Flat::default();
        let mut parts = (0..).map_while(|number| group(file, "fp32_flat_groups", number));
        parts.by_ref().for_each(|part| flat.push(part.clone()));
        let first = flats.first().map_or(flat.len(), Flat::len);
        if flat.len() != first {
            let what = "its flat arrays have another size than the first rank's";
            return Err(mismatch(&file.name, what).needed(first, flat.len()));
        }
        flats.push(flat);
    }
    let mut at = 0u64;
    for (name, shape) in model.groups.iter().flatten() {
        let (count, part) = share(shape, ranks);
        let pieces = cut(&flats, at, part, count);
        let value = shaped(pieces, shape).ok_or_else(|| short(step, name, flats.first().map_or(0, Flat::len)))?;
        table.insert(name.clone(), (value, None));
        at = at.saturating_add(part);
    }
    let has = flats.first().map_or(0, Flat::len);
    if at != has {
        let file = step.optimizers.first().map_or("", |file| &file.name);
        return Err(mismatch(file, "the flat arrays are not as large as the parameters").needed(at, has));
    }
    frozen(step, &model.frozen, ranks, table)
}

/// Elements of a parameter, and those of a rank's part of it.
fn share(shape: &[u64], ranks: u64) -> (u64, u64) {
    let count = elements(shape).unwrap_or(u64::MAX);
    (count, count.div_ceil(ranks.max(1)))
}

/// The first `count` elements of the ranks' parts.
fn cut(flats: &[Flat], at: u64, part: u64, count: u64) -> Vec<Recipe> {
    let mut left = count;
    let mut pieces = Vec::new();
    for flat in flats {
        pieces.extend(flat.pieces(at, part.min(left)));
        left = left.saturating_sub(part);
    }
    pieces
}

/// Parameters that are not trained, in fragments over the ranks' model states.
fn frozen(step: &Step, parameters: &[Named], ranks: u64, table: &mut Table) -> Result<(), Finding> {
    for (name, shape) in parameters {
        let (count, part) = share(shape, ranks);
        let mut flats = Vec::new();
        for file in &step.models {
            let fragment = file.get(&format!("frozen_param_fragments.{name}"));
            let fragment = fragment.filter(|tensor| tensor.recipe.shape.len() == 1);
            let lacks = || mismatch(&file.name, "it holds no fragment of the parameter").tensor(name.clone());
            let mut flat = Flat::default();
            flat.push(fragment.ok_or_else(lacks)?.recipe.clone());
            flats.push(flat);
        }
        let value = shaped(cut(&flats, 0, part, count), shape);
        let value = value.ok_or_else(|| {
            let file = step.models.first().map_or("", |file| &file.name);
            mismatch(file, "the fragments are smaller than the parameter").tensor(name.clone())
        })?;
        table.insert(name.clone(), (value, None));
    }
    Ok(())
}
