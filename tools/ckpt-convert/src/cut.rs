//! Cuts a model into weight files of a bounded size, and makes the index over them.

use ckpt::facts::Tensor;
use serde::{Serialize, Serializer};

use crate::draft::{Form, Weights};

/// Cuts tensors, in their order, into files of at most `limit` bytes of values; a larger tensor has its own
/// (`split_torch_state_dict_into_shards` of huggingface_hub does the same). One file is called `stem.ending`,
/// several `stem-00001-of-0000N.ending`.
pub(crate) fn cut(tensors: Vec<Tensor>, limit: u64, stem: &str, ending: &str, form: &Form) -> Vec<Weights> {
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new()];
    let mut filled = 0u64;
    for tensor in tensors {
        let bytes = tensor.recipe.len_bytes();
        if filled > 0 && filled.saturating_add(bytes) > limit {
            parts.push(Vec::new());
            filled = 0;
        }
        filled = filled.saturating_add(bytes);
        if let Some(part) = parts.last_mut() {
            part.push(tensor);
        }
    }
    let count = parts.len();
    let name = |number: usize| {
        if count == 1 {
            format!("{stem}.{ending}")
        } else {
            format!("{stem}-{:05}-of-{count:05}.{ending}", number.saturating_add(1))
        }
    };
    parts
        .into_iter()
        .enumerate()
        .map(|(number, tensors)| Weights { name: name(number), form: form.clone(), tensors })
        .collect()
}

/// The index as it stands in its file; it borrows the names, of which a large model has hundreds of thousands.
#[derive(Serialize)]
struct Index<'a> {
    metadata: Metadata,
    #[serde(serialize_with = "as_map")]
    weight_map: Vec<(&'a str, &'a str)>,
}

#[derive(Serialize)]
struct Metadata {
    total_size: u64,
}

fn as_map<S: Serializer>(rows: &[(&str, &str)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(rows.iter().copied())
}

/// The index over several files: pretty JSON, names sorted, with the sum of the tensors' bytes. `None` for one file.
pub(crate) fn index(files: &[Weights]) -> Option<Vec<u8>> {
    if files.len() < 2 {
        return None;
    }
    let mut rows: Vec<(&str, &str)> = files
        .iter()
        .flat_map(|file| file.tensors.iter().map(|tensor| (tensor.name.as_str(), file.name.as_str())))
        .collect();
    rows.sort_unstable();
    let total: u64 = files.iter().flat_map(|file| &file.tensors).map(|tensor| tensor.recipe.len_bytes()).sum();
    let index = Index { metadata: Metadata { total_size: total }, weight_map: rows };
    let mut text = serde_json::to_vec_pretty(&index).unwrap_or_default();
    text.push(b'\n');
    Some(text)
}

#[cfg(test)]
mod tests {
    use ckpt::facts::{Dtype, FileId, Recipe};

    use super::*;

    fn tensor(name: &str, bytes: u64) -> Tensor {
        Tensor { name: name.to_owned(), recipe: Recipe::bytes(Dtype::U8, vec![bytes], FileId(0), 0), crc32: None }
    }

    #[test]
    fn files_are_filled_in_order_and_a_large_tensor_stands_alone() {
        let tensors = vec![tensor("a", 4), tensor("b", 6), tensor("c", 1), tensor("d", 30), tensor("e", 2)];
        let files = cut(tensors, 10, "model", "safetensors", &Form::Safetensors);
        let listed: Vec<(String, Vec<&str>)> = files
            .iter()
            .map(|file| (file.name.clone(), file.tensors.iter().map(|tensor| tensor.name.as_str()).collect()))
            .collect();
        let name = |number: usize| format!("model-{number:05}-of-00004.safetensors");
        assert_eq!(
            listed,
            [(name(1), vec!["a", "b"]), (name(2), vec!["c"]), (name(3), vec!["d"]), (name(4), vec!["e"])]
        );
        let index = String::from_utf8(index(&files).unwrap()).unwrap();
        assert!(index.starts_with(
            "{\n  \"metadata\": {\n    \"total_size\": 43\n  },\n  \"weight_map\": {\n    \"a\": \"model-00001"
        ));
        assert!(index.ends_with("}\n"));
    }

    #[test]
    fn one_file_needs_no_number_and_no_index() {
        let files = cut(vec![tensor("a", 4)], 10, "model", "safetensors", &Form::Safetensors);
        assert_eq!(files[0].name, "model.safetensors");
        assert!(index(&files).is_none());
        assert_eq!(cut(Vec::new(), 10, "model", "safetensors", &Form::Safetensors).len(), 1);
    }
}
