//! What is converted: one checkpoint, or all models of a tree with what lies beside them.

use std::path::Path;

use anyhow::Result;
use ckpt::cli::{self, Context, Refusal};
use ckpt::facts::{Finding, Id, Progress, Recipe};
use ckpt::layouts::Checkpoint;
use ckpt::layouts::inside::{self, Inside, Kind as Several};
use ckpt::plan::blocks::{BLOCK, Block};
use ckpt::plan::read::Reader;

use crate::carry;
use crate::cast;
use crate::draft::Draft;
use crate::kinds::Kind;
use crate::options::{Options, refuse};

/// A checkpoint that is converted: the path itself, or a model of the tree there.
pub(crate) struct Model {
    /// Its path below the tree's; empty for the path itself.
    pub(crate) name: String,
    /// Where its files go, below the target; empty for the target itself.
    pub(crate) folder: String,
    /// The one file that is made of a lone file of a tree.
    pub(crate) one_file: Option<String>,
    pub(crate) checkpoint: Checkpoint,
    /// Names of tensors that lie outside the model, beside what wraps it.
    pub(crate) outside: Vec<String>,
    /// Some of its weights were packed and are not any more.
    pub(crate) unpacked: bool,
}

/// Everything at a path.
pub(crate) struct Whole {
    pub(crate) models: Vec<Model>,
    /// Of a tree, what belongs to none of its models.
    pub(crate) rest: Option<Draft>,
}

/// Opens the source and takes out what is not wanted of it.
///
/// # Errors
/// For a path that cannot be read or is damaged, one with several checkpoints that are no tree, and a source of which
/// nothing is left; of a tree the first model that cannot be read, by its name.
pub(crate) fn open(options: &Options, path: &Path, context: &Context) -> Result<Whole> {
    match inside::of(path).filter(|_| context.from.is_none()) {
        Some(inside) if matches!(inside.kind, Several::Tree) => tree(options, &inside, context),
        inside => {
            let model = one(options, path, "", inside, context)?;
            if model.checkpoint.tensors.is_empty() {
                return nothing_left();
            }
            Ok(Whole { models: vec![model], rest: None })
        }
    }
}

/// Every model of a tree, and the files beside them.
fn tree(options: &Options, inside: &Inside, context: &Context) -> Result<Whole> {
    if !matches!(options.kind(), Kind::Safetensors | Kind::Torch) || options.merge_adapter.is_some() {
        return several(inside);
    }
    let beside = inside.rest()?;
    if let Some(damage) = beside.damage() {
        return Err(damage.clone().into());
    }
    let mut rest = Draft::default();
    carry::beside_models(&beside, &mut rest);
    let mut models: Vec<Model> = Vec::new();
    for (name, path) in inside.names().iter().zip(inside.paths()) {
        let deeper = inside::of(&path);
        let mut model = one(options, &path, name, deeper, context).map_err(|error| placed(error, name))?;
        if model.checkpoint.tensors.is_empty() {
            rest.lost.push(format!("{name}: a model of which every tensor is left out"));
            continue;
        }
        name.clone_into(&mut model.folder);
        if path.is_file() {
            let file = file_name(name, options.kind());
            if models.iter().any(|other| other.one_file.as_ref() == Some(&file)) {
                return refuse(
                    format!("{name}: two files would both become {file}"),
                    "give another name to one of them",
                );
            }
            model.folder.clear();
            model.one_file = Some(file);
        }
        models.push(model);
    }
    if models.is_empty() {
        return nothing_left();
    }
    Ok(Whole { models, rest: Some(rest) })
}

/// What a lone file of a tree is called when it is converted.
fn file_name(name: &str, kind: Kind) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    match kind {
        Kind::Torch if ["pth", "pt", "bin", "ckpt"].contains(&ending) => name.to_owned(),
        Kind::Torch => format!("{stem}.bin"),
        _ => format!("{stem}.safetensors"),
    }
}

/// Says which model of a tree an error is about.
pub(crate) fn placed(error: anyhow::Error, name: &str) -> anyhow::Error {
    if name.is_empty() {
        return error;
    }
    if let Some(finding) = cli::finding(&error) {
        return in_model(finding.clone(), name).into();
    }
    match error.downcast_ref::<Refusal>() {
        Some(refusal) => Refusal { message: format!("{name}: {}", refusal.message), ..refusal.clone() }.into(),
        None => error.context(name.to_owned()),
    }
}

/// A finding about a model of a tree, its file told from the tree.
pub(crate) fn in_model(mut finding: Finding, name: &str) -> Finding {
    if !name.is_empty() {
        // A lone file is its own model.
        let file = finding.file.take().filter(|file| file != name);
        finding.file = Some(file.map_or_else(|| name.to_owned(), |file| format!("{name}/{file}")));
    }
    finding
}

/// Says no to several checkpoints at once.
fn several<T>(inside: &Inside) -> Result<T> {
    let parts = inside.kind.parts();
    let message = format!("the path holds several {parts}, and one at a time is converted");
    let whole = match inside.kind {
        Several::Tree => "`--to safetensors` and `--to torch` take the whole tree as it is; else ",
        _ => "",
    };
    refuse(message, format!("{whole}give one of the {parts}: {}", inside.listed()))
}

fn nothing_left<T>() -> Result<T> {
    refuse("no tensor is left to convert", "look at the names with `ckpt-inspect --tensors`")
}

/// One checkpoint, and what of it is wanted. `name` is its path in a tree.
fn one(options: &Options, path: &Path, name: &str, inside: Option<Inside>, context: &Context) -> Result<Model> {
    match inside {
        None => read(options, path, name, context),
        // The folder of DeepSpeed's steps says which of them is the newest.
        Some(inside) if matches!(inside.kind, Several::Run(_)) => read(options, path, name, context).or_else(|error| {
            let nothing = cli::finding(&error).is_some_and(|finding| finding.id == Id::NotACheckpoint);
            if nothing { several(&inside) } else { Err(error) }
        }),
        Some(inside) => several(&inside),
    }
}

/// Opens a checkpoint and takes out what is not wanted of it.
fn read(options: &Options, path: &Path, name: &str, context: &Context) -> Result<Model> {
    let mut checkpoint = ckpt::layouts::open_weights(path, context.from, context.weights, context.jobs.get())?;
    // An unfinished small file of an earlier `--in-place` is cleared by this one.
    let ours = |finding: &Finding| options.in_place && finding.id == Id::PartialLeft && finding.file.is_some();
    checkpoint.findings.retain(|finding| !ours(finding));
    if let Some(damage) = checkpoint.damage() {
        return Err(damage.clone().into());
    }
    let selection = options.selection();
    // In a tree a tensor is meant by its own name as well as by that of its model before it.
    let wanted = |tensor: &str| match name {
        "" => selection.admits(&[tensor]),
        name => selection.admits(&[tensor, &format!("{name}/{tensor}")]),
    };
    // An adapter is held against the whole base, whatever of it is wanted.
    let merges = options.merge_adapter.is_some();
    checkpoint.tensors.retain(|tensor| merges || wanted(&tensor.name));
    checkpoint.replicas.retain(|replica| wanted(&replica.tensor));
    let mut unpacked = false;
    // A model of which nothing is wanted may be packed in whatever way.
    if let Some(dtype) = options.dequantize.filter(|_| !checkpoint.tensors.is_empty()) {
        let config = checkpoint.config.as_ref().map(|config| &config.value);
        let reader = Reader::new(&checkpoint.pool);
        // A finding of a file that cannot be read goes on as one.
        let look = |recipe: &Recipe| {
            let mut bytes = Vec::new();
            let keep = |_: &Block, block: &[u8]| {
                bytes.extend_from_slice(block);
                Ok(())
            };
            let read = reader.stream(recipe, BLOCK, &Progress::default(), keep);
            read.map_err(|error| {
                let found = error.downcast::<Finding>();
                found.unwrap_or_else(|error| Finding::new(Id::FileUnreadable, error.to_string()))
            })?;
            Ok(Some(bytes))
        };
        let plain = ckpt::quantized::dequantized(&checkpoint.tensors, config, &look)?;
        // Every scheme has scales, and they are gone.
        unpacked = plain.len() < checkpoint.tensors.len();
        checkpoint.tensors = plain.into_iter().map(|tensor| cast::unpacked(tensor, dtype)).collect();
    }
    // A plain container keeps the names as they are.
    let plain = matches!(options.kind(), Kind::Safetensors | Kind::Torch);
    let outside = if plain { Vec::new() } else { ckpt::canonical::unwrap(&mut checkpoint) };
    if let Some(adapter) = &options.merge_adapter {
        crate::merge::merge(options, &mut checkpoint, adapter, context)?;
        checkpoint.tensors.retain(|tensor| wanted(&tensor.name));
    }
    let name = name.to_owned();
    Ok(Model { name, folder: String::new(), one_file: None, checkpoint, outside, unpacked })
}
