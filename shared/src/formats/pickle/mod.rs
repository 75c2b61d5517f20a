//! A pickle machine that builds plain data: every opcode of protocols 0 to 5, and nothing is imported or called.
//!
//! Values stand in an arena and refer to each other by [`Node`], so that shared and self-referential structures
//! cost nothing, and neither building nor dropping them recurses. What a real unpickler would call is kept as an
//! [`Object`]: the class, the arguments and what was put into it.

pub mod lookup;
mod machine;
mod text;

use std::borrow::Cow;

use crate::bytes::Cursor;
use crate::facts::Finding;

pub use machine::Machine;

/// A value's place in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(u32);

impl Node {
    /// Its number in the arena, below [`Pickle::len`].
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A value of a pickle; `'a` is the buffer it was read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A larger one: decimal digits up to 128 bits and as written in text, beyond that `0x` and the bytes in
    /// two's complement.
    Big(String),
    /// A float.
    Float(f64),
    /// Text; surrogates that stand alone are replaced.
    Str(Cow<'a, str>),
    /// `bytes`, `bytearray`, and a `str` of Python 2 that is no UTF-8.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Node>),
    /// A tuple.
    Tuple(Vec<Node>),
    /// A set or a frozenset.
    Set(Vec<Node>),
    /// A dictionary, in the order of insertion; a key may come twice, and then the last one counts.
    Dict(Vec<(Node, Node)>),
    /// A class or function that a real unpickler would import: its place in [`Pickle::globals`].
    Global(usize),
    /// What the file that holds the pickle has to supply: torch puts storages here.
    Persistent(Node),
    /// A buffer that was to be handed over beside the pickle (protocol 5).
    Buffer,
    /// What a real unpickler would make by calling something.
    Object(Box<Object>),
}

/// How an object would have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// `REDUCE`: a call with arguments.
    Reduce,
    /// `NEWOBJ`: `cls.__new__(cls, *args)`.
    NewObj,
    /// `NEWOBJ_EX`: the same with keyword arguments.
    NewObjEx,
    /// `OBJ`: a call, of protocol 1.
    Obj,
    /// `INST`: a call of a class named in the opcode, of protocol 0.
    Inst,
}

/// The parts of an object that was not made.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What would have been called; mostly a [`Value::Global`].
    pub class: Node,
    /// Its arguments; mostly a [`Value::Tuple`].
    pub args: Node,
    /// Keyword arguments.
    pub kwargs: Option<Node>,
    /// The last state given with `BUILD`.
    pub state: Option<Node>,
    /// Items set as in a dictionary.
    pub items: Vec<(Node, Node)>,
    /// Items appended as to a list or added as to a set.
    pub list: Vec<Node>,
    /// The opcode that made it.
    pub made: Made,
    /// Byte of the file at which that opcode stands.
    pub offset: u64,
    /// Byte of the file of the last `BUILD`.
    pub built: Option<u64>,
}

/// A class or function that the pickle names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global<'a> {
    /// Module, as written.
    pub module: Cow<'a, str>,
    /// Name within it, as written; may have dots since protocol 4.
    pub name: Cow<'a, str>,
    /// Byte of the file at which the opcode stands.
    pub offset: u64,
}

impl Global<'_> {
    /// The module as Python 3 calls it.
    pub fn module3(&self) -> &str {
        match &*self.module {
            "__builtin__" => "builtins",
            "copy_reg" => "copyreg",
            module => module,
        }
    }

    /// Whether it is this one.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.name == name && self.module3() == module
    }
}

/// What a pickle holds.
#[derive(Debug, Default)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    /// Every class or function named, in the order of the opcodes.
    pub globals: Vec<Global<'a>>,
    /// The highest protocol announced.
    pub protocol: u8,
    /// Frames that the opcodes do not respect: byte of the file at which an opcode reaches over a frame's end.
    pub frame_breaks: Vec<u64>,
    /// The byte of the file at which the first text stands that is no UTF-8, nor what Python makes of it.
    pub garbled: Option<u64>,
    /// The first one that is UTF-8 but for halves of surrogate pairs, which only some unpicklers read.
    pub surrogates: Option<u64>,
    /// What a lenient machine passed over.
    pub touches: Vec<Touch>,
}

/// A state or items given to something that a pickler never gives them to, or a second state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// What was given something.
    pub target: Node,
    /// The state; none for items.
    pub state: Option<Node>,
    /// Byte of the file at which the opcode stands.
    pub offset: u64,
}

impl<'a> Pickle<'a> {
    /// The value at a node.
    pub fn get(&self, node: Node) -> &Value<'a> {
        self.values.get(node.index()).unwrap_or(&Value::None)
    }

    /// Every value with its place, in the order they came to be; those that were dropped again too.
    pub fn nodes(&self) -> impl Iterator<Item = (Node, &Value<'a>)> {
        (0..).map(Node).zip(&self.values)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The class or function at a node, if it is one.
    pub fn global(&self, node: Node) -> Option<&Global<'a>> {
        match self.get(node) {
            Value::Global(index) => self.globals.get(*index),
            _ => None,
        }
    }

    /// The object at a node, if it is one.
    pub fn object(&self, node: Node) -> Option<&Object> {
        match self.get(node) {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The text at a node, if it is text.
    pub fn str(&self, node: Node) -> Option<&str> {
        match self.get(node) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements at a node, if it is a tuple or a list.
    pub fn sequence(&self, node: Node) -> Option<&[Node]> {
        match self.get(node) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The integer at a node, if it is one that fits; `True` is 1 as in Python.
    pub fn int(&self, node: Node) -> Option<i64> {
        match self.get(node) {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }
}

/// Reads one pickle: from the cursor to the byte after its `STOP`.
///
/// # Errors
/// [`PickleInvalid`](crate::facts::Id::PickleInvalid) at the opcode that breaks the format,
/// [`TooLarge`](crate::facts::Id::TooLarge) beyond the limits.
pub fn read<'a>(cursor: &mut Cursor<'a>) -> Result<(Pickle<'a>, Node), Finding> {
    let mut machine = Machine::default();
    let root = machine.run(cursor)?;
    Ok((machine.into_pickle(), root))
}

#[cfg(test)]
mod tests;
