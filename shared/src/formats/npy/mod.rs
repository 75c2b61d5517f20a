//! numpy's files: `.npy`, one array behind a short header, and `.npz`, a zip of those
//! (`numpy/lib/format.py`, NEP 1).
//!
//! `\x93NUMPY | version | u16 or u32 n | n bytes of a Python dictionary | elements`. Column-major arrays are strided
//! views, big-endian ones are swapped. Arrays of Python objects are pickles; they are named and not read.

mod literal;
mod npz;

use std::sync::Arc;

use crate::bytes::{Cursor, ReadAt};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Severity, Tensor, limits};

use super::{Container, Object, unreadable};
use literal::Literal;

pub(super) use npz::{is_archive, read as read_archive};

/// First bytes of an array.
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Magic, version and the longer of the two lengths.
const FIXED: u64 = 12;

/// What the elements of an array are.
#[derive(Debug, Clone, PartialEq)]
enum Elements {
    /// Numbers, in that byte order.
    Numbers { dtype: Dtype, big_endian: bool },
    /// Pickled objects.
    Objects,
    /// Texts, dates, records: data, and no tensor.
    Other(String),
    /// Numbers that cannot be told from the header, or that no tensor has, and why.
    Unknown(String),
}

/// The header of an array.
#[derive(Debug)]
struct Header {
    elements: Elements,
    shape: Vec<u64>,
    fortran: bool,
    /// First byte behind it.
    data: u64,
}

/// Reads an array file. The array has no name of its own: it is the empty one.
///
/// # Errors
/// [`Id::NpyInvalid`], [`Id::NpyTruncated`], [`Id::TooLarge`]; [`Id::ArrayPickled`] for an array of objects, and
/// [`Id::Unsupported`] for elements that no tensor has.
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let mut container = Container::default();
    let header = Header::read(source)?;
    if header.elements == Elements::Objects {
        return Err(pickled(""));
    }
    header.into(source.size(), file, "", &mut container)?;
    if container.tensors.is_empty() {
        let what = container.objects.first().map(|object| object.value.to_string()).unwrap_or_default();
        let message = format!("the array holds no numbers: {}", what.trim_matches('"'));
        return Err(Finding::new(Id::Unsupported, message));
    }
    Ok(container)
}

/// The finding for an array of objects.
fn pickled(name: &str) -> Finding {
    let message = "the array holds Python objects, pickled, which are not read: numpy loads them only with \
                   allow_pickle=True, and then runs what they say; save the arrays in them one by one";
    named(Finding::new(Id::ArrayPickled, message), name)
}

/// Says which array, where it has a name.
fn named(finding: Finding, name: &str) -> Finding {
    if name.is_empty() { finding } else { finding.tensor(name) }
}

impl Header {
    fn read(source: &dyn ReadAt) -> Result<Header, Finding> {
        let short = |needed: u64| {
            let message = "the file ends inside the header of its array";
            Finding::new(Id::NpyTruncated, message).needed(format!("{needed} bytes"), source.size())
        };
        let start = source.read_vec_at(FIXED.min(source.size()), 0).map_err(|error| unreadable(&error, 0))?;
        let mut cursor = Cursor::new(&start, 0);
        let magic = cursor.array::<6>().map_err(|_| short(FIXED))?;
        let [major, minor] = cursor.array::<2>().map_err(|_| short(FIXED))?;
        if &magic != MAGIC || !(1..=3).contains(&major) || minor != 0 {
            let message = "the file does not begin as an array of numpy's format 1, 2 or 3";
            return Err(Finding::new(Id::NpyInvalid, message)
                .at(0)
                .needed("1.0, 2.0 or 3.0", format!("{major}.{minor}")));
        }
        let length = if major == 1 { cursor.u16().map(u64::from) } else { cursor.u32().map(u64::from) };
        let length = length.map_err(|_| short(FIXED))?;
        let at = cursor.offset();
        if length > limits::NPY_HEADER {
            let message = "the header of the array is longer than any real one";
            let finding = Finding::new(Id::TooLarge, message).at(at);
            return Err(finding.needed(format!("at most {} bytes", limits::NPY_HEADER), length));
        }
        let data = at.saturating_add(length);
        if data > source.size() {
            return Err(short(data));
        }
        let text = source.read_vec_at(length, at).map_err(|error| unreadable(&error, at))?;
        // Latin-1 before version 3 and UTF-8 since; only names of fields are ever other than ASCII.
        let header = Literal::parse(&String::from_utf8_lossy(&text));
        let invalid = |what: &str| Finding::new(Id::NpyInvalid, format!("the header of the array {what}")).at(at);
        let header = header.ok_or_else(|| invalid("is no dictionary that Python could read"))?;
        let shape = header.get("shape").and_then(Literal::numbers).ok_or_else(|| invalid("has no shape"))?;
        let Some(&Literal::Truth(fortran)) = header.get("fortran_order") else {
            return Err(invalid("does not say in which order the elements are"));
        };
        let elements = header.get("descr").and_then(kind).ok_or_else(|| invalid("does not say what an element is"))?;
        if shape.len() > limits::DIMS {
            return Err(Finding::new(Id::TooLarge, format!("the array has {} dimensions", shape.len())).at(at));
        }
        Ok(Header { elements, shape, fortran, data })
    }

    /// Puts into the container what the array is, of a file of `size` bytes.
    fn into(self, size: u64, file: FileId, name: &str, container: &mut Container) -> Result<(), Finding> {
        let Header { elements: kind, shape, fortran, data } = self;
        let described = |what: &str| Object {
            path: name.to_owned(),
            value: serde_json::Value::from(format!("<numpy.ndarray of {what} {shape:?}>")),
        };
        let (dtype, big_endian) = match kind {
            Elements::Numbers { dtype, big_endian } => (dtype, big_endian),
            Elements::Objects => {
                container.objects.push(described("objects, pickled"));
                // One object alone is a setting far more often than a weight; several may be a list of weights.
                let severity = if shape.is_empty() { Severity::Warning } else { Id::ArrayPickled.severity() };
                container.findings.push(pickled(name).severity(severity));
                return Ok(());
            }
            Elements::Other(what) => {
                container.objects.push(described(&what));
                return Ok(());
            }
            Elements::Unknown(why) => return Err(named(Finding::new(Id::Unsupported, why), name)),
        };
        let bytes = elements(&shape).and_then(|count| dtype.bytes_of(count)).ok_or_else(|| {
            let message = format!("the shape {shape:?} has more elements than fit 64 bits");
            named(Finding::new(Id::NpyInvalid, message), name)
        })?;
        let held = size.saturating_sub(data);
        if bytes > held {
            let finding = Finding::new(Id::NpyTruncated, "the file ends before its array does").at(data);
            return Err(named(finding, name).needed(format!("{bytes} bytes"), format!("{held} bytes")));
        }
        if bytes < held {
            let message = "the file goes on after its array; numpy does not look there";
            let finding = named(Finding::new(Id::NpyInvalid, message).at(data.saturating_add(bytes)), name);
            let more = format!("{} bytes more", held.saturating_sub(bytes));
            container.findings.push(finding.severity(Severity::Warning).needed("the end of the file", more));
        }
        let mut recipe = Recipe::bytes(dtype, shape.clone(), file, data);
        if fortran && bytes > 0 && shape.iter().filter(|&&size| size > 1).count() > 1 {
            recipe.op = Op::Strided { file, storage: data, start: 0, strides: columns(&shape) };
        }
        if big_endian && dtype.item_bytes().is_some_and(|item| item > 1) {
            recipe = Recipe { dtype, shape, op: Op::ByteSwap(Arc::new(recipe)) };
        }
        container.tensors.push(Tensor { name: name.to_owned(), recipe, crc32: None });
        Ok(())
    }
}

/// Strides of an array whose first index counts fastest. The number of its elements fits 64 bits.
fn columns(shape: &[u64]) -> Vec<u64> {
    let next = |stride: &mut u64, &size: &u64| {
        let this = *stride;
        *stride = stride.saturating_mul(size);
        Some(this)
    };
    shape.iter().scan(1u64, next).collect()
}

/// What elements of that description are; `None` for what numpy would not write.
fn kind(descr: &Literal) -> Option<Elements> {
    let Literal::Text(code) = descr else {
        // A list of fields, or a pair of a type and its shape: records.
        let objects = matches!(descr, Literal::Sequence(fields) if holds_objects(fields));
        return Some(if objects { Elements::Objects } else { Elements::Other("records".to_owned()) });
    };
    let order = code.chars().next().filter(|order| matches!(order, '<' | '>' | '|' | '='));
    let code = order.map_or(code.as_str(), |order| code.trim_start_matches(order));
    let big_endian = order == Some('>');
    let unknown = |why: &str| Some(Elements::Unknown(why.to_owned()));
    if let Some(dtype) = Dtype::from_numpy(code) {
        return Some(Elements::Numbers { dtype, big_endian });
    }
    let dtype = match code {
        // numpy has no bfloat16: ml_dtypes' is saved as raw bytes, two an element, and MLX writes the same.
        "V2" => Dtype::Bf16,
        "V1" => {
            return unknown(
                "the elements are bytes without a type, as which numpy saves every float8 of ml_dtypes: which one is \
                 not written. Save them as safetensors instead",
            );
        }
        "f12" | "f16" | "c24" | "c32" => {
            return unknown("the elements are numpy's longdouble, which is another on each machine; save float64");
        }
        _ => {
            let (kind, size) = code.split_at_checked(1)?;
            return match kind {
                "O" => Some(Elements::Objects),
                "S" | "U" | "a" | "M" | "m" | "T" => Some(Elements::Other(format!("type {code}"))),
                "V" if size.bytes().all(|byte| byte.is_ascii_digit()) => {
                    unknown("the elements are bytes without a type")
                }
                _ => None,
            };
        }
    };
    Some(Elements::Numbers { dtype, big_endian })
}

/// Whether a field of records is an object. Names of fields are texts too: a record that looks as if it had some is
/// taken for one that has.
fn holds_objects(fields: &[Literal]) -> bool {
    fields.iter().any(|field| match field {
        Literal::Text(code) => matches!(code.as_str(), "O" | "|O"),
        Literal::Sequence(inner) => holds_objects(inner),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
