//! What one pickle would do when it is loaded: seen by a machine that builds plain data and calls nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::Cursor;
use crate::facts::{Finding, Id, limits};
use crate::formats::pickle::{Global, Machine, Made, Node, Object, Pickle, Touch, Value};

use super::policy::{self, Use, Verdict};

/// What was seen of one pickle.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What it names or does that can run code, with the first place of each and why it is denied.
    pub dangers: BTreeMap<String, (u64, &'static str)>,
    /// Names that are not known, with the first place of each.
    pub unknown: BTreeMap<String, u64>,
    /// Places at which its frames and its opcodes disagree.
    pub breaks: Vec<u64>,
    /// It unfolds to more than a machine can hold: where, and how.
    pub bomb: Option<Finding>,
    /// Something is made or called.
    pub acts: bool,
    /// Something is named.
    pub names: bool,
    /// Bytes and texts that may be pickles of their own.
    pub inner: Vec<Vec<u8>>,
    /// Byte after its `STOP`, or after what was read of it.
    pub end: u64,
    /// What kept it from getting to its `STOP`.
    pub stop: Option<Stop>,
}

/// Why a pickle was not read to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The buffer ended.
    Short(Finding),
    /// An opcode that no unpickler goes on after.
    Broken(Finding),
}

impl Stop {
    /// What to say of it.
    pub(super) fn finding(&self) -> &Finding {
        match self {
            Stop::Short(finding) | Stop::Broken(finding) => finding,
        }
    }
}

/// Calls of what takes that much are bombs: a terabyte of zeros in twenty bytes.
const ALLOCATION: i64 = 1 << 34;

/// Bytes and texts of one pickle that are looked into, and how far.
const INNER: usize = 1000;
/// See [`INNER`].
const INNER_BYTES: usize = 1 << 20;

/// Names of attributes that an unpickler looks up on an instance and calls, or that change what the instance is.
const HOOKS: &[&str] = &["__setstate__", "__class__", "__reduce__", "__reduce_ex__", "append", "extend", "add"];

/// Looks at the pickle with which a buffer begins; byte `offset` of the file is its first.
pub(super) fn look(bytes: &[u8], offset: u64) -> Seen {
    let mut cursor = Cursor::new(bytes, offset);
    let mut machine = Machine::lenient();
    let ran = machine.run(&mut cursor);
    let short = machine.is_short();
    let pickle = machine.pickle();
    let names = |global: &Global<'_>| policy::is_name(&global.module, &global.name);
    let mut seen =
        Seen { names: pickle.globals.iter().any(names), breaks: pickle.frame_breaks.clone(), ..Seen::default() };
    let members = members(pickle);
    for (node, value) in pickle.nodes() {
        match value {
            Value::Object(object) => seen.object(pickle, object),
            Value::Bytes(bytes) => seen.inner(bytes),
            Value::Str(text) => seen.inner(text.as_bytes()),
            Value::Global(_) if !members.contains(&node) => {
                if let Some(global) = pickle.global(node) {
                    seen.name(global, Use::Named, global.offset);
                }
            }
            _ => {}
        }
    }
    for touch in &pickle.touches {
        seen.touch(pickle, touch);
    }
    seen.end = cursor.offset();
    seen.stop = match ran {
        Ok(_) => None,
        Err(finding) if finding.id == Id::TooLarge => {
            seen.bomb = Some(finding.clone());
            Some(Stop::Broken(finding))
        }
        Err(finding) if short => Some(Stop::Short(finding)),
        Err(finding) => Some(Stop::Broken(finding)),
    };
    if seen.bomb.is_none() {
        let most = limits::PICKLE_UNFOLDED.max(u64::try_from(bytes.len()).unwrap_or(0).saturating_mul(16));
        seen.bomb = super::unfold::over(pickle, most).then(|| {
            Finding::new(
                Id::PickleBomb,
                "the pickle's containers hold each other so often that they unfold without end",
            )
            .at(offset)
            .needed(format!("at most {most} values"), "more")
        });
    }
    seen
}

/// How a pickle begins that stands in bytes or in text: as it is, in hexadecimal, in base64.
fn may_hold_pickle(bytes: &[u8]) -> bool {
    const TEXTS: &[&[u8]] =
        &[b"8002", b"8003", b"8004", b"8005", b"gAI", b"gAJ", b"gAN", b"gAR", b"gAS", b"gAU", b"gAV"];
    bytes.len() >= 8 && (matches!(bytes, [0x80, 0..=5, ..]) || TEXTS.iter().any(|start| bytes.starts_with(start)))
        || bytes.len() >= 8 && matches!(bytes, [b'c' | b'(', ..]) && bytes.contains(&b'\n')
}

impl Seen {
    fn danger(&mut self, what: String, offset: u64, why: &'static str) {
        let place = self.dangers.entry(what).or_insert((offset, why));
        if offset < place.0 {
            place.0 = offset;
        }
    }

    /// A name, and what is done with it.
    fn name(&mut self, global: &Global<'_>, done: Use, offset: u64) {
        let name = format!("{}.{}", global.module, global.name);
        match policy::judge(global.module3(), &global.name, done) {
            Verdict::Data => {}
            Verdict::Unknown => {
                self.unknown.entry(name).or_insert(offset);
            }
            Verdict::Danger(why) => self.danger(name, global.offset, why),
        }
    }

    /// Keeps what may be a pickle of its own.
    fn inner(&mut self, bytes: &[u8]) {
        if self.inner.len() < INNER && may_hold_pickle(bytes) {
            self.inner.push(bytes.get(..bytes.len().min(INNER_BYTES)).unwrap_or_default().to_vec());
        }
    }

    /// What is made or called.
    fn object(&mut self, pickle: &Pickle<'_>, object: &Object) {
        self.acts |= named(pickle, object.class).is_none_or(|global| policy::is_name(&global.module, &global.name));
        let done = match object.made {
            Made::NewObj | Made::NewObjEx => Use::Made,
            Made::Reduce | Made::Obj | Made::Inst => Use::Called,
        };
        self.callee(pickle, object.class, done, object.offset, Some(object));
        if let Some(state) = object.state {
            self.state(pickle, state, object.built.unwrap_or(object.offset));
        }
    }

    /// Something that is called or made, with its arguments where they are known.
    fn callee(&mut self, pickle: &Pickle<'_>, node: Node, done: Use, offset: u64, object: Option<&Object>) {
        let Some(global) = named(pickle, node) else {
            if !matches!(pickle.get(node), Value::None) {
                self.danger("(what an earlier opcode made)".to_owned(), offset, "it is called without a name");
            }
            return;
        };
        let args = object.and_then(|object| pickle.sequence(object.args)).unwrap_or_default();
        let (module, name) = (global.module3(), &*global.name);
        if is_getattr(global) && is_member(pickle, args) {
            return;
        }
        self.name(global, done, offset);
        for (place, done) in policy::calls(module, name) {
            if let Some(&node) = args.get(place) {
                self.callee(pickle, node, done, offset, None);
            }
        }
        if matches!(name, "bytearray" | "bytes" | "_reconstruct") {
            self.allocation(pickle, args, offset);
        }
    }

    /// An argument that is a size.
    fn allocation(&mut self, pickle: &Pickle<'_>, args: &[Node], offset: u64) {
        let product = |items: &[Node]| {
            items.iter().try_fold(1i64, |product, item| product.checked_mul(pickle.int(*item)?)).unwrap_or(i64::MAX)
        };
        let size = match args {
            [size] if matches!(pickle.get(*size), Value::Big(_)) => i64::MAX,
            [size] => pickle.int(*size).unwrap_or(0),
            [_, shape, ..] => pickle.sequence(*shape).map_or(0, product),
            [] => 0,
        };
        if size > ALLOCATION && self.bomb.is_none() {
            let finding = Finding::new(Id::PickleBomb, "the pickle asks for more memory than a machine has").at(offset);
            self.bomb = Some(finding.needed(format!("at most {ALLOCATION}"), size));
        }
    }

    /// A state that is set as attributes.
    fn state(&mut self, pickle: &Pickle<'_>, state: Node, offset: u64) {
        // A second dictionary holds what goes into slots.
        let parts = match pickle.get(state) {
            Value::Tuple(parts) if parts.len() == 2 => parts.as_slice(),
            _ => &[state],
        };
        for part in parts {
            let Value::Dict(items) = pickle.get(*part) else { continue };
            for (key, value) in items {
                let hook = pickle.str(*key).is_some_and(|key| HOOKS.contains(&key));
                if hook && matches!(pickle.get(*value), Value::Global(_) | Value::Object(_)) {
                    let what = format!("(a new {})", pickle.str(*key).unwrap_or_default());
                    self.danger(what, offset, "it replaces what the unpickler itself calls");
                }
            }
        }
    }

    /// What no pickler writes: a state or items for a class, a function or a module's variable.
    fn touch(&mut self, pickle: &Pickle<'_>, touch: &Touch) {
        if let Some(global) = named(pickle, touch.target) {
            let what = format!("{}.{}", global.module, global.name);
            self.danger(what, touch.offset, "it is changed for the whole program");
        }
        if let Some(state) = touch.state {
            self.state(pickle, state, touch.offset);
        }
    }
}

/// The class or function at a node. Old files of whole models name their classes by a persistent id.
fn named<'p, 'a>(pickle: &'p Pickle<'a>, node: Node) -> Option<&'p Global<'a>> {
    let Value::Persistent(id) = pickle.get(node) else { return pickle.global(node) };
    match pickle.sequence(*id)? {
        [kind, class, ..] if pickle.str(*kind) == Some("module") => pickle.global(*class),
        _ => None,
    }
}

fn is_getattr(global: &Global<'_>) -> bool {
    global.is("builtins", "getattr")
}

/// The `getattr`s that only name a member of an enumeration, as Python 3.11 pickles one.
fn members(pickle: &Pickle<'_>) -> BTreeSet<Node> {
    let calls = pickle.nodes().filter_map(|(_, value)| match value {
        Value::Object(object) if pickle.global(object.class).is_some_and(is_getattr) => Some(object),
        _ => None,
    });
    calls
        .filter(|call| is_member(pickle, pickle.sequence(call.args).unwrap_or_default()))
        .map(|call| call.class)
        .collect()
}

/// Whether arguments of `getattr` are a class that nobody denies and the plain name of one of its members.
fn is_member(pickle: &Pickle<'_>, args: &[Node]) -> bool {
    let [class, member] = args else { return false };
    let Some(class) = pickle.global(*class) else { return false };
    let plain = pickle.str(*member).is_some_and(|name| {
        !name.starts_with('_') && !name.is_empty() && name.chars().all(|one| one == '_' || one.is_alphanumeric())
    });
    let known = policy::judge(class.module3(), &class.name, Use::Made);
    plain && policy::is_class(&class.name) && known == Verdict::Unknown
}
