//! The stack machine: one opcode after another, until `STOP`.

mod stack;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bytes::{Cursor, Short};
use crate::facts::{Finding, Id, limits};

use super::{Made, Node, Pickle, Touch, Value, text};

/// A machine with an empty stack. What it has built stays to be looked at after an error.
#[derive(Debug, Default)]
pub struct Machine<'a> {
    pickle: Pickle<'a>,
    stack: Vec<Node>,
    /// Heights of the stack at which a `MARK` stands.
    marks: Vec<usize>,
    /// Nodes of values that never change and come again and again: one byte's integers, then the three below.
    small: Vec<Option<Node>>,
    /// Memo entries by number; picklers count from 0.
    memo: Vec<Option<Node>>,
    /// Memo entries whose number is far beyond those used so far.
    far: BTreeMap<u64, Node>,
    /// Number that `MEMOIZE` gives next: how many entries there are.
    memoized: u64,
    /// Bytes that all this takes.
    spent: u64,
    /// Byte of the file at which the frame ends.
    frame: Option<u64>,
    /// Go on wherever some unpickler would.
    lenient: bool,
    /// The last run ended for want of bytes.
    short: bool,
}

/// Places of the constants behind the 256 integers in [`Machine::small`].
const NONE: usize = 256;
/// See [`NONE`].
const TRUE: usize = 257;
/// See [`NONE`].
const FALSE: usize = 258;
/// See [`NONE`]: the empty tuple.
const NOTHING: usize = 259;

/// What can go wrong at an opcode, before its place is known.
enum Fault {
    Short(Short),
    Says(&'static str),
    TooLarge,
}

impl From<Short> for Fault {
    fn from(short: Short) -> Fault {
        Fault::Short(short)
    }
}

type Step<T> = Result<T, Fault>;

impl<'a> Machine<'a> {
    /// A machine that goes on wherever any unpickler would, to see all that could run: numbers that only Python
    /// reads, states and items for whatever has methods of those names, frames that are too long. What no pickler
    /// writes is in [`Pickle::touches`] and [`Pickle::frame_breaks`].
    pub fn lenient() -> Machine<'a> {
        Machine { lenient: true, ..Machine::default() }
    }

    /// Everything built so far.
    pub fn pickle(&self) -> &Pickle<'a> {
        &self.pickle
    }

    /// Whether the last run ended because the buffer did: more bytes may make it go on.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Everything built, to keep.
    pub fn into_pickle(self) -> Pickle<'a> {
        self.pickle
    }

    /// Runs one pickle, to the byte after its `STOP`; gives the value it stands for. A further run (pickles that
    /// follow each other in one file) begins with an empty stack and memo and adds to the same arena.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn run(&mut self, cursor: &mut Cursor<'a>) -> Result<Node, Finding> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        self.far.clear();
        self.memoized = 0;
        self.frame = None;
        self.short = false;
        loop {
            let at = cursor.offset();
            match self.step(cursor, at) {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(root),
                Err(Fault::Short(short)) => {
                    self.short = true;
                    return Err(Finding::new(Id::PickleInvalid, format!("the pickle is cut off: {short}")).at(at));
                }
                Err(Fault::Says(what)) => {
                    return Err(Finding::new(Id::PickleInvalid, format!("the pickle is broken: {what}")).at(at));
                }
                Err(Fault::TooLarge) => {
                    return Err(Finding::new(Id::TooLarge, "the pickle builds too many objects")
                        .at(at)
                        .needed(format!("at most {} bytes of them", limits::PICKLE_MEMORY), "more"));
                }
            }
        }
    }

    /// Does one opcode; gives the root at `STOP`.
    #[expect(clippy::too_many_lines, reason = "one arm an opcode, as in the format's own table")]
    fn step(&mut self, cursor: &mut Cursor<'a>, at: u64) -> Step<Option<Node>> {
        self.leave_frame(at);
        let opcode = cursor.u8()?;
        match opcode {
            b'.' => {
                if self.frame.is_some_and(|end| cursor.offset() != end) {
                    self.pickle.frame_breaks.push(at);
                }
                return self.pop().map(Some);
            }
            // PROTO, FRAME
            0x80 => self.pickle.protocol = self.pickle.protocol.max(cursor.u8()?),
            0x95 => {
                let bytes = cursor.u64()?;
                let end = cursor.offset().checked_add(bytes).ok_or(Fault::Says("a frame without end"))?;
                let short = u64::try_from(cursor.rest().len()).is_ok_and(|left| left < bytes);
                if short && !self.lenient {
                    return Err(Fault::Says("a frame longer than the pickle"));
                }
                // No pickler begins a frame before the last one has ended.
                if short || self.frame.is_some() {
                    self.pickle.frame_breaks.push(at);
                }
                self.frame = Some(end);
                return Ok(None);
            }
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push_small(NONE, Value::None)?,
            0x88 => self.push_small(TRUE, Value::Bool(true))?,
            0x89 => self.push_small(FALSE, Value::Bool(false))?,
            // INT, LONG, BININT, BININT1, BININT2, LONG1, LONG4
            b'I' | b'L' => {
                let value = self.or_none(text::int(line(cursor)?, opcode == b'L'), "a number that is none")?;
                self.push(value)?;
            }
            b'J' => {
                let value = i32::from_le_bytes(cursor.array()?);
                self.push(Value::Int(i64::from(value)))?;
            }
            b'K' => {
                let value = cursor.u8()?;
                self.push_small(usize::from(value), Value::Int(i64::from(value)))?;
            }
            b'M' => {
                let value = cursor.u16()?;
                self.push(Value::Int(i64::from(value)))?;
            }
            0x8a => {
                let count = cursor.u8()?;
                let bytes = cursor.take(u64::from(count))?;
                self.push(text::long(bytes))?;
            }
            0x8b => {
                let count = signed_count(cursor)?;
                let bytes = cursor.take(count)?;
                self.push(text::long(bytes))?;
            }
            // FLOAT, BINFLOAT
            b'F' => {
                let value = text::float(line(cursor)?).map(Value::Float);
                let value = self.or_none(value, "a float that is none")?;
                self.push(value)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(cursor.array()?);
                self.push(Value::Float(value))?;
            }
            // STRING, BINSTRING, SHORT_BINSTRING
            b'S' => {
                let value = self.or_none(text::quoted(line(cursor)?), "a string without its quotes")?;
                self.push(value)?;
            }
            b'T' => {
                let count = signed_count(cursor)?;
                let bytes = cursor.take(count)?;
                self.push(text::string(bytes))?;
            }
            b'U' => {
                let count = cursor.u8()?;
                let bytes = cursor.take(u64::from(count))?;
                self.push(text::string(bytes))?;
            }
            // UNICODE, BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'V' => {
                let value = text::unicode(line(cursor)?).map(|text| Value::Str(Cow::Owned(text)));
                let value = self.or_none(value, "an escape that is none")?;
                self.push(value)?;
            }
            b'X' | 0x8c | 0x8d => {
                let count = match opcode {
                    b'X' => u64::from(cursor.u32()?),
                    0x8c => u64::from(cursor.u8()?),
                    _ => cursor.u64()?,
                };
                let bytes = cursor.take(count)?;
                match text::encoding(bytes) {
                    text::Encoding::Utf8 => {}
                    text::Encoding::Surrogates => drop(self.pickle.surrogates.get_or_insert(at)),
                    text::Encoding::Neither => drop(self.pickle.garbled.get_or_insert(at)),
                }
                self.push(Value::Str(String::from_utf8_lossy(bytes)))?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' | b'C' | 0x8e | 0x96 => {
                let count = match opcode {
                    b'B' => u64::from(cursor.u32()?),
                    b'C' => u64::from(cursor.u8()?),
                    _ => cursor.u64()?,
                };
                let value = Cow::Borrowed(cursor.take(count)?);
                self.push(Value::Bytes(value))?;
            }
            // NEXT_BUFFER, READONLY_BUFFER
            0x97 => self.push(Value::Buffer)?,
            0x98 => drop(self.top()?),
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.push_small(NOTHING, Value::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode.saturating_sub(0x84)))?;
                self.push(Value::Tuple(items))?;
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS, ADDITEMS
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item], at)?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items, at)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Value::Dict(items))?;
            }
            b's' => {
                let items = pairs(&self.pop_many(2)?)?;
                self.set_items(items, at)?;
            }
            b'u' => {
                let items = pairs(&self.pop_mark()?)?;
                self.set_items(items, at)?;
            }
            // EMPTY_SET, FROZENSET
            0x8f => self.push(Value::Set(Vec::new()))?,
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::Set(items))?;
            }
            // GLOBAL, STACK_GLOBAL, EXT1, EXT2, EXT4
            b'c' => {
                let (module, name) = names(cursor, self.lenient)?;
                self.push_global(module, name, at)?;
            }
            0x93 => {
                let [module, name] = self.pop_array()?;
                let text = |node| match self.pickle.get(node) {
                    Value::Str(text) => Ok(text.clone()),
                    _ => Err(Fault::Says("a class named by something that is no text")),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.push_global(module, name, at)?;
            }
            0x82..=0x84 => {
                let code = match opcode {
                    0x82 => u32::from(cursor.u8()?),
                    0x83 => u32::from(cursor.u16()?),
                    _ => cursor.u32()?,
                };
                self.push_global(Cow::Borrowed("copyreg"), Cow::Owned(format!("extension {code}")), at)?;
            }
            // REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, OBJ, INST
            b'R' => {
                let [class, args] = self.pop_array()?;
                self.push_object(class, args, None, Made::Reduce, at)?;
            }
            b'b' => {
                let state = self.pop()?;
                match self.top_value()? {
                    Value::Object(object) => {
                        let earlier = object.state.replace(state);
                        object.built = Some(at);
                        if let Some(earlier) = earlier {
                            let target = self.top()?;
                            self.pickle.touches.push(Touch { target, state: Some(earlier), offset: at });
                        }
                    }
                    _ => self.touch(Some(state), at, "a state for something that is no object")?,
                }
            }
            0x81 => {
                let [class, args] = self.pop_array()?;
                self.push_object(class, args, None, Made::NewObj, at)?;
            }
            0x92 => {
                let [class, args, kwargs] = self.pop_array()?;
                self.push_object(class, args, Some(kwargs), Made::NewObjEx, at)?;
            }
            b'o' => {
                let mut items = self.pop_mark()?.into_iter();
                let class = items.next().ok_or(Fault::Says("an object without a class"))?;
                let args = self.add(Value::Tuple(items.collect()))?;
                self.push_object(class, args, None, Made::Obj, at)?;
            }
            b'i' => {
                let (module, name) = names(cursor, self.lenient)?;
                let items = self.pop_mark()?;
                let args = self.add(Value::Tuple(items))?;
                self.push_global(module, name, at)?;
                let class = self.pop()?;
                self.push_object(class, args, None, Made::Inst, at)?;
            }
            // PERSID, BINPERSID
            b'P' => {
                let id = String::from_utf8_lossy(line(cursor)?);
                let id = self.add(Value::Str(id))?;
                self.push(Value::Persistent(id))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            // PUT, BINPUT, LONG_BINPUT, MEMOIZE
            b'p' => {
                let number = memo_number(line(cursor)?)?;
                self.put(number)?;
            }
            b'q' => {
                let number = u64::from(cursor.u8()?);
                self.put(number)?;
            }
            b'r' => {
                let number = u64::from(cursor.u32()?);
                self.put(number)?;
            }
            0x94 => self.put(self.memoized)?,
            // GET, BINGET, LONG_BINGET
            b'g' => {
                let number = memo_number(line(cursor)?)?;
                self.fetch(number)?;
            }
            b'h' => {
                let number = u64::from(cursor.u8()?);
                self.fetch(number)?;
            }
            b'j' => {
                let number = u64::from(cursor.u32()?);
                self.fetch(number)?;
            }
            _ => return Err(Fault::Says("an opcode that no protocol has")),
        }
        if self.frame.is_some_and(|end| cursor.offset() > end) {
            self.pickle.frame_breaks.push(at);
            self.frame = None;
        }
        Ok(None)
    }

    fn leave_frame(&mut self, at: u64) {
        if self.frame.is_some_and(|end| at >= end) {
            self.frame = None;
        }
    }
}

/// Takes a line, without its end.
fn line<'a>(cursor: &mut Cursor<'a>) -> Step<&'a [u8]> {
    let length = cursor.rest().iter().position(|&byte| byte == b'\n').ok_or_else(|| Fault::Short(endless(cursor)))?;
    let line = cursor.take(u64::try_from(length).unwrap_or(u64::MAX))?;
    cursor.take(1)?;
    Ok(line)
}

/// A line's end is wanted where the buffer has none.
fn endless(cursor: &Cursor<'_>) -> Short {
    let left = u64::try_from(cursor.rest().len()).unwrap_or(u64::MAX);
    Short { offset: cursor.offset(), needed: left.saturating_add(1), left }
}

/// Takes the two lines that name a class. The end of the pickle ends a line too for CPython, which takes its last
/// byte for the line's end whatever it is.
fn names<'a>(cursor: &mut Cursor<'a>, lenient: bool) -> Step<(Cow<'a, str>, Cow<'a, str>)> {
    let module = String::from_utf8_lossy(line(cursor)?);
    if lenient && cursor.rest().len() > 1 && !cursor.rest().contains(&b'\n') {
        let rest = cursor.take(u64::try_from(cursor.rest().len()).unwrap_or(u64::MAX))?;
        let name = rest.split_last().map_or(rest, |(_, name)| name);
        return Ok((module, String::from_utf8_lossy(name)));
    }
    let name = String::from_utf8_lossy(line(cursor)?);
    Ok((module, name))
}

/// A count that the format keeps in a signed number.
fn signed_count(cursor: &mut Cursor<'_>) -> Step<u64> {
    u64::try_from(i32::from_le_bytes(cursor.array()?)).map_err(|_| Fault::Says("a negative count"))
}

fn memo_number(line: &[u8]) -> Step<u64> {
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.trim().parse().ok()).ok_or(Fault::Says("a memo number that is none"))
}

fn pairs(items: &[Node]) -> Step<Vec<(Node, Node)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::Says("a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
