//! A conversion before anything is written: which files there will be, and what each is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ckpt::document::{Inferred, PlannedFile, PlannedTensor};
use ckpt::facts::{FileId, Finding, Id, Tensor, check};
use ckpt::formats::gguf::Put;
use ckpt::layouts::Checkpoint;
use ckpt::plan::container;
use ckpt::plan::describe::describe;
use ckpt::plan::write::Output;

use ckpt::bytes::{Pool, to_u64};

use crate::options::Link;

/// The container of a weight file.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    Safetensors,
    Torch,
    /// With these keys.
    Gguf(Arc<Vec<(String, Put)>>),
}

/// A weight file to be written.
#[derive(Debug)]
pub(crate) struct Weights {
    /// Path below the target.
    pub(crate) name: String,
    pub(crate) form: Form,
    /// In the order of the model; the container may have its own.
    pub(crate) tensors: Vec<Tensor>,
}

/// Where a small file, or a weight file that is not rewritten, comes from.
#[derive(Debug)]
pub(crate) enum Content {
    /// Made here.
    Made(Vec<u8>),
    /// A copy of a file of the source.
    Copied(PathBuf),
    /// A link to a file of the source.
    Linked(PathBuf),
}

/// A conversion before anything is written.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) weights: Vec<Weights>,
    /// By path below the target.
    pub(crate) files: BTreeMap<String, Content>,
    /// Write `checklist.chk` over everything else when it is there.
    pub(crate) checklist: bool,
    pub(crate) inferred: Vec<Inferred>,
    pub(crate) lost: Vec<String>,
    pub(crate) warnings: Vec<Finding>,
}

impl Weights {
    /// The layout of the file, without its values.
    ///
    /// # Errors
    /// What the container cannot hold.
    pub(crate) fn output(&self) -> Result<Output, Finding> {
        match &self.form {
            Form::Safetensors => {
                // transformers before 4.57 refuses a file without it.
                let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
                let unknown = self.tensors.iter().find(|tensor| !tensor.recipe.dtype.in_safetensors());
                if let Some(tensor) = unknown {
                    let message = format!("safetensors has no dtype {}", tensor.recipe.dtype);
                    return Err(Finding::new(Id::Unsupported, message).tensor(tensor.name.clone()));
                }
                Ok(container::safetensors(&self.name, &metadata, &self.tensors))
            }
            Form::Torch => container::torch(&self.name, &self.tensors),
            Form::Gguf(keys) => container::gguf(&self.name, keys, &self.tensors),
        }
    }
}

impl Content {
    /// Bytes it will take; 0 for a link.
    pub(crate) fn size(&self, link: Link) -> std::io::Result<u64> {
        match self {
            Content::Made(bytes) => Ok(to_u64(bytes.len())),
            Content::Linked(_) if link != Link::Copy => Ok(0),
            Content::Copied(path) | Content::Linked(path) => Ok(std::fs::metadata(path)?.len()),
        }
    }
}

impl Draft {
    /// Holds every value that will be written against the values and files that it is made of, before anything is read.
    ///
    /// # Errors
    /// A finding that names the tensor of the first that is not well made.
    pub(crate) fn check(&self, source: &Checkpoint) -> Result<(), Finding> {
        let size = |file: FileId| source.size_of(file);
        let mut tensors = self.weights.iter().flat_map(|weights| &weights.tensors);
        tensors.try_for_each(|tensor| {
            check::check(&tensor.recipe, &size).map_err(|finding| finding.tensor(tensor.name.clone()))
        })
    }

    /// Adds a file made here.
    pub(crate) fn make(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.to_owned(), Content::Made(bytes));
    }

    /// The plan as a document shows it, sorted by path. `source` are the files that the recipes stand on. The weights
    /// are taken out of the draft, so that those of a large model are not held twice.
    pub(crate) fn plan(&mut self, source: &Pool, link: Link) -> Vec<PlannedFile> {
        let planned = |tensor: Tensor| PlannedTensor {
            from: describe(&tensor.recipe, source),
            name: tensor.name,
            dtype: tensor.recipe.dtype.name().into(),
            shape: tensor.recipe.shape,
        };
        let weights = std::mem::take(&mut self.weights).into_iter().map(|weights| PlannedFile {
            size: weights.output().ok().map(|output| output.size),
            path: weights.name,
            from: None,
            tensors: weights.tensors.into_iter().map(planned).collect(),
        });
        let small = self.files.iter().map(|(name, content)| PlannedFile {
            path: name.clone(),
            size: content.size(link).ok(),
            from: Some(match content {
                Content::Made(_) => "generated".to_owned(),
                Content::Copied(path) | Content::Linked(path) => path.to_string_lossy().into_owned(),
            }),
            tensors: Vec::new(),
        });
        let mut files: Vec<PlannedFile> = weights.chain(small).collect();
        if self.checklist {
            let name = "checklist.chk".to_owned();
            files.push(PlannedFile { path: name, size: None, from: Some("generated".to_owned()), tensors: Vec::new() });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ckpt::facts::{Op, Recipe};

    use super::*;

    #[test]
    fn a_value_that_is_cut_out_of_more_than_there_is_is_not_written() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hf-tiny");
        let source = ckpt::layouts::open(&fixture, None, 1).unwrap();
        let whole = source.tensors.first().cloned().unwrap();
        let rows = *whole.recipe.shape.first().unwrap();
        for (first, fits) in [(rows - 1, true), (rows, false)] {
            let mut shape = whole.recipe.shape.clone();
            *shape.first_mut().unwrap() = 1;
            let mut start = vec![0; shape.len()];
            *start.first_mut().unwrap() = first;
            let op = Op::Slice { of: Arc::new(whole.recipe.clone()), start };
            let recipe = Recipe { dtype: whole.recipe.dtype, shape, op };
            let tensors = vec![Tensor { name: "row".to_owned(), recipe, crc32: None }];
            let weights = vec![Weights { name: "w".to_owned(), form: Form::Safetensors, tensors }];
            let told = Draft { weights, ..Draft::default() }.check(&source);
            assert_eq!(told.err().map(|finding| finding.tensor), (!fits).then(|| Some("row".to_owned())), "{first}");
        }
    }
}
