//! The pickle of a dictionary of tensors, protocol 2, in the opcodes that torch's own restricted unpickler knows
//! (`torch/_weights_only_unpickler.py`).

use std::collections::BTreeMap;

use crate::facts::{Dtype, Finding, Id};

use super::super::storages::class_of;
use super::Item;

/// Items set at a time, as Python's own pickler does.
const BATCH: usize = 1000;

/// Whether torch saves plain tensors of a dtype. Quantized ones need their scales beside them.
pub(super) fn writable(dtype: Dtype) -> bool {
    let quantized = matches!(dtype, Dtype::Qi8 | Dtype::Qu8 | Dtype::Qi32 | Dtype::Qu4x2 | Dtype::Qu2x4);
    !dtype.torch().is_empty() && !quantized
}

/// The pickle; `sizes` are the bytes of each item.
pub(super) fn dictionary(items: &[Item], sizes: &[u64]) -> Result<Vec<u8>, Finding> {
    let mut out = Writer { bytes: Vec::new(), memo: BTreeMap::new() };
    out.bytes.extend([0x80, 2]);
    out.bytes.push(b'}');
    let mut keys: Vec<Option<u64>> = Vec::with_capacity(items.len());
    let mut next = 0u64;
    let mut left = items.iter().zip(sizes).peekable();
    while left.peek().is_some() {
        out.bytes.push(b'(');
        for (item, &bytes) in left.by_ref().take(BATCH) {
            let key = match item.same_as {
                None => {
                    let own = next;
                    next = next.saturating_add(1);
                    Some(own)
                }
                Some(other) => shared_key(items, sizes, &keys, item, bytes, other)?,
            };
            keys.push(key);
            out.text(&item.name);
            out.tensor(item, key.unwrap_or_default(), bytes);
        }
        out.bytes.push(b'u');
    }
    out.bytes.push(b'.');
    Ok(out.bytes)
}

/// The storage of the earlier item that this one shares.
fn shared_key(
    items: &[Item],
    sizes: &[u64],
    keys: &[Option<u64>],
    item: &Item,
    bytes: u64,
    other: usize,
) -> Result<Option<u64>, Finding> {
    let fits = items.get(other).is_some_and(|earlier| earlier.dtype == item.dtype) && sizes.get(other) == Some(&bytes);
    let key = keys.get(other).copied().filter(|_| fits);
    key.ok_or_else(|| {
        Finding::new(Id::Unsupported, "it can share the storage of an earlier tensor of its own dtype and size only")
            .tensor(item.name.as_str())
    })
}

struct Writer {
    bytes: Vec<u8>,
    /// Classes, functions and constants put so far, by name; no two share one.
    memo: BTreeMap<&'static str, u8>,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        if let Ok(byte) = u8::try_from(number) {
            self.bytes.extend([b'K', byte]);
        } else if let Ok(short) = u16::try_from(number) {
            self.bytes.push(b'M');
            self.bytes.extend(short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(number) {
            self.bytes.push(b'J');
            self.bytes.extend(int.to_le_bytes());
        } else {
            // Nine bytes, so that the highest bit is never taken for a sign.
            self.bytes.extend([0x8a, 9]);
            self.bytes.extend(number.to_le_bytes());
            self.bytes.push(0);
        }
    }

    fn tuple(&mut self, numbers: &[u64]) {
        self.bytes.push(b'(');
        for &number in numbers {
            self.number(number);
        }
        self.bytes.push(b't');
    }

    /// A class or function.
    fn global(&mut self, module: &str, name: &'static str) {
        self.once(name, |out| out.bytes.extend(format!("c{module}\n{name}\n").as_bytes()));
    }

    /// A text that every tensor has.
    fn constant(&mut self, text: &'static str) {
        self.once(text, |out| out.text(text));
    }

    /// What is written the first time and fetched from the memo later.
    fn once(&mut self, name: &'static str, write: impl FnOnce(&mut Writer)) {
        if let Some(&number) = self.memo.get(name) {
            self.bytes.extend([b'h', number]);
            return;
        }
        // A few functions, classes, dtypes and constants: far fewer than 256.
        let number = u8::try_from(self.memo.len()).unwrap_or(u8::MAX);
        self.memo.insert(name, number);
        write(self);
        self.bytes.extend([b'q', number]);
    }

    fn tensor(&mut self, item: &Item, key: u64, bytes: u64) {
        let class = class_of(item.dtype);
        let rebuild = if class.is_some() { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" };
        self.global("torch._utils", rebuild);
        // The arguments; first the storage: ('storage', class, key, 'cpu', count).
        self.bytes.extend(b"((");
        self.constant("storage");
        match class {
            Some(class) => self.global("torch", class),
            None => self.global("torch.storage", "UntypedStorage"),
        }
        self.text(&key.to_string());
        self.constant("cpu");
        let item_bytes = class.and(item.dtype.item_bytes()).unwrap_or(1);
        self.number(bytes.checked_div(item_bytes).unwrap_or(0));
        self.bytes.extend(b"tQ");
        // Offset, sizes, strides, whether a gradient is wanted, and no hooks.
        self.number(0);
        let mut shape = item.shape.clone();
        if item.dtype == Dtype::F4
            && let Some(last) = shape.last_mut()
        {
            *last /= 2;
        }
        self.tuple(&shape);
        self.tuple(&strides(&shape));
        self.bytes.push(0x89);
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")R");
        if class.is_none() {
            self.global("torch", item.dtype.torch());
        }
        self.bytes.extend(b"tR");
    }
}

/// Strides of a contiguous tensor as torch counts them: an empty dimension as one.
fn strides(shape: &[u64]) -> Vec<u64> {
    let mut stride = 1u64;
    let mut strides: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let own = stride;
            stride = stride.saturating_mul(size.max(1));
            own
        })
        .collect();
    strides.reverse();
    strides
}
