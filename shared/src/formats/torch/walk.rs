//! The walk through what a pickle holds: tensors by name, everything else as objects by path.
//!
//! It keeps its own stack, so that depth costs no thread stack, and a budget, because a small pickle can refer to
//! one part so often that its expansion has no end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::facts::{Finding, Id, Tensor, limits};
use crate::formats::pickle::{Node, Object, Pickle, Value};
use crate::formats::{Findings, Object as Kept, Piece};

use super::describe;
use super::storages::Storages;
use super::tensor::{Origin, Reason, View};

/// Objects that are kept; the rest is counted.
const OBJECTS: usize = 10_000;
/// A sequence of scalars longer than this is described instead of listed.
const LISTED: usize = 64;
/// Work and bytes of names a walk may cost: so many times the values of the pickle, and at least this much.
const BUDGET: (u64, u64) = (200, 16_000_000);

/// How a part is called within what holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// It stands for its holder and adds nothing to the path.
    Here,
    /// A fixed name.
    Name(&'static str),
    /// The key of a dictionary.
    At(Node),
    /// An index.
    Index(usize),
}

enum Task {
    Visit { node: Node, key: Key, base: usize },
    Leave(Node),
}

/// A walk and what it has found.
pub(super) struct Walk<'p, 'a> {
    pub pickle: &'p Pickle<'a>,
    pub storages: Storages,
    pub origin: Origin,
    pub tensors: Vec<Tensor>,
    pub objects: Vec<Kept>,
    pub objects_left_out: u64,
    pub findings: Findings,
    /// Bytes of numpy arrays, which may be referred to more than once.
    pub arrays: BTreeMap<Node, Arc<[u8]>>,
    /// The rank whose part of its tensors this file is, of how many.
    pub shard: Option<super::dtensor::Part>,
    /// Tensors of which this file holds one rank's part.
    pub pieces: Vec<Piece>,
    /// Tensors that the pickle refers to by a key of its own kind (the tar of 2016).
    pub keyed: HashMap<String, View>,
    path: String,
    tasks: Vec<Task>,
    /// Containers that the path leads through, by node.
    open: Vec<bool>,
    depth: usize,
    budget: u64,
}

impl<'p, 'a> Walk<'p, 'a> {
    pub(super) fn new(pickle: &'p Pickle<'a>, storages: Storages, origin: Origin) -> Walk<'p, 'a> {
        let values = u64::try_from(pickle.len()).unwrap_or(u64::MAX);
        Walk {
            pickle,
            storages,
            origin,
            tensors: Vec::new(),
            objects: Vec::new(),
            objects_left_out: 0,
            findings: Findings::default(),
            arrays: BTreeMap::new(),
            shard: None,
            pieces: Vec::new(),
            keyed: HashMap::new(),
            path: String::new(),
            tasks: Vec::new(),
            open: vec![false; pickle.len()],
            depth: 0,
            budget: values.saturating_mul(BUDGET.0).max(BUDGET.1),
        }
    }

    /// Walks through everything below `root`.
    pub(super) fn run(&mut self, root: Node) {
        self.tasks.push(Task::Visit { node: root, key: Key::Here, base: 0 });
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Leave(node) => {
                    self.mark(node, false);
                    self.depth = self.depth.saturating_sub(1);
                }
                Task::Visit { node, key, base } => {
                    self.enter_path(key, base);
                    let cost = u64::try_from(self.path.len()).unwrap_or(u64::MAX).saturating_add(1);
                    let Some(budget) = self.budget.checked_sub(cost) else {
                        let message = "the pickle refers to its own parts so often that it has no end";
                        self.findings.push(Finding::new(Id::TooLarge, message));
                        return;
                    };
                    self.budget = budget;
                    self.visit(node);
                }
            }
        }
    }

    /// The path to the value being visited.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn enter_path(&mut self, key: Key, base: usize) {
        self.path.truncate(base);
        let name = match key {
            Key::Here => return,
            Key::Name(name) => name.to_owned(),
            Key::At(node) => describe::key(self.pickle, node),
            Key::Index(index) => index.to_string(),
        };
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&name);
    }

    fn mark(&mut self, node: Node, open: bool) {
        if let Some(slot) = self.open.get_mut(node.index()) {
            *slot = open;
        }
    }

    fn visit(&mut self, node: Node) {
        let pickle = self.pickle;
        if let Value::Persistent(id) = pickle.get(node)
            && let Some(view) = self.keyed.get(&describe::key(pickle, *id)).cloned()
        {
            return self.stored(view).unwrap_or_else(|reason| self.refuse(0, reason));
        }
        if let Some(json) = describe::scalar(pickle, node) {
            return self.object(json);
        }
        if self.open.get(node.index()).copied().unwrap_or(true) {
            return self.object(Json::from("<reference to a container of itself>"));
        }
        match pickle.get(node) {
            Value::List(items) => self.sequence(node, items, "list"),
            Value::Tuple(items) => self.sequence(node, items, "tuple"),
            Value::Dict(items) if items.is_empty() => self.object(Json::from("<dict of 0>")),
            Value::Dict(items) => self.parts(node, items.iter().map(|&(key, value)| (Key::At(key), value)).collect()),
            Value::Object(object) => self.unbuilt(node, object),
            _ => {}
        }
    }

    fn sequence(&mut self, node: Node, items: &[Node], kind: &str) {
        let plain = |item: &Node| describe::scalar(self.pickle, *item).is_some();
        if items.is_empty() || (items.len() > LISTED && items.iter().all(plain)) {
            return self.object(Json::from(format!("<{kind} of {}>", items.len())));
        }
        self.parts(node, items.iter().enumerate().map(|(index, &item)| (Key::Index(index), item)).collect());
    }

    fn unbuilt(&mut self, node: Node, object: &'p Object) {
        if let Some(json) = describe::small(self.pickle, object) {
            return self.object(json);
        }
        let args = self.pickle.sequence(object.args).unwrap_or_default();
        let known = match describe::callee(self.pickle, object.class) {
            Some(function) => self.call(node, object, function, args),
            None => Ok(false),
        };
        match known {
            Ok(true) => {}
            Ok(false) => self.opaque(node, object, args),
            Err(reason) => self.refuse(object.offset, reason),
        }
    }

    /// Says why what should be a tensor is none.
    fn refuse(&mut self, offset: u64, (id, why): Reason) {
        let finding =
            Finding::new(id, format!("a tensor cannot be made out: {why}")).at(offset).tensor(self.path.as_str());
        self.findings.push(finding);
    }

    /// An object of a class that means nothing to us: its name, and its parts for the tensors in them.
    fn opaque(&mut self, node: Node, object: &'p Object, args: &'p [Node]) {
        self.object(Json::from(describe::class(self.pickle, object.class)));
        let mut parts = Vec::new();
        if !args.is_empty() {
            parts.push((Key::Name("@args"), object.args));
        }
        parts.extend(object.kwargs.map(|kwargs| (Key::Name("@kwargs"), kwargs)));
        parts.extend(object.state.map(|state| self.state(state)).unwrap_or_default());
        parts.extend(object.items.iter().map(|&(key, value)| (Key::At(key), value)));
        parts.extend(object.list.iter().enumerate().map(|(index, &item)| (Key::Index(index), item)));
        self.parts(node, parts);
    }

    /// The parts of an object's state: attributes under their names.
    pub(super) fn state(&self, state: Node) -> Vec<(Key, Node)> {
        match self.pickle.get(state) {
            Value::None => Vec::new(),
            Value::Dict(items) => self.attributes(items),
            // Attributes of the object, and of its slots.
            Value::Tuple(both) => match both.as_slice() {
                [own, slots]
                    if [own, slots]
                        .iter()
                        .all(|part| matches!(self.pickle.get(**part), Value::Dict(_) | Value::None)) =>
                {
                    let items = |part: &Node| match self.pickle.get(*part) {
                        Value::Dict(items) => self.attributes(items),
                        _ => Vec::new(),
                    };
                    [items(own), items(slots)].concat()
                }
                _ => vec![(Key::Name("@state"), state)],
            },
            _ => vec![(Key::Name("@state"), state)],
        }
    }

    /// Attributes of an object. Those of an `nn.Module` are named as its `state_dict` names them.
    fn attributes(&self, items: &[(Node, Node)]) -> Vec<(Key, Node)> {
        const TRANSPARENT: [&str; 3] = ["_parameters", "_buffers", "_modules"];
        let name = |key: Node| self.pickle.str(key).unwrap_or_default();
        let module = TRANSPARENT.iter().all(|wanted| items.iter().any(|&(key, _)| name(key) == *wanted));
        let part = |&(key, value): &(Node, Node)| match name(key) {
            own if module && TRANSPARENT.contains(&own) => self.has_items(value).then_some((Key::Here, value)),
            own if module && own.starts_with('_') => None,
            _ => Some((Key::At(key), value)),
        };
        items.iter().filter_map(part).collect()
    }

    fn has_items(&self, node: Node) -> bool {
        match self.pickle.get(node) {
            Value::Dict(items) => !items.is_empty(),
            Value::Object(object) => !object.items.is_empty(),
            _ => true,
        }
    }

    /// Queues the parts of a node, to be visited in this order.
    pub(super) fn parts(&mut self, node: Node, parts: Vec<(Key, Node)>) {
        if parts.is_empty() {
            return;
        }
        if self.depth >= limits::NESTING {
            let message = format!("the pickle nests deeper than {} levels at {}", limits::NESTING, self.path);
            return self.findings.push(Finding::new(Id::TooLarge, message));
        }
        self.depth = self.depth.saturating_add(1);
        self.mark(node, true);
        self.tasks.push(Task::Leave(node));
        let base = self.path.len();
        self.tasks.extend(parts.into_iter().rev().map(|(key, node)| Task::Visit { node, key, base }));
    }

    /// Keeps what is no tensor.
    pub(super) fn object(&mut self, value: Json) {
        if self.objects.len() < OBJECTS {
            self.objects.push(Kept { path: self.path.clone(), value });
        } else {
            self.objects_left_out = self.objects_left_out.saturating_add(1);
        }
    }
}

/// Classes and functions that are torch's, or as plain as data: modules whole, or single names.
const KNOWN: &[(&str, &[&str])] = &[
    ("collections", &[]),
    ("_codecs", &["encode"]),
    (
        "builtins",
        &["bytearray", "bytes", "complex", "dict", "frozenset", "int", "float", "list", "set", "slice", "str", "tuple"],
    ),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("pathlib", &["Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"]),
    ("pathlib._local", &["PosixPath", "PurePosixPath"]),
];

/// The names of a pickle's classes and functions: all of them, and those that are not torch's.
pub(super) fn classes(pickle: &Pickle<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut all = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for global in &pickle.globals {
        let module = global.module3();
        let torch = matches!(module.split('.').next(), Some("torch" | "__torch__"));
        let listed = |row: &&(&str, &[&str])| row.0 == module && (row.1.is_empty() || row.1.contains(&&*global.name));
        let name = format!("{}.{}", global.module, global.name);
        if !torch && KNOWN.iter().find(listed).is_none() {
            unknown.insert(name.clone());
        }
        all.insert(name);
    }
    (all, unknown)
}
