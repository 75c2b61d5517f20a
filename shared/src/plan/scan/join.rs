//! Joins what threads saw, in the order of the pieces.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Scanned;
use super::cut::Cut;
use super::piece::Seen;
use crate::facts::Recipe;

/// What a piece showed: of the value it is part of, and of the stretch.
pub(super) type Part = (Option<Seen>, Option<crc32fast::Hasher>);

/// What has been seen so far.
pub(super) struct Join<'a> {
    cut: &'a Cut<'a>,
    state: Mutex<State>,
}

struct State {
    /// The next piece to be joined.
    next: usize,
    /// Pieces that are done before others that come first: never more than there are threads, about.
    early: BTreeMap<usize, Part>,
    values: Vec<Seen>,
    crcs: BTreeMap<usize, crc32fast::Hasher>,
}

impl<'a> Join<'a> {
    pub(super) fn new(cut: &'a Cut<'a>) -> Join<'a> {
        let values = vec![Seen::default(); cut.values];
        Join { cut, state: Mutex::new(State { next: 0, early: BTreeMap::new(), values, crcs: BTreeMap::new() }) }
    }

    /// Takes in what was seen of the piece of that number.
    pub(super) fn add(&self, number: usize, part: Part) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.early.insert(number, part);
        while let Some((seen, crc)) = state.early.remove(&state.next) {
            let (value, owner) = self.cut.piece(state.next).map_or((None, None), |(segment, _)| segment.owners());
            if let (Some(seen), Some(value)) = (seen, value.and_then(|value| state.values.get_mut(value))) {
                value.join(&seen);
            }
            if let (Some(crc), Some(owner)) = (crc, owner) {
                state.crcs.entry(owner).or_default().combine(&crc);
            }
            state.next = state.next.saturating_add(1);
        }
    }

    /// All that was asked for, in the order in which it was.
    pub(super) fn finish(self, recipes: &[&Recipe], stretches: usize) -> Scanned {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let value = |(place, recipe): (&usize, &&Recipe)| {
            state.values.get(*place).cloned().unwrap_or_default().finish(recipe.dtype)
        };
        let values = self.cut.askers.iter().zip(recipes).map(value).collect();
        let crcs = (0..stretches).map(|owner| state.crcs.remove(&owner).unwrap_or_default().finalize()).collect();
        Scanned { values, crcs }
    }
}
