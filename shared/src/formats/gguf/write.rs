//! The header of a GGUF file that is about to be written, version 3, little-endian.

use super::ALIGNMENT;
use crate::bytes::to_u64;
use crate::facts::{Dtype, Finding, Id};

/// A value to be kept under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// A number without a sign.
    U32(u32),
    /// A number in single precision.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of numbers with signs.
    I32s(Vec<i32>),
    /// A list of numbers in single precision.
    F32s(Vec<f32>),
}

/// A file without its values.
#[derive(Debug)]
pub struct Layout {
    /// Everything before the first tensor, padding included.
    pub head: Vec<u8>,
    /// Where each tensor begins in the file, in the order given.
    pub offsets: Vec<u64>,
    /// Size of the file, which pads its last tensor as well.
    pub size: u64,
}

fn string(head: &mut Vec<u8>, text: &str) {
    head.extend(to_u64(text.len()).to_le_bytes());
    head.extend(text.as_bytes());
}

fn list<T>(head: &mut Vec<u8>, kind: u32, values: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    head.extend(9u32.to_le_bytes());
    head.extend(kind.to_le_bytes());
    head.extend(to_u64(values.len()).to_le_bytes());
    for value in values {
        put(head, value);
    }
}

impl Put {
    fn write(&self, head: &mut Vec<u8>) {
        let kind = |head: &mut Vec<u8>, kind: u32| head.extend(kind.to_le_bytes());
        match self {
            Put::U32(value) => {
                kind(head, 4);
                head.extend(value.to_le_bytes());
            }
            Put::F32(value) => {
                kind(head, 6);
                head.extend(value.to_le_bytes());
            }
            Put::Bool(value) => {
                kind(head, 7);
                head.push(u8::from(*value));
            }
            Put::Text(text) => {
                kind(head, 8);
                string(head, text);
            }
            Put::Texts(texts) => list(head, 8, texts, |head, text| string(head, text)),
            Put::I32s(values) => list(head, 5, values, |head, value| head.extend(value.to_le_bytes())),
            Put::F32s(values) => list(head, 6, values, |head, value| head.extend(value.to_le_bytes())),
        }
    }
}

/// Lays out a file of these keys and tensors (name, dtype, shape, bytes), both in the order given.
///
/// # Errors
/// A finding for a dtype that the format does not have, or more dimensions than four.
pub fn layout(keys: &[(String, Put)], tensors: &[(&str, Dtype, &[u64], u64)]) -> Result<Layout, Finding> {
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend(to_u64(tensors.len()).to_le_bytes());
    head.extend(to_u64(keys.len()).to_le_bytes());
    for (key, value) in keys {
        string(&mut head, key);
        value.write(&mut head);
    }
    let (mut offsets, mut end) = (Vec::with_capacity(tensors.len()), 0u64);
    for (name, dtype, shape, bytes) in tensors {
        let number = super::types::number(*dtype).filter(|_| shape.len() <= 4);
        let Some(number) = number else {
            let message = format!("GGUF has no tensors of {dtype} {shape:?}");
            return Err(Finding::new(Id::Unsupported, message).tensor(*name));
        };
        string(&mut head, name);
        head.extend(u32::try_from(shape.len()).unwrap_or(0).to_le_bytes());
        shape.iter().rev().for_each(|size| head.extend(size.to_le_bytes()));
        head.extend(number.to_le_bytes());
        head.extend(end.to_le_bytes());
        offsets.push(end);
        end = end.saturating_add(*bytes).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
    }
    let data = to_u64(head.len()).next_multiple_of(ALIGNMENT);
    head.resize(crate::bytes::to_usize(data), 0);
    let offsets = offsets.into_iter().map(|offset| data.saturating_add(offset)).collect();
    Ok(Layout { head, offsets, size: data.saturating_add(end) })
}
