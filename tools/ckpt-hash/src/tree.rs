//! The digests of a tree of models: those of its models and of what lies beside them, joined.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use ckpt::manifests::{self, Digests, FileLine, Names, TensorLine};

/// The path in a tree of what has that path, or that name, in one of its models.
pub(crate) fn path<'a>(model: &str, own: &'a str) -> Cow<'a, str> {
    if model.is_empty() { Cow::Borrowed(own) } else { Cow::Owned(format!("{model}/{own}")) }
}

/// Joins the digests of the models, each by its path in the tree, and of the files beside them. A tensor has the name of its
/// model before its own.
///
/// # Errors
/// None in practice: names and digests have a form in JSON.
pub(crate) fn joined(beside: Digests, models: Vec<(String, Digests)>) -> Result<Digests> {
    let mut whole = Digests { algorithm: beside.algorithm, names: Names::Canonical, ..Digests::default() };
    let mut tensors: Option<Vec<TensorLine>> = None;
    let mut files: BTreeMap<String, FileLine> = BTreeMap::new();
    let is_taken = beside.files.is_some();
    files.extend(beside.files.into_iter().flat_map(|(lines, _)| lines).map(|line| (line.path.clone(), line)));
    for (model, digests) in models {
        // A lone file has its own name for a path already.
        let is_file = digests.files.iter().any(|(lines, _)| lines.iter().any(|line| line.path == model));
        let lines = digests.files.into_iter().flat_map(|(lines, _)| lines);
        files.extend(lines.map(|line| {
            let path = path(if is_file { "" } else { &model }, &line.path).into_owned();
            (path.clone(), FileLine { path, ..line })
        }));
        if let Some((lines, _)) = digests.tensors {
            let named = |line: TensorLine| TensorLine { name: path(&model, &line.name).into_owned(), ..line };
            tensors.get_or_insert_default().extend(lines.into_iter().map(named));
        }
        if digests.names == Names::Stored {
            whole.names = Names::Stored;
        }
        whole.left_out.extend(digests.left_out.iter().map(|name| path(&model, name).into_owned()));
        whole.notes.extend(digests.notes.iter().map(|note| format!("{model}: {note}")));
    }
    whole.left_out.sort();
    if let Some(tensors) = tensors {
        let root = manifests::root(whole.algorithm, &tensors)?;
        whole.tensors = Some((tensors, root));
    }
    if is_taken {
        let lines: Vec<FileLine> = files.into_values().collect();
        let root = manifests::files_root(whole.algorithm, &lines)?;
        whole.files = Some((lines, root));
    }
    Ok(whole)
}
