//! Takes the digests of a checkpoint: files, tensors, and what makes a root of them.

use anyhow::{Result, bail};

use super::lines::{self, FileLine, TensorLine};
use super::scope::Scope;
use crate::canonical::{self, Table};
use crate::digests::Algorithm;
use crate::facts::{FileId, Finding, Id, Progress, Recipe};
use crate::layouts::Checkpoint;
use crate::plan::digest::{self, Cache, Means, Whole};
use crate::plan::read::Reader;

/// Under which names, and of which bytes, tensors are digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// As the checkpoint's layout gives them.
    #[default]
    Stored,
    /// As the family's canonical table gives them.
    Canonical,
}

impl Names {
    /// The word used in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Canonical => "canonical",
        }
    }

    /// The names of that word.
    pub fn from_name(name: &str) -> Option<Names> {
        [Self::Stored, Self::Canonical].into_iter().find(|names| names.name() == name)
    }
}

/// What to take digests of.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// How.
    pub algorithm: Algorithm,
    /// Of tensors under which names, if of tensors at all.
    pub tensors: Option<Names>,
    /// Of files too.
    pub files: bool,
    /// Of which files.
    pub scope: Scope<'a>,
    /// Digests of earlier runs.
    pub cache: Option<&'a Cache>,
}

/// Digests of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digests {
    /// How they were made.
    pub algorithm: Algorithm,
    /// What the tensors' names are; `Stored` also where canonical ones were asked for and the family is not known.
    pub names: Names,
    /// Of tensors, sorted by name, and the root over them.
    pub tensors: Option<(Vec<TensorLine>, String)>,
    /// Of files, sorted by path, and the root over them.
    pub files: Option<(Vec<FileLine>, String)>,
    /// Tensors that are no part of the canonical model, sorted.
    pub left_out: Vec<String>,
    /// What one should know.
    pub notes: Vec<String>,
}

/// Takes digests, of files and stored tensors in one pass over the disk.
///
/// # Errors
/// The checkpoint's damage; a tensor without data; two tensors of one name; copies of a tensor that differ; those of
/// reading, among them a file that changed while it was read.
pub fn take(checkpoint: &Checkpoint, ask: &Ask<'_>, jobs: usize, progress: &Progress) -> Result<Digests> {
    if let Some(damage) = checkpoint.damage() {
        bail!(damage.clone());
    }
    let reader = Reader::new(&checkpoint.pool);
    let table = ask.tensors.map(|names| table(checkpoint, names, &reader, jobs, progress)).transpose()?;
    let files = if ask.files { ask.scope.files(checkpoint) } else { Vec::new() };
    let means = Means { algorithm: ask.algorithm, jobs, progress, cache: ask.cache };
    let (mut tensors, wholes) = digests(checkpoint, table.as_ref(), &files, &means)?;

    let mut taken = Digests { algorithm: ask.algorithm, ..Digests::default() };
    if let Some(mut table) = table {
        leave_head_out(&mut table, &mut tensors);
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        taken.names = if table.arch.is_some() { Names::Canonical } else { Names::Stored };
        if ask.tensors == Some(Names::Stored) {
            taken.names = Names::Stored;
        } else if table.arch.is_none() && table.notes.is_empty() {
            table.notes.push("the family is not known, so the names are those stored".to_owned());
        }
        taken.left_out = table.left_out;
        taken.notes = table.notes;
        let root = lines::root(ask.algorithm, &tensors)?;
        taken.tensors = Some((tensors, root));
    }
    if ask.files {
        let name = |file: FileId| checkpoint.pool.name(file).to_owned();
        let line =
            |(file, whole): (&FileId, Whole)| FileLine { path: name(*file), size: whole.size, digest: whole.digest };
        let lines: Vec<FileLine> = files.iter().zip(wholes).map(line).collect();
        let root = lines::files_root(ask.algorithm, &lines)?;
        taken.files = Some((lines, root));
    }
    Ok(taken)
}

/// The tensors to digest. Every one has data and a name of its own.
pub(super) fn table(
    checkpoint: &Checkpoint,
    names: Names,
    reader: &Reader<'_>,
    jobs: usize,
    progress: &Progress,
) -> Result<Table> {
    let table = match names {
        Names::Canonical => canonical::table(checkpoint, reader, jobs, progress)?,
        Names::Stored => {
            // A copy that counts for nothing may not differ unseen.
            canonical::replicas(checkpoint, reader, jobs, progress)?;
            let tensors = checkpoint.tensors.clone();
            Table { arch: None, tensors, left_out: Vec::new(), repeated: 1, notes: Vec::new() }
        }
    };
    let mut names: Vec<&str> = table.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(name) = names.windows(2).find_map(|pair| if let [a, b] = pair { (a == b).then_some(*a) } else { None })
    {
        bail!(Finding::new(Id::TensorDuplicate, "two tensors end with this name").tensor(name));
    }
    let absent = table.tensors.iter().find_map(|tensor| Some((tensor, tensor.recipe.absent()?)));
    if let Some((tensor, why)) = absent {
        let finding = Finding::new(Id::TensorAbsent, format!("the tensor has no data: {why}"));
        bail!(finding.tensor(tensor.name.clone()));
    }
    Ok(table)
}

/// Digests of the table's tensors, in its order, and of files.
pub(super) fn digests(
    checkpoint: &Checkpoint,
    table: Option<&Table>,
    files: &[FileId],
    means: &Means<'_>,
) -> Result<(Vec<TensorLine>, Vec<Whole>)> {
    let tensors = table.map_or(&[][..], |table| table.tensors.as_slice());
    let recipes: Vec<&Recipe> = tensors.iter().map(|tensor| &tensor.recipe).collect();
    let reader = Reader::new(&checkpoint.pool);
    let taken = digest::take_kept(&reader, files, &recipes, means)?;
    for (file, whole) in files.iter().zip(&taken.files) {
        // The listing is older than the first read.
        let listed = checkpoint.files.get(file.0).map(|entry| entry.size);
        if listed.is_some_and(|listed| listed != whole.size) {
            let finding = Finding::new(Id::FileChanged, "the file changed before it was read");
            bail!(finding.in_file(checkpoint.pool.name(*file)));
        }
    }
    let line = |(tensor, digest): (&crate::facts::Tensor, String)| TensorLine {
        name: tensor.name.clone(),
        dtype: tensor.recipe.dtype.to_string(),
        shape: tensor.recipe.shape.clone(),
        digest,
    };
    Ok((tensors.iter().zip(taken.values).map(line).collect(), taken.files))
}

/// Leaves out an output head that is the embedding: equal dtype, shape and digest.
pub(super) fn leave_head_out(table: &mut Table, lines: &mut Vec<TensorLine>) {
    let digest = |name: &str| lines.iter().find(|line| line.name == name).map(|line| &line.digest);
    let Some((embedding, head)) = table.head() else { return };
    if digest(&embedding.name) != digest(&head.name) {
        return;
    }
    let name = head.name.clone();
    lines.retain(|line| line.name != name);
    table.leave_out(&name);
}
