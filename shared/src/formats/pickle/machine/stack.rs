//! What the opcodes work on: the arena, the stack with its marks, and the memo.

use std::borrow::Cow;

use crate::bytes::to_u64;
use crate::facts::limits;
use crate::formats::pickle::{Global, Made, Node, Object, Touch, Value};

use super::{Fault, Machine, NOTHING, Step};

/// Bytes that a value takes: itself, its places on the stack and in what holds it, its weight when what it unfolds to
/// is counted.
const EACH: usize = size_of::<Value<'_>>().saturating_add(2 * size_of::<Node>()).saturating_add(size_of::<u64>());

impl<'a> Machine<'a> {
    pub(super) fn add(&mut self, value: Value<'a>) -> Step<Node> {
        let node = u32::try_from(self.pickle.values.len()).map_err(|_| Fault::TooLarge)?;
        self.spend(EACH)?;
        self.pickle.values.push(value);
        Ok(Node(node))
    }

    /// Counts bytes that something more takes.
    fn spend(&mut self, bytes: usize) -> Step<()> {
        self.spent = self.spent.saturating_add(to_u64(bytes));
        if self.spent > limits::PICKLE_MEMORY { Err(Fault::TooLarge) } else { Ok(()) }
    }

    pub(super) fn push(&mut self, value: Value<'a>) -> Step<()> {
        let node = self.add(value)?;
        self.stack.push(node);
        Ok(())
    }

    /// Pushes a value that never changes; all its occurrences are one node.
    pub(super) fn push_small(&mut self, place: usize, value: Value<'a>) -> Step<()> {
        self.small.resize(NOTHING.saturating_add(1), None);
        if let Some(node) = self.small.get(place).copied().flatten() {
            return self.push_again(node);
        }
        self.push(value)?;
        if let Some(slot) = self.small.get_mut(place) {
            *slot = self.stack.last().copied();
        }
        Ok(())
    }

    pub(super) fn push_global(&mut self, module: Cow<'a, str>, name: Cow<'a, str>, offset: u64) -> Step<()> {
        self.spend(size_of::<Global<'_>>())?;
        let index = self.pickle.globals.len();
        self.pickle.globals.push(Global { module, name, offset });
        self.push(Value::Global(index))
    }

    pub(super) fn push_object(
        &mut self,
        class: Node,
        args: Node,
        kwargs: Option<Node>,
        made: Made,
        offset: u64,
    ) -> Step<()> {
        self.spend(size_of::<Object>())?;
        self.push(Value::Object(Box::new(Object {
            class,
            args,
            kwargs,
            state: None,
            items: Vec::new(),
            list: Vec::new(),
            made,
            offset,
            built: None,
        })))
    }

    /// The height below which the last mark forbids to pop.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> Step<Node> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or(Fault::Says("the stack is empty"))
    }

    pub(super) fn top_value(&mut self) -> Step<&mut Value<'a>> {
        let top = self.top()?;
        self.pickle.values.get_mut(top.index()).ok_or(Fault::Says("the stack is empty"))
    }

    pub(super) fn pop(&mut self) -> Step<Node> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Step<Vec<Node>> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        Ok(self.stack.split_off(start.ok_or(Fault::Says("the stack is too short"))?))
    }

    pub(super) fn pop_array<const N: usize>(&mut self) -> Step<[Node; N]> {
        self.pop_many(N)?.try_into().map_err(|_| Fault::Says("the stack is too short"))
    }

    pub(super) fn pop_mark(&mut self) -> Step<Vec<Node>> {
        let mark = self.marks.pop().ok_or(Fault::Says("no mark on the stack"))?;
        // Nothing pops below a mark, so the stack is at least that high.
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    /// Notes that the top of the stack is given a state or items as only an object or a container takes them. Some
    /// unpicklers go on, for whatever has methods of those names.
    pub(super) fn touch(&mut self, state: Option<Node>, offset: u64, says: &'static str) -> Step<()> {
        if !self.lenient {
            return Err(Fault::Says(says));
        }
        let target = self.top()?;
        self.pickle.touches.push(Touch { target, state, offset });
        Ok(())
    }

    /// What a line of text stands for; `None` where only Python might know.
    pub(super) fn or_none(&self, value: Option<Value<'a>>, says: &'static str) -> Step<Value<'a>> {
        match value {
            None if self.lenient => Ok(Value::None),
            value => value.ok_or(Fault::Says(says)),
        }
    }

    pub(super) fn append(&mut self, items: Vec<Node>, offset: u64) -> Step<()> {
        self.spend(items.len().saturating_mul(size_of::<Node>()))?;
        match self.top_value()? {
            Value::List(list) | Value::Set(list) => list.extend(items),
            Value::Object(object) => object.list.extend(items),
            _ => self.touch(None, offset, "an item for something that is no list")?,
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, items: Vec<(Node, Node)>, offset: u64) -> Step<()> {
        self.spend(items.len().saturating_mul(size_of::<(Node, Node)>()))?;
        match self.top_value()? {
            Value::Dict(dict) => dict.extend(items),
            Value::Object(object) => object.items.extend(items),
            _ => self.touch(None, offset, "an item for something that is no dictionary")?,
        }
        Ok(())
    }

    pub(super) fn put(&mut self, number: u64) -> Step<()> {
        let node = self.top()?;
        self.spend(size_of::<Option<Node>>())?;
        // Picklers number from 0 without gaps; a far number must not make room for all those before it.
        let near = self.memoized.saturating_mul(2).saturating_add(1024);
        let old = match usize::try_from(number) {
            Ok(index) if number < near => {
                if self.memo.len() <= index {
                    self.memo.resize(index.saturating_add(1), None);
                }
                self.memo.get_mut(index).and_then(|slot| slot.replace(node)).or_else(|| self.far.remove(&number))
            }
            _ => self.far.insert(number, node),
        };
        if old.is_none() {
            self.memoized = self.memoized.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn fetch(&mut self, number: u64) -> Step<()> {
        let near = usize::try_from(number).ok().and_then(|index| self.memo.get(index).copied().flatten());
        let node = near.or_else(|| self.far.get(&number).copied());
        self.push_again(node.ok_or(Fault::Says("a memo entry that was never put"))?)
    }

    /// Pushes a value that is there already: no more of it than its places on the stack and in what holds it.
    fn push_again(&mut self, node: Node) -> Step<()> {
        self.spend(size_of::<[Node; 2]>())?;
        self.stack.push(node);
        Ok(())
    }
}
