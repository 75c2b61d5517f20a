//! What the files of DeepSpeed say about themselves: shapes, groups, padding, the number of ranks
//! (`deepspeed/runtime/engine.py`, `zero/stage_1_and_2.py`, `zero/stage3.py`).

use crate::bytes::{Cursor, ReadAt};
use crate::facts::Finding;
use crate::formats::pickle::lookup::{count, get, items};
use crate::formats::pickle::{self, Node, Pickle, Value};
use crate::formats::torch;

/// A parameter and its sizes.
pub(super) type Named = (String, Vec<u64>);

/// What a `model_states` file says.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The parameters that are trained, by optimizer group, in the order in which the groups lie.
    pub(super) groups: Vec<Vec<Named>>,
    /// The parameters that are not.
    pub(super) frozen: Vec<Named>,
    /// Names of one parameter: the other name, and the one under which it is kept.
    pub(super) shared: Vec<(String, String)>,
    pub(super) buffers: Vec<String>,
    /// Data-parallel ranks.
    pub(super) world: Option<u64>,
    pub(super) steps: Option<u64>,
}

/// What an `optim_states` file says.
#[derive(Debug, Default)]
pub(super) struct Optimizer {
    /// ZeRO's stage.
    pub(super) stage: Option<u64>,
    /// Ranks that a group is partitioned over.
    pub(super) partitions: Option<u64>,
    /// Elements that follow each parameter of each group, to align the next one (since DeepSpeed 0.19).
    pub(super) padding: Vec<Vec<u64>>,
}

/// Reads what a `model_states` file says of itself.
pub(super) fn model(source: &dyn ReadAt) -> Result<Model, Finding> {
    let (bytes, base) = torch::pickle_of(source)?;
    let (pickle, root) = pickle::read(&mut Cursor::new(&bytes, base))?;
    let of = |key: &str| get(&pickle, root, key);
    let groups = match of("param_shapes") {
        Some(shapes) => match pickle.sequence(shapes) {
            Some(groups) => groups.iter().map(|group| named(&pickle, *group)).collect(),
            // One group, before DeepSpeed 0.4.
            None => Some(named(&pickle, shapes)).filter(|group| !group.is_empty()).into_iter().collect(),
        },
        None => Vec::new(),
    };
    let pairs = of("shared_params").and_then(|shared| items(&pickle, shared)).unwrap_or_default();
    let text = |node: Node| pickle.str(node).map(str::to_owned);
    let buffers = of("buffer_names").and_then(|names| pickle.sequence(names)).unwrap_or_default();
    Ok(Model {
        groups,
        frozen: of("frozen_param_shapes").map(|shapes| named(&pickle, shapes)).unwrap_or_default(),
        shared: pairs.iter().filter_map(|&(other, kept)| Some((text(other)?, text(kept)?))).collect(),
        buffers: buffers.iter().filter_map(|name| text(*name)).collect(),
        world: of("dp_world_size").and_then(|number| count(&pickle, number)),
        steps: of("global_steps").and_then(|number| count(&pickle, number)),
    })
}

/// Reads what an `optim_states` file says of itself.
pub(super) fn optimizer(source: &dyn ReadAt) -> Result<Optimizer, Finding> {
    let (bytes, base) = torch::pickle_of(source)?;
    let (pickle, root) = pickle::read(&mut Cursor::new(&bytes, base))?;
    let state = get(&pickle, root, "optimizer_state_dict").unwrap_or(root);
    let of = |key: &str| get(&pickle, state, key);
    // A list has the number for each group; those of experts differ.
    let partitions = of("partition_count").and_then(|number| match pickle.sequence(number) {
        Some(list) => list.iter().filter_map(|number| count(&pickle, *number)).max(),
        None => count(&pickle, number),
    });
    let numbers = |list: &Node| {
        pickle.sequence(*list).unwrap_or_default().iter().map(|number| count(&pickle, *number).unwrap_or(0)).collect()
    };
    let padding = of("param_alignment_paddings").and_then(|groups| pickle.sequence(groups)).unwrap_or_default();
    Ok(Optimizer {
        stage: of("zero_stage").and_then(|stage| number(&pickle, stage)),
        partitions,
        padding: padding.iter().map(numbers).collect(),
    })
}

/// A number, or an enumeration's member that stands for one.
fn number(pickle: &Pickle<'_>, node: Node) -> Option<u64> {
    match pickle.get(node) {
        Value::Object(object) => count(pickle, *pickle.sequence(object.args)?.first()?),
        _ => count(pickle, node),
    }
}

fn named(pickle: &Pickle<'_>, node: Node) -> Vec<Named> {
    let entry = |&(name, shape): &(Node, Node)| Some((pickle.str(name)?.to_owned(), torch::numbers(pickle, shape)?));
    items(pickle, node).unwrap_or_default().iter().filter_map(entry).collect()
}
