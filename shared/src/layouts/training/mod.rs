//! Training state: what a resumed run would find, in files beside the weights or under keys among them.

mod forms;
mod parts;
pub mod run;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Checkpoint, Layout};
use crate::bytes::FileSource;
use crate::facts::{FileId, Finding, limits};
use crate::formats::{self, Container, Object};

pub use forms::{FORMS, Form, Need};
pub use parts::{Keys, Part, file_part, first};

/// What a checkpoint keeps of its training.
#[derive(Debug, Clone)]
pub struct State {
    /// The form it is saved in.
    pub form: Option<&'static Form>,
    /// Optimizer steps done.
    pub step: Option<u64>,
    /// Epochs done.
    pub epoch: Option<f64>,
    /// The parts that are there.
    pub parts: BTreeSet<Part>,
    /// Files and keys that hold them.
    pub found: BTreeSet<String>,
    /// Other scalars, by their path, sorted.
    pub values: Map<String, Value>,
}

/// The file that HF Trainer writes last.
pub const TRAINER_STATE: &str = "trainer_state.json";

/// The file of torchtune that holds everything but weights.
const RECIPE_STATE: &str = "recipe_state.pt";

const STEPS: &[&str] = &["global_step", "global_steps", "step", "iteration", "iter", "num_updates", "steps_run"];
const EPOCHS: &[&str] = &["epoch", "epochs_run", "current_epoch"];

/// Whether a path is that of a number that says how far a run is, on top of a dictionary.
pub fn is_progress(path: &str) -> bool {
    STEPS.contains(&path) || EPOCHS.contains(&path)
}

/// Scalars that are told beside step and epoch, and the longest text among them: enough for the settings of a run,
/// too few for its logs.
const VALUES: usize = 100;
const TEXT: usize = 200;

/// The training state of a checkpoint, if there is any.
pub fn of(checkpoint: &Checkpoint) -> Option<State> {
    let keys = Keys::of(checkpoint);
    let mut state = State {
        form: None,
        step: None,
        epoch: None,
        parts: BTreeSet::new(),
        found: BTreeSet::new(),
        values: Map::new(),
    };
    let names = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str());
    let objects = || checkpoint.shards.iter().flat_map(|shard| &shard.objects);
    state.keys(&keys, names.chain(objects().map(|object| object.path.as_str())));
    let any_key = !state.parts.is_empty();
    if checkpoint.layout != Layout::File {
        for (place, entry) in checkpoint.files.iter().enumerate() {
            let Some(part) = file_part(&entry.name) else { continue };
            state.found.insert(entry.name.clone());
            if part != Part::Progress {
                state.parts.insert(part);
            }
            if entry.name.ends_with(RECIPE_STATE)
                && let Ok(recipe) = read(checkpoint, FileId(place))
            {
                let paths = recipe.tensors.iter().map(|tensor| tensor.name.as_str());
                state.keys(&Keys::among(recipe.objects.iter()), paths);
                state.scalars(&recipe.objects);
            }
        }
    }
    for shard in &checkpoint.shards {
        state.scalars(&shard.objects);
    }
    state.form = Form::of(checkpoint, any_key);
    if state.form.is_none() {
        state.beside(checkpoint);
    }
    if let Some(Value::Object(said)) = trainer_state(checkpoint) {
        state.step = said.get("global_step").and_then(Value::as_u64).or(state.step);
        state.epoch = said.get("epoch").and_then(Value::as_f64).or(state.epoch);
        for (key, value) in said {
            state.keep(&key, &value);
        }
    }
    if state.step.is_some() || state.epoch.is_some() {
        state.parts.insert(Part::Progress);
    }
    state.values.sort_keys();
    (!state.found.is_empty()).then_some(state)
}

/// Reads the headers of a file of training state.
///
/// # Errors
/// A finding, without the file's name, if it is damaged at its root or of a format that is not read.
pub fn read(checkpoint: &Checkpoint, file: FileId) -> Result<Container, Finding> {
    let source = checkpoint.pool.get(file).map_err(|error| formats::detect::unreadable(&error))?;
    formats::open(&*source, file).map(|(_, container)| container)
}

impl State {
    /// Takes note of the parts that names belong to. Neighbours nearly always share their first key.
    fn keys<'a>(&mut self, keys: &Keys, paths: impl Iterator<Item = &'a str>) {
        let mut last = "";
        for path in paths {
            let key = first(path);
            if key == last {
                continue;
            }
            last = key;
            if let Some(part) = keys.part(path) {
                self.parts.insert(part);
                self.found.insert(key.to_owned());
            }
        }
    }

    /// Takes step and epoch from the top of a dictionary, and other scalars as they are.
    fn scalars(&mut self, objects: &[Object]) {
        for object in objects {
            let path = object.path.as_str();
            if STEPS.contains(&path) && object.value.is_u64() {
                self.step = self.step.max(object.value.as_u64());
                self.found.insert(path.to_owned());
            } else if EPOCHS.contains(&path) && object.value.is_number() {
                self.epoch = object.value.as_f64().or(self.epoch);
                self.found.insert(path.to_owned());
            } else if !path.contains("state.") && !path.contains(".params") {
                // What an optimizer keeps of each parameter, and the parameters' numbers, would drown the rest.
                self.keep(path, &object.value);
            }
        }
    }

    /// torchtune keeps one recipe state beside the epochs, for the newest of them: it counts the epochs that were run.
    fn beside(&mut self, checkpoint: &Checkpoint) {
        const BESIDE: &str = "../recipe_state/recipe_state.pt";
        let name = checkpoint.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let epoch = name.filter(|name| name.starts_with("epoch_")).and_then(|name| run::number(&name));
        let (Some(epoch), Some(path)) = (epoch, checkpoint.root_file(BESIDE)) else { return };
        let source = FileSource::open(&path).map_err(|error| formats::detect::unreadable(&error));
        let Ok((_, recipe)) = source.and_then(|source| formats::open(&source, FileId(checkpoint.files.len()))) else {
            return;
        };
        let mut own = State { values: Map::new(), found: BTreeSet::new(), parts: BTreeSet::new(), ..self.clone() };
        own.keys(&Keys::among(recipe.objects.iter()), recipe.tensors.iter().map(|tensor| tensor.name.as_str()));
        own.scalars(&recipe.objects);
        // That of another epoch says nothing of this one.
        let run = recipe.objects.iter().find(|object| object.path == "epochs_run").and_then(|run| run.value.as_u64());
        if run == epoch.checked_add(1) {
            own.found = BTreeSet::from([BESIDE.to_owned()]);
            own.form = FORMS.iter().find(|form| form.name == "torchtune");
            *self = own;
        }
    }

    /// Keeps a scalar, as long as there are not too many.
    fn keep(&mut self, path: &str, value: &Value) {
        let short = match value {
            // What is no scalar is described in angle brackets.
            Value::String(text) => text.len() <= TEXT && !text.starts_with('<'),
            Value::Bool(_) | Value::Number(_) => true,
            _ => false,
        };
        if short && self.values.len() < VALUES {
            self.values.insert(path.to_owned(), value.clone());
        }
    }
}

fn trainer_state(checkpoint: &Checkpoint) -> Option<Value> {
    if checkpoint.layout == Layout::File {
        return None;
    }
    let text = checkpoint.small_file(TRAINER_STATE, limits::JSON).ok()??;
    formats::json::parse(&text).ok()
}
