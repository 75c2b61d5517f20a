//! Lays a table of tensors out as a file of a format: everything but the values.

use std::collections::{BTreeMap, HashMap};

use crate::bytes::to_u64;
use crate::facts::{Finding, Recipe, Tensor};
use crate::formats::torch::write::{Item, Layout, Record};
use crate::formats::{gguf, safetensors};

use super::write::Output;

/// A safetensors file of these tensors, in the order of the reference writer.
pub fn safetensors(name: &str, metadata: &BTreeMap<String, String>, tensors: &[Tensor]) -> Output {
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| safetensors::order((a.recipe.dtype, &a.name), (b.recipe.dtype, &b.name)));
    let rows: Vec<_> = sorted
        .iter()
        .map(|tensor| {
            let recipe = &tensor.recipe;
            (tensor.name.as_str(), recipe.dtype, recipe.shape.as_slice(), recipe.len_bytes())
        })
        .collect();
    let head = safetensors::header(metadata, &rows);
    let mut place = to_u64(head.len());
    let mut values = Vec::with_capacity(sorted.len());
    for tensor in sorted {
        values.push((place, tensor.recipe.clone()));
        place = place.saturating_add(tensor.recipe.len_bytes());
    }
    Output { name: name.to_owned(), size: place, head: vec![(0, head)], values, finish: None }
}

/// A GGUF file of these keys and tensors, in their order.
///
/// # Errors
/// A finding for what the format cannot hold.
pub fn gguf(name: &str, keys: &[(String, gguf::Put)], tensors: &[Tensor]) -> Result<Output, Finding> {
    let row = |tensor: &'_ Tensor| tensor.recipe.len_bytes();
    let rows: Vec<_> = tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.recipe.dtype, tensor.recipe.shape.as_slice(), row(tensor)))
        .collect();
    let gguf::write::Layout { head, offsets, size } = gguf::write::layout(keys, &rows)?;
    let values: Vec<_> = offsets.into_iter().zip(tensors.iter().map(|tensor| tensor.recipe.clone())).collect();
    let end = values.last().map_or(to_u64(head.len()), |(offset, recipe)| offset.saturating_add(recipe.len_bytes()));
    let padding = vec![0; crate::bytes::to_usize(size.saturating_sub(end))];
    Ok(Output { name: name.to_owned(), size, head: vec![(0, head), (end, padding)], values, finish: None })
}

/// A torch file of these tensors, in their order. Tensors of one recipe share a storage, as tied weights do.
///
/// # Errors
/// A finding for what torch cannot hold: a dtype, two tensors of one name.
pub fn torch(name: &str, tensors: &[Tensor]) -> Result<Output, Finding> {
    let own = name.rsplit('/').next().unwrap_or(name);
    // torch names the folder inside after the file, up to its last dot.
    let stem = own.rsplit_once('.').map_or(own, |(stem, _)| stem);
    let mut firsts: HashMap<&Recipe, usize> = HashMap::with_capacity(tensors.len());
    let items: Vec<Item> = tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| {
            let first = *firsts.entry(&tensor.recipe).or_insert(index);
            Item {
                name: tensor.name.clone(),
                dtype: tensor.recipe.dtype,
                shape: tensor.recipe.shape.clone(),
                same_as: (first != index).then_some(first),
            }
        })
        .collect();
    let layout = Layout::new(stem, &items)?;
    let value = |record: &Record| Some((record.offset, tensors.get(record.item)?.recipe.clone()));
    let values = layout.records.iter().filter_map(value).collect();
    let (head, size) = (vec![(0, layout.head.clone())], layout.total);
    Ok(Output { name: name.to_owned(), size, head, values, finish: Some(Box::new(move |crcs| layout.finish(crcs))) })
}
