//! How many values a pickle's containers stand for if those that are held several times are counted each time.

use crate::formats::pickle::{Node, Pickle, Value};

/// Whether some container unfolds to more than `most` values. Objects count as one: their graphs are as tangled as a
/// program likes, and nothing walks through them unasked.
pub(super) fn over(pickle: &Pickle<'_>, most: u64) -> bool {
    let mut weights = vec![0u64; pickle.len()];
    let mut stack = Vec::new();
    for (node, value) in pickle.nodes() {
        if matches!(value, Value::List(_) | Value::Tuple(_) | Value::Set(_) | Value::Dict(_))
            && weigh(pickle, node, &mut weights, &mut stack) > most
        {
            return true;
        }
    }
    false
}

/// The weight of a node: one, and those of what it holds. A container within itself counts as one there.
fn weigh(pickle: &Pickle<'_>, root: Node, weights: &mut [u64], stack: &mut Vec<(Node, bool)>) -> u64 {
    stack.push((root, false));
    while let Some((node, held_are_known)) = stack.pop() {
        let weight = |weights: &[u64], node: Node| weights.get(node.index()).copied().unwrap_or(1);
        if held_are_known {
            let mut sum = 1u64;
            held(pickle, node, |child| sum = sum.saturating_add(weight(weights, child)));
            set(weights, node, sum);
        } else if weight(weights, node) == 0 {
            set(weights, node, 1);
            stack.push((node, true));
            held(pickle, node, |child| {
                if weight(weights, child) == 0 {
                    stack.push((child, false));
                }
            });
        }
    }
    weights.get(root.index()).copied().unwrap_or(1)
}

fn set(weights: &mut [u64], node: Node, weight: u64) {
    if let Some(slot) = weights.get_mut(node.index()) {
        *slot = weight;
    }
}

/// Calls `with` for everything that a container holds.
fn held(pickle: &Pickle<'_>, node: Node, mut with: impl FnMut(Node)) {
    match pickle.get(node) {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().for_each(|item| with(*item)),
        Value::Dict(items) => items.iter().for_each(|(key, value)| {
            with(*key);
            with(*value);
        }),
        _ => {}
    }
}
