//! Training state as documents show it: what a resumed run would find.

use ckpt::document::Training;
use ckpt::layouts::training::{Part, State};

/// The field of a training state.
pub(super) fn of(state: &State) -> Training {
    let has = |part: Part| state.parts.contains(&part);
    Training {
        form: state.form.map(|form| form.name.to_owned()),
        step: state.step,
        epoch: state.epoch,
        optimizer: has(Part::Optimizer),
        scheduler: has(Part::Scheduler),
        rng: has(Part::Rng),
        found: state.found.iter().cloned().collect(),
        values: state.values.clone(),
    }
}
