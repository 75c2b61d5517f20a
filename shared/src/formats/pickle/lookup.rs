//! Looks things up in a pickle that a training library wrote for itself: dictionaries and attributes by name.

use super::{Node, Pickle, Value};

/// The items of a dictionary or an `OrderedDict`, in their order.
pub fn items<'p>(pickle: &'p Pickle<'_>, node: Node) -> Option<&'p [(Node, Node)]> {
    match pickle.get(node) {
        Value::Dict(items) => Some(items),
        Value::Object(object) => Some(&object.items),
        _ => None,
    }
}

/// The value under a key of a dictionary; the last one where a key comes twice.
pub fn get(pickle: &Pickle<'_>, node: Node, key: &str) -> Option<Node> {
    items(pickle, node)?.iter().rev().find(|item| pickle.str(item.0) == Some(key)).map(|item| item.1)
}

/// An attribute of an object, as its `BUILD` set it.
pub fn attribute(pickle: &Pickle<'_>, node: Node, name: &str) -> Option<Node> {
    of_state(pickle, pickle.object(node)?.state?, name)
}

/// An attribute within a state: a dictionary, or one of the attributes and one of the slots.
pub fn of_state(pickle: &Pickle<'_>, state: Node, name: &str) -> Option<Node> {
    match pickle.get(state) {
        Value::Tuple(both) => both.iter().find_map(|part| get(pickle, *part, name)),
        _ => get(pickle, state, name),
    }
}

/// An integer that counts something.
pub fn count(pickle: &Pickle<'_>, node: Node) -> Option<u64> {
    u64::try_from(pickle.int(node)?).ok()
}
