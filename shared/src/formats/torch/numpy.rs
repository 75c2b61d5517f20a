//! numpy arrays and scalars inside a pickle (`numpy/_core/src/multiarray/methods.c`, `array_setstate`).

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::facts::recipe::elements;
use crate::facts::{Dtype, limits};
use crate::formats::pickle::{Node, Object, Pickle, Value};

use super::call::numbers;
use super::describe;
use super::tensor::swaps;

/// An array of plain numbers.
pub(super) struct Array {
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    big_endian: bool,
    fortran: bool,
    /// The bytes as the pickle has them.
    stored: Vec<u8>,
}

/// The array that an object of `_reconstruct` and its state stand for.
pub(super) fn array(pickle: &Pickle<'_>, object: &Object) -> Option<Array> {
    // The version came with numpy 1.0; what follows is the same.
    let state = pickle.sequence(object.state?)?;
    let [shape, dtype, fortran, data] = state.last_chunk()?;
    make(pickle, *shape, *dtype, matches!(pickle.get(*fortran), Value::Bool(true)), *data)
}

/// The array that a call of `_frombuffer(buffer, dtype, shape, order)` stands for (protocol 5).
pub(super) fn from_buffer(pickle: &Pickle<'_>, args: &[Node]) -> Option<Array> {
    let [data, dtype, shape, order] = args else { return None };
    make(pickle, *shape, *dtype, pickle.str(*order) == Some("F"), *data)
}

/// The number that a call of `scalar(dtype, bytes)` stands for.
pub(super) fn scalar(pickle: &Pickle<'_>, args: &[Node]) -> Option<Json> {
    let [dtype, data] = args else { return None };
    let (dtype, big_endian) = dtype_of(pickle, *dtype)?;
    let mut bytes = bytes_of(pickle, *data)?.into_owned();
    if big_endian {
        bytes.reverse();
    }
    let mut wide = [0; 8];
    let signed = matches!(dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
    if signed && bytes.last().is_some_and(|&last| last >= 0x80) {
        wide = [0xff; 8];
    }
    wide.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    if dtype.item_bytes().and_then(|item| usize::try_from(item).ok()) != Some(bytes.len()) {
        return None;
    }
    Some(match dtype {
        Dtype::Bool => Json::from(wide != [0; 8]),
        Dtype::F64 => describe::float(f64::from_le_bytes(wide)),
        Dtype::F32 => describe::float(f64::from(f32::from_le_bytes(*wide.first_chunk()?))),
        Dtype::F16 => describe::float(half::f16::from_le_bytes(*wide.first_chunk()?).to_f64()),
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Json::from(i64::from_le_bytes(wide)),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => Json::from(u64::from_le_bytes(wide)),
        _ => return None,
    })
}

fn make(pickle: &Pickle<'_>, shape: Node, dtype: Node, fortran: bool, data: Node) -> Option<Array> {
    let (dtype, big_endian) = dtype_of(pickle, dtype)?;
    let shape = numbers(pickle, shape).filter(|shape| shape.len() <= limits::DIMS)?;
    Some(Array { dtype, shape, big_endian, fortran, stored: bytes_of(pickle, data)?.into_owned() })
}

impl Array {
    /// The bytes row-major and little-endian; `None` if they are not as many as the shape needs.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let count = elements(&self.shape)?;
        let needed = self.dtype.bytes_of(count)?;
        if u64::try_from(self.stored.len()) != Ok(needed) {
            return None;
        }
        let item = usize::try_from(self.dtype.item_bytes()?).ok()?;
        let mut bytes =
            if self.fortran && self.shape.len() > 1 && count > 0 { self.row_major(item)? } else { self.stored.clone() };
        if self.big_endian && swaps(self.dtype) {
            let complex = matches!(self.dtype, Dtype::C64 | Dtype::C128);
            let number = if complex { item / 2 } else { item };
            bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        Some(bytes)
    }

    /// The elements in row-major order, of an array that has them column by column.
    fn row_major(&self, item: usize) -> Option<Vec<u8>> {
        let mut strides = Vec::with_capacity(self.shape.len());
        let mut stride = 1usize;
        let shape: Vec<usize> = self.shape.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
        for &size in &shape {
            strides.push(stride);
            stride = stride.checked_mul(size)?;
        }
        let mut bytes = Vec::with_capacity(self.stored.len());
        let mut index = vec![0usize; shape.len()];
        let mut at = 0usize;
        for _ in 0..stride {
            let start = at.checked_mul(item)?;
            bytes.extend_from_slice(self.stored.get(start..start.checked_add(item)?)?);
            // The last dimension counts fastest, as on an odometer.
            for ((digit, &size), &stride) in index.iter_mut().zip(&shape).zip(&strides).rev() {
                *digit = digit.checked_add(1)?;
                at = at.checked_add(stride)?;
                if *digit < size {
                    break;
                }
                at = at.checked_sub(stride.checked_mul(size)?)?;
                *digit = 0;
            }
        }
        Some(bytes)
    }
}

/// Element type and whether the bytes are in big-endian order.
fn dtype_of(pickle: &Pickle<'_>, node: Node) -> Option<(Dtype, bool)> {
    let object = pickle.object(node)?;
    pickle.global(object.class).filter(|class| class.is("numpy", "dtype"))?;
    let name = *pickle.sequence(object.args)?.first()?;
    let order = object.state.and_then(|state| pickle.sequence(state)).and_then(|state| state.get(1)).copied();
    let big_endian = order.and_then(|order| pickle.str(order)) == Some(">");
    let dtype = match pickle.get(name) {
        Value::Str(code) => Dtype::from_numpy(code)?,
        // The types that JAX's ml_dtypes adds are named by their class.
        Value::Global(_) => {
            let global = pickle.global(name).filter(|global| global.module.starts_with("ml_dtypes"))?;
            Dtype::from_torch(&global.name).filter(|dtype| dtype.item_bytes().is_some())?
        }
        _ => return None,
    };
    Some((dtype, big_endian))
}

/// Bytes, however the protocol spells them.
fn bytes_of<'v>(pickle: &'v Pickle<'_>, node: Node) -> Option<Cow<'v, [u8]>> {
    match pickle.get(node) {
        Value::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
        // A `str` of Python 2 that happens to be UTF-8.
        Value::Str(text) => Some(Cow::Borrowed(text.as_bytes())),
        Value::Object(object) => {
            let class = pickle.global(object.class)?;
            let args = pickle.sequence(object.args)?;
            if class.is("builtins", "bytearray") || class.is("builtins", "bytes") {
                return match args.first().map(|arg| pickle.get(*arg)) {
                    Some(Value::Bytes(bytes)) => Some(Cow::Borrowed(&**bytes)),
                    None => Some(Cow::Borrowed(&[])),
                    Some(_) => None,
                };
            }
            // Protocol 2 has no bytes: each is the character of that number.
            let latin1 =
                args.get(1).and_then(|coding| pickle.str(*coding)).is_some_and(|coding| coding.contains("latin"));
            if !class.is("_codecs", "encode") || !latin1 {
                return None;
            }
            let text = pickle.str(*args.first()?)?;
            text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
        }
        _ => None,
    }
}
