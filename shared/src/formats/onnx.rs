//! ONNX models: the initializers of their graph, which are the weights (`onnx/onnx.proto`, Protocol Buffers).
//!
//! A message is a run of fields, each a number and a value: a varint, four or eight bytes, or so many bytes. Messages within
//! messages are bytes. Everything but the initializers is passed over.

use std::sync::Arc;

use serde_json::Value;

use crate::bytes::{Cursor, ReadAt, to_u64, to_usize};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Tensor, limits};

use super::window::Window;
use super::{Container, External, Findings, Object, twice};

/// What is said of a file that ends too soon.
const SHORT: (Id, &str) = (Id::OnnxTruncated, "the file ends inside the model");

/// Fields of `ModelProto`, by number.
const MODEL: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26];
/// The version of the format, and the graph.
const VERSION: u64 = 1;
/// See [`VERSION`].
const GRAPH: u64 = 7;
/// The producer's name and version.
const PRODUCER: [u64; 2] = [2, 3];
/// Tensors of `GraphProto`.
const INITIALIZER: u64 = 5;

/// Element types by number (`TensorProto.DataType`) that fill whole bytes and are no text.
const TYPES: &[(u64, Dtype)] = &[
    (1, Dtype::F32),
    (2, Dtype::U8),
    (3, Dtype::I8),
    (4, Dtype::U16),
    (5, Dtype::I16),
    (6, Dtype::I32),
    (7, Dtype::I64),
    (9, Dtype::Bool),
    (10, Dtype::F16),
    (11, Dtype::F64),
    (12, Dtype::U32),
    (13, Dtype::U64),
    (14, Dtype::C64),
    (15, Dtype::C128),
    (16, Dtype::Bf16),
    (17, Dtype::F8E4M3),
    (18, Dtype::F8E4M3Fnuz),
    (19, Dtype::F8E5M2),
    (20, Dtype::F8E5M2Fnuz),
    (24, Dtype::F8E8M0),
];

/// The value of a field.
#[derive(Debug, Clone, Copy)]
enum Field {
    Number(u64),
    Bytes {
        at: u64,
        size: u64,
    },
    /// Four or eight bytes.
    Fixed,
}

/// Reads the next field, and passes over its bytes if it has some.
fn field(window: &mut Window<'_>, end: u64) -> Result<(u64, Field), Finding> {
    let at = window.at();
    let key = varint(window)?;
    let value = match key & 7 {
        0 => Field::Number(varint(window)?),
        1 => window.skip(8).map(|()| Field::Fixed)?,
        5 => window.skip(4).map(|()| Field::Fixed)?,
        2 => {
            let size = varint(window)?;
            let at = window.at();
            if at.checked_add(size).is_none_or(|after| after > end) {
                let finding = Finding::new(SHORT.0, SHORT.1).at(at);
                let left = format!("{} bytes", end.saturating_sub(at));
                return Err(finding.needed(format!("{size} bytes"), left));
            }
            window.skip(size)?;
            Field::Bytes { at, size }
        }
        kind => return Err(invalid(at, format!("a field of kind {kind}, which no message has"))),
    };
    Ok((key >> 3, value))
}

fn invalid(at: u64, message: impl Into<String>) -> Finding {
    Finding::new(Id::OnnxInvalid, message).at(at)
}

/// A number of seven bits a byte, the lowest first.
fn varint(window: &mut Window<'_>) -> Result<u64, Finding> {
    let at = window.at();
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let [byte] = window.number()?;
        let bits = u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        number |= bits;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(invalid(at, "a number has more than ten bytes"))
}

/// Whether a file begins as a model: its version, and then nothing but fields of a model up to the graph.
pub(super) fn is_model(source: &dyn ReadAt) -> bool {
    let mut window = Window::new(source, SHORT);
    let key = |window: &mut Window<'_>| {
        let key = varint(window).ok()?;
        MODEL.contains(&(key >> 3)).then_some(key)
    };
    if key(&mut window) != Some(VERSION << 3) || !varint(&mut window).is_ok_and(|version| (1..1000).contains(&version))
    {
        return false;
    }
    // The graph is among the first; the others have names and versions.
    for _ in 0..MODEL.len() {
        let Some(key) = key(&mut window) else { return false };
        let size = varint(&mut window);
        match (key & 7, size) {
            (2, Ok(size)) if key >> 3 == GRAPH => return size > 0,
            (2, Ok(size)) if window.skip(size).is_ok() => {}
            (0, Ok(_)) => {}
            _ => return false,
        }
    }
    false
}

/// Reads the geometry of the initializers. Those whose values are in another file have none yet, and stand in
/// [`Container::external`] too.
///
/// # Errors
/// [`Id::OnnxTruncated`], [`Id::OnnxInvalid`], [`Id::TooLarge`]. What keeps one tensor from being read is in the
/// container's findings.
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let mut reader =
        Reader { source, file, container: Container::default(), findings: Findings::default(), unpacked: 0 };
    let mut window = Window::new(source, SHORT);
    while window.left() > 0 {
        match field(&mut window, source.size())? {
            (GRAPH, Field::Bytes { at, size }) => reader.graph(at, size)?,
            (number, Field::Bytes { at, size }) if PRODUCER.contains(&number) && size < 256 => {
                let text = source.read_vec_at(size, at).map_err(|error| super::unreadable(&error, at))?;
                let name = if number == PRODUCER[0] { "producer_name" } else { "producer_version" };
                let value = Value::from(String::from_utf8_lossy(&text));
                reader.container.objects.push(Object { path: name.to_owned(), value });
            }
            _ => {}
        }
    }
    let Reader { mut container, mut findings, .. } = reader;
    twice(&container.tensors, &mut findings);
    container.findings = findings.list();
    Ok(container)
}

struct Reader<'s> {
    source: &'s dyn ReadAt,
    file: FileId,
    container: Container,
    findings: Findings,
    /// Bytes of values that were written as numbers of varying length.
    unpacked: u64,
}

/// What a `TensorProto` says.
#[derive(Default)]
struct Proto {
    name: String,
    shape: Vec<u64>,
    kind: u64,
    /// The field of the values, and where its bytes stand.
    data: Option<(u64, u64, u64)>,
    /// Where the values stand in another file.
    external: Option<External>,
    /// Values are written in more than one piece.
    scattered: bool,
}

impl Reader<'_> {
    fn graph(&mut self, at: u64, size: u64) -> Result<(), Finding> {
        let end = at.saturating_add(size);
        let mut window = Window::new(self.source, SHORT);
        window.skip(at)?;
        while window.at() < end {
            let (number, value) = field(&mut window, end)?;
            let (INITIALIZER, Field::Bytes { at, size }) = (number, value) else { continue };
            let proto = self.proto(at, size)?;
            if self.container.tensors.len() >= limits::TENSORS {
                return Err(Finding::new(Id::TooLarge, format!("more than {} initializers", limits::TENSORS)).at(at));
            }
            let name = proto.name.clone();
            match self.tensor(proto, at) {
                Ok(tensor) => self.container.tensors.push(tensor),
                Err(finding) => self.findings.push(finding.tensor(name)),
            }
        }
        Ok(())
    }

    fn proto(&mut self, at: u64, size: u64) -> Result<Proto, Finding> {
        let end = at.saturating_add(size);
        let mut window = Window::new(self.source, SHORT);
        window.skip(at)?;
        let mut proto = Proto::default();
        while window.at() < end {
            match field(&mut window, end)? {
                (1, Field::Number(size)) => proto.shape.push(size),
                (1, Field::Bytes { at, size }) => {
                    let sizes = self.varints(at, size)?;
                    proto.shape.extend(sizes);
                }
                (2, Field::Number(kind)) => proto.kind = kind,
                (8, Field::Bytes { at, size }) if size <= limits::NAME => {
                    proto.name = String::from_utf8_lossy(&self.bytes(at, size)?).into_owned();
                }
                (field @ (4 | 5 | 7 | 9 | 10 | 11), Field::Bytes { at, size }) => {
                    proto.scattered |= proto.data.is_some();
                    proto.data = Some((field, at, size));
                }
                (4 | 5 | 7 | 10 | 11, _) => proto.scattered = true,
                (13, Field::Bytes { at, size }) if size <= limits::NAME => {
                    let (key, value) = self.entry(at, size)?;
                    let number = || value.parse().map_err(|_| invalid(at, format!("{key} {value:?} is no number")));
                    let external = proto.external.get_or_insert_default();
                    match key.as_str() {
                        "location" => external.location = value,
                        "offset" => external.offset = number()?,
                        "length" => external.length = Some(number()?),
                        // A checksum or a name of somebody's own.
                        _ => {}
                    }
                }
                (14, Field::Number(1)) => drop(proto.external.get_or_insert_default()),
                _ => {}
            }
            if proto.shape.len() > limits::DIMS {
                return Err(Finding::new(Id::TooLarge, "an initializer has too many dimensions").at(at));
            }
        }
        Ok(proto)
    }

    /// Key and value of a `StringStringEntryProto`.
    fn entry(&self, at: u64, size: u64) -> Result<(String, String), Finding> {
        let end = at.saturating_add(size);
        let mut window = Window::new(self.source, SHORT);
        window.skip(at)?;
        let (mut key, mut value) = (String::new(), String::new());
        while window.at() < end {
            match field(&mut window, end)? {
                (1, Field::Bytes { at, size }) => key = String::from_utf8_lossy(&self.bytes(at, size)?).into_owned(),
                (2, Field::Bytes { at, size }) => value = String::from_utf8_lossy(&self.bytes(at, size)?).into_owned(),
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn bytes(&self, at: u64, size: u64) -> Result<Vec<u8>, Finding> {
        self.source.read_vec_at(size, at).map_err(|error| super::unreadable(&error, at))
    }

    /// Numbers of varying length, one after another.
    fn varints(&mut self, at: u64, size: u64) -> Result<Vec<u64>, Finding> {
        self.unpacked = self.unpacked.saturating_add(size.saturating_mul(8));
        if self.unpacked > limits::UNPACKED {
            let message = "the values are written as numbers of varying length, too many to be unpacked here; save the \
                           model again with raw_data, as onnx.numpy_helper.from_array writes it";
            return Err(Finding::new(Id::TooLarge, message).at(at));
        }
        let bytes = self.bytes(at, size)?;
        let mut cursor = Cursor::new(&bytes, at);
        let (mut numbers, mut number, mut shift) = (Vec::new(), 0u64, 0u32);
        while let Ok(byte) = cursor.u8() {
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift = shift.saturating_add(7);
            if byte & 0x80 == 0 {
                numbers.push(number);
                (number, shift) = (0, 0);
            }
        }
        if shift > 0 {
            return Err(invalid(cursor.offset(), "the last number of a list is cut off"));
        }
        Ok(numbers)
    }

    fn tensor(&mut self, proto: Proto, at: u64) -> Result<Tensor, Finding> {
        let Proto { name, shape, kind, data, external, scattered } = proto;
        let unsupported = |message: String| Finding::new(Id::Unsupported, message).at(at);
        let Some(&(_, dtype)) = TYPES.iter().find(|row| row.0 == kind) else {
            return Err(unsupported(format!("the initializer is of ONNX's type {kind}, which no tensor here has")));
        };
        if scattered {
            return Err(unsupported(
                "the values are written one by one; onnx.numpy_helper.from_array writes raw_data".to_owned(),
            ));
        }
        let item = dtype.item_bytes().unwrap_or(1);
        let needed = elements(&shape).and_then(|count| dtype.bytes_of(count));
        let needed =
            needed.ok_or_else(|| invalid(at, format!("the shape {shape:?} has more elements than fit 64 bits")))?;
        let wrong = |held: u64| {
            let finding = invalid(at, "the values of the initializer do not make its shape");
            finding.needed(format!("{needed} bytes"), format!("{held} bytes"))
        };
        if let Some(mut external) = external {
            external.tensor.clone_from(&name);
            let message = format!("the values are in {:?} beside the model", external.location);
            self.container.external.push(external);
            return Ok(Tensor { name, recipe: Recipe { dtype, shape, op: Op::Absent(message) }, crc32: None });
        }
        let op = match data {
            None => Op::Literal(Arc::from([])),
            // Raw values, and floats one after another, stand as they are.
            Some((9, at, _)) => Op::Bytes { file: self.file, offset: at },
            Some((4, at, _)) if matches!(dtype, Dtype::F32 | Dtype::C64) => Op::Bytes { file: self.file, offset: at },
            Some((10, at, _)) if matches!(dtype, Dtype::F64 | Dtype::C128) => Op::Bytes { file: self.file, offset: at },
            Some((5 | 7 | 11, at, size)) => {
                let numbers = self.varints(at, size)?;
                let low = |number: &u64| number.to_le_bytes().into_iter().take(to_usize(item));
                Op::Literal(numbers.iter().flat_map(low).collect::<Vec<u8>>().into())
            }
            Some(_) => return Err(invalid(at, format!("values of {dtype} are not kept in that field"))),
        };
        let held = match (&op, data) {
            (Op::Literal(bytes), _) => to_u64(bytes.len()),
            (_, data) => data.map_or(0, |(_, _, size)| size),
        };
        if held != needed {
            return Err(wrong(held));
        }
        Ok(Tensor { name, recipe: Recipe { dtype, shape, op }, crc32: None })
    }
}
