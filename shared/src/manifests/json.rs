//! Reads a document of ckpt-hash as a manifest.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::lines::{self, FileLine, TensorLine};
use super::read::{FileEntry, Manifest, Tensors};
use super::take::Names;
use crate::digests::Algorithm;
use crate::facts::{Finding, Id};

/// The part of a document that a manifest needs.
#[derive(Deserialize)]
struct Document {
    schema: String,
    path: String,
    hash: Option<Hash>,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    names: String,
    root: Option<String>,
    tensors: Option<Vec<Tensor>>,
    files_root: Option<String>,
    files: Option<Vec<File>>,
    #[serde(default)]
    excluded: Vec<String>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    digest: String,
}

#[derive(Deserialize)]
struct File {
    path: String,
    size: u64,
    digest: String,
}

/// The manifest of one or several documents; of several, the one about `path` counts.
///
/// # Errors
/// A finding if this is not such a document, or does not say which of several counts.
pub(super) fn read(text: &[u8], path: Option<&Path>, manifest: &str) -> Result<Manifest> {
    let invalid = |message: String| Finding::new(Id::ManifestInvalid, message).in_file(manifest);
    let mut documents = Vec::new();
    for document in serde_json::Deserializer::from_slice(text).into_iter::<Document>() {
        let document = document.map_err(|error| invalid(format!("the manifest is not a document: {error}")))?;
        if document.schema != "ckpt/1" {
            bail!(invalid(format!("the manifest has the unknown schema {:?}", document.schema)));
        }
        documents.push(document);
    }
    if documents.len() > 1 {
        documents.retain(|document| Some(Path::new(&document.path)) == path);
    }
    let hash = match <[Document; 1]>::try_from(documents) {
        Ok([document]) => document.hash,
        Err(documents) if documents.is_empty() => {
            bail!(invalid("the manifest speaks of several paths and not of this one".to_owned()))
        }
        Err(_) => bail!(invalid("the manifest speaks of this path more than once".to_owned())),
    };
    let hash = hash.ok_or_else(|| invalid("the manifest's document holds no digests".to_owned()))?;
    made(hash).map_err(|why| invalid(why).into())
}

fn made(hash: Hash) -> Result<Manifest, String> {
    let algorithm = Algorithm::from_name(&hash.algorithm)
        .ok_or_else(|| format!("the manifest is made with {:?}, which is not known here", hash.algorithm))?;
    let names = Names::from_name(&hash.names).ok_or_else(|| format!("the manifest's names are {:?}", hash.names))?;
    let digests = hash.tensors.iter().flatten().map(|tensor| &tensor.digest);
    let digests = digests.chain(hash.files.iter().flatten().map(|file| &file.digest));
    if let Some(digest) = digests.chain(&hash.root).chain(&hash.files_root).find(|digest| !is_digest(digest, algorithm))
    {
        return Err(format!("{digest:?} in the manifest is no {} digest", algorithm.name()));
    }
    let tensors = hash.tensors.map(|tensors| {
        let line = |tensor: Tensor| TensorLine {
            name: tensor.name,
            dtype: tensor.dtype,
            shape: tensor.shape,
            digest: tensor.digest,
        };
        tensors.into_iter().map(line).collect::<Vec<_>>()
    });
    let files = hash.files.map(|files| {
        let line = |file: File| FileLine { path: file.path, size: file.size, digest: file.digest };
        files.into_iter().map(line).collect::<Vec<_>>()
    });
    // A list that was cut, narrowed or edited no longer makes its root.
    let made = |root: Result<String>| root.map_err(|error| error.to_string());
    if let (Some(tensors), Some(root)) = (&tensors, &hash.root)
        && made(lines::root(algorithm, tensors))? != *root
    {
        return Err("the manifest's tensors do not make its root: the list was narrowed or changed".to_owned());
    }
    if let (Some(files), Some(root)) = (&files, &hash.files_root)
        && made(lines::files_root(algorithm, files))? != *root
    {
        return Err("the manifest's files do not make its root: the list was narrowed or changed".to_owned());
    }
    if hash.root.is_none() && hash.files_root.is_none() {
        return Err("the manifest holds neither root nor files_root".to_owned());
    }
    let entry = |line: FileLine| FileEntry {
        path: line.path,
        size: Some(line.size),
        algorithm,
        digest: line.digest,
        pieces: Vec::new(),
    };
    Ok(Manifest {
        tensors: hash.root.map(|root| Tensors { algorithm, names, root, lines: tensors }),
        files: files.filter(|_| hash.files_root.is_some()).map(|files| files.into_iter().map(entry).collect()),
        files_root: hash.files_root.map(|root| (algorithm, root)),
        excluded: hash.excluded,
        ..Manifest::default()
    })
}

fn is_digest(text: &str, algorithm: Algorithm) -> bool {
    text.len() == algorithm.digits() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
