//! msgpack as Flax writes it: maps within maps, and arrays as extensions that hold shape, dtype and bytes
//! (`flax/serialization.py`).
//!
//! Keys that lead to an array are joined by `.`. An array of more than a gigabyte is cut into flat chunks, a map of its own;
//! it is joined again.

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::bytes::{ReadAt, to_u64};
use crate::facts::dtype::Kind;
use crate::facts::recipe::{Tile, elements};
use crate::facts::{Dtype, FileId, Finding, Id, Op, Recipe, Severity, Tensor, limits};

use super::window::Window;
use super::{Container, Findings, Object, twice};

/// The key of a map that is an array in chunks.
const CHUNKED: &str = "__msgpack_chunked_array__";
/// The longest text that is kept as it is.
const TEXT: u64 = 4096;
/// Objects that are kept; the rest is counted.
const OBJECTS: usize = 10_000;
/// What is said of a file that ends too soon.
const SHORT: (Id, &str) = (Id::MsgpackTruncated, "the file ends inside a value");

/// Whether a file begins (its first 64 bytes are enough) with a map whose first key is a word.
pub(super) fn is_map(start: &[u8]) -> bool {
    let ([0x81..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..] | [0xdf, _, _, _, _, rest @ ..]) = start else {
        return false;
    };
    let (length, key) = match rest {
        [length @ 0xa1..=0xbf, key @ ..] => (length & 0x1f, key),
        [0xd9, length, key @ ..] => (*length, key),
        _ => return false,
    };
    let key = key.get(..usize::from(length).min(key.len()).min(40)).unwrap_or_default();
    !key.is_empty() && key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// Reads the geometry of a file: values are passed over, arrays without their bytes.
///
/// # Errors
/// [`Id::MsgpackTruncated`], [`Id::MsgpackInvalid`], [`Id::TooLarge`].
pub fn read(source: &dyn ReadAt, file: FileId) -> Result<Container, Finding> {
    let mut window = Window::new(source, SHORT);
    window.big = true;
    let (container, findings) = (Container::default(), Findings::default());
    let mut reader = Reader { window, file, container, findings, path: String::new(), kept: 0 };
    reader.value(0)?;
    let Reader { window, mut container, mut findings, .. } = reader;
    if window.left() > 0 {
        let message = format!("{} bytes follow the end of the map, which Flax never writes", window.left());
        findings.push(Finding::new(Id::MsgpackInvalid, message).at(window.at()).severity(Severity::Warning));
    }
    twice(&container.tensors, &mut findings);
    container.findings = findings.list();
    container.objects_left_out = to_u64(container.objects.len().saturating_sub(OBJECTS));
    container.objects.truncate(OBJECTS);
    Ok(container)
}

struct Reader<'a> {
    window: Window<'a>,
    file: FileId,
    container: Container,
    findings: Findings,
    path: String,
    /// Bytes of names and texts kept so far.
    kept: u64,
}

fn invalid(at: u64, message: impl Into<String>) -> Finding {
    Finding::new(Id::MsgpackInvalid, message).at(at)
}

impl Reader<'_> {
    /// Reads a value of any kind and keeps what it is.
    fn value(&mut self, depth: usize) -> Result<(), Finding> {
        let at = self.window.at();
        let kind = self.byte()?;
        match kind {
            0x80..=0x8f => self.map(u64::from(kind & 0x0f), at, depth),
            0xde => self.length(2).and_then(|count| self.map(count, at, depth)),
            0xdf => self.length(4).and_then(|count| self.map(count, at, depth)),
            0x90..=0x9f => self.array(u64::from(kind & 0x0f), at, depth),
            0xdc => self.length(2).and_then(|count| self.array(count, at, depth)),
            0xdd => self.length(4).and_then(|count| self.array(count, at, depth)),
            0xd4..=0xd8 => self.extension(1 << kind.saturating_sub(0xd4)),
            0xc7 => self.length(1).and_then(|bytes| self.extension(bytes)),
            0xc8 => self.length(2).and_then(|bytes| self.extension(bytes)),
            0xc9 => self.length(4).and_then(|bytes| self.extension(bytes)),
            0xc4..=0xc6 => {
                let bytes = self.length(1 << kind.saturating_sub(0xc4))?;
                self.window.skip(bytes)?;
                self.object(Value::from(format!("<bytes of {bytes}>")), at)
            }
            _ => {
                let value = self.scalar(kind, at)?;
                self.object(value, at)
            }
        }
    }

    /// A number, a truth value, a text, or nothing.
    fn scalar(&mut self, kind: u8, at: u64) -> Result<Value, Finding> {
        let float = |value: f64| Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number);
        Ok(match kind {
            0x00..=0x7f => Value::from(kind),
            0xe0..=0xff => Value::from(i8::from_le_bytes([kind])),
            0xc0 => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xca => float(f64::from(f32::from_le_bytes(self.window.number()?))),
            0xcb => float(f64::from_le_bytes(self.window.number()?)),
            0xcc => Value::from(self.byte()?),
            0xcd => Value::from(u16::from_le_bytes(self.window.number()?)),
            0xce => Value::from(u32::from_le_bytes(self.window.number()?)),
            0xcf => Value::from(u64::from_le_bytes(self.window.number()?)),
            0xd0 => Value::from(i8::from_le_bytes(self.window.number()?)),
            0xd1 => Value::from(i16::from_le_bytes(self.window.number()?)),
            0xd2 => Value::from(i32::from_le_bytes(self.window.number()?)),
            0xd3 => Value::from(i64::from_le_bytes(self.window.number()?)),
            0xa0..=0xbf | 0xd9..=0xdb => {
                let length = self.text_length(kind)?;
                if length > TEXT {
                    self.window.skip(length)?;
                    return Ok(Value::from(format!("<text of {length} bytes>")));
                }
                Value::from(String::from_utf8_lossy(self.window.take(length)?))
            }
            _ => return Err(invalid(at, format!("the byte {kind:#04x} begins no value"))),
        })
    }

    fn text_length(&mut self, kind: u8) -> Result<u64, Finding> {
        match kind {
            0xa0..=0xbf => Ok(u64::from(kind & 0x1f)),
            _ => self.length(1 << kind.saturating_sub(0xd9)),
        }
    }

    fn byte(&mut self) -> Result<u8, Finding> {
        Ok(u8::from_le_bytes(self.window.number()?))
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, bytes: u8) -> Result<u64, Finding> {
        Ok(match bytes {
            1 => u64::from(self.byte()?),
            2 => u64::from(u16::from_le_bytes(self.window.number()?)),
            _ => u64::from(u32::from_le_bytes(self.window.number()?)),
        })
    }

    /// A text where only a text may stand.
    fn text(&mut self, what: &str) -> Result<String, Finding> {
        let at = self.window.at();
        let kind = self.byte()?;
        if !matches!(kind, 0xa0..=0xbf | 0xd9..=0xdb) {
            return Err(invalid(at, format!("{what} is no text")));
        }
        let length = self.text_length(kind)?;
        if length > limits::NAME {
            let finding = Finding::new(Id::TooLarge, format!("{what} is longer than any real one")).at(at);
            return Err(finding.needed(format!("at most {} bytes", limits::NAME), length));
        }
        Ok(String::from_utf8_lossy(self.window.take(length)?).into_owned())
    }

    /// A key: a text, or a number as its digits.
    fn key(&mut self) -> Result<String, Finding> {
        let at = self.window.at();
        let kind = self.window.peek()?;
        if matches!(kind, 0xa0..=0xbf | 0xd9..=0xdb) {
            return self.text("a key");
        }
        let kind = self.byte()?;
        match self.scalar(kind, at)? {
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(invalid(at, "a key is neither text nor number")),
        }
    }

    /// Reads what stands under a key.
    fn under(&mut self, key: &str, depth: usize) -> Result<(), Finding> {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        self.value(depth.saturating_add(1))?;
        self.path.truncate(before);
        Ok(())
    }

    fn deeper(&self, count: u64, at: u64, depth: usize) -> Result<(), Finding> {
        if depth >= limits::MSGPACK_NESTING {
            let message = format!("maps nest deeper than {} levels", limits::MSGPACK_NESTING);
            return Err(Finding::new(Id::TooLarge, message).at(at));
        }
        // A part has a byte at least.
        if count > self.window.left() {
            let finding = Finding::new(Id::MsgpackTruncated, "the file is too short for the parts it announces");
            return Err(finding.at(at).needed(format!("{count} parts"), format!("{} bytes", self.window.left())));
        }
        Ok(())
    }

    fn map(&mut self, count: u64, at: u64, depth: usize) -> Result<(), Finding> {
        self.deeper(count, at, depth)?;
        let (tensors, objects) = (self.container.tensors.len(), self.container.objects.len());
        let mut chunked = false;
        for _ in 0..count {
            let key = self.key()?;
            chunked |= key == CHUNKED;
            self.under(&key, depth)?;
        }
        if chunked {
            let parts = self.container.tensors.split_off(tensors);
            let said = self.container.objects.split_off(objects);
            let joined = join(&self.path, parts, &said).map_err(|why| invalid(at, why).tensor(&*self.path))?;
            self.container.tensors.push(joined);
        } else if count == 0 {
            self.object(Value::from("<map of 0>"), at)?;
        }
        Ok(())
    }

    fn array(&mut self, count: u64, at: u64, depth: usize) -> Result<(), Finding> {
        self.deeper(count, at, depth)?;
        if count == 0 {
            return self.object(Value::from("<list of 0>"), at);
        }
        (0..count).try_for_each(|index| self.under(&index.to_string(), depth))
    }

    /// An extension of `bytes` bytes: an array, a complex number, or a scalar of numpy.
    fn extension(&mut self, bytes: u64) -> Result<(), Finding> {
        let kind = self.byte()?;
        let (at, left) = (self.window.at(), self.window.left());
        if bytes > left {
            let finding = Finding::new(SHORT.0, SHORT.1).at(at).tensor(&*self.path);
            return Err(finding.needed(format!("{bytes} bytes"), format!("{left} bytes")));
        }
        let end = at.saturating_add(bytes);
        if !matches!(kind, 1 | 3) {
            self.window.skip(bytes)?;
            let what = if kind == 2 { "complex number".to_owned() } else { format!("extension {kind}") };
            return self.object(Value::from(format!("<{what} of {bytes} bytes>")), at);
        }
        let tensor = self.ndarray(end)?;
        if self.container.tensors.len() >= limits::TENSORS {
            return Err(Finding::new(Id::TooLarge, format!("more than {} arrays", limits::TENSORS)).at(at));
        }
        self.keep(0, at)?;
        match tensor {
            Ok(tensor) => self.container.tensors.push(tensor),
            Err(finding) => self.findings.push(finding),
        }
        self.window.skip(end.saturating_sub(self.window.at()))
    }

    /// An array: its shape, the name of its dtype, its bytes, up to byte `end`. What only keeps the array itself from being
    /// read is the inner error.
    fn ndarray(&mut self, end: u64) -> Result<Result<Tensor, Finding>, Finding> {
        let at = self.window.at();
        let wrong = |what: &str| invalid(at, format!("an array {what}"));
        if self.byte()? != 0x93 {
            return Err(wrong("is not of three parts: shape, dtype and bytes"));
        }
        let kind = self.byte()?;
        let count = match kind {
            0x90..=0x9f => u64::from(kind & 0x0f),
            0xdc => self.length(2)?,
            _ => return Err(wrong("has no shape")),
        };
        if count > to_u64(limits::DIMS) {
            return Err(Finding::new(Id::TooLarge, format!("an array has {count} dimensions")).at(at));
        }
        let mut shape = Vec::new();
        for _ in 0..count {
            let (at, kind) = (self.window.at(), self.byte()?);
            shape.push(self.scalar(kind, at)?.as_u64().ok_or_else(|| wrong("has a size that is no number"))?);
        }
        let name = self.text("the dtype of an array")?;
        let length = match self.byte()? {
            0xc4 => self.length(1)?,
            0xc5 => self.length(2)?,
            0xc6 => self.length(4)?,
            _ => return Err(wrong("has no bytes")),
        };
        let data = self.window.at();
        if data.saturating_add(length) != end {
            let needed = format!("{} bytes", end.saturating_sub(data));
            return Err(wrong("does not fill its extension").needed(needed, format!("{length} bytes")));
        }
        let plain = |dtype: &Dtype| dtype.item_bytes().is_some() && dtype.kind() != Kind::Opaque;
        let Some(dtype) = Dtype::from_torch(&name).filter(plain) else {
            let message = format!("the array is of numpy's type {name}, which no tensor here has");
            return Ok(Err(Finding::new(Id::Unsupported, message).at(at).tensor(&*self.path)));
        };
        let needed = elements(&shape).and_then(|count| dtype.bytes_of(count));
        if needed != Some(length) {
            let needed =
                needed.map_or_else(|| "more than 64 bits can say".to_owned(), |bytes| format!("{bytes} bytes"));
            let finding = wrong("has not the bytes that its shape needs").tensor(&*self.path);
            return Ok(Err(finding.needed(needed, format!("{length} bytes"))));
        }
        let recipe = Recipe::bytes(dtype, shape, self.file, data);
        Ok(Ok(Tensor { name: self.path.clone(), recipe, crc32: None }))
    }

    /// Counts what is about to be kept under the name that has been reached: the name, and a text of so many bytes.
    fn keep(&mut self, text: usize, at: u64) -> Result<(), Finding> {
        self.kept = self.kept.saturating_add(to_u64(self.path.len())).saturating_add(to_u64(text));
        if self.kept > limits::MSGPACK_NAMES {
            let finding = Finding::new(Id::TooLarge, "the names of all values together are longer than any real ones");
            return Err(finding.at(at).needed(format!("at most {} bytes", limits::MSGPACK_NAMES), "more"));
        }
        Ok(())
    }

    /// Keeps what is no array.
    fn object(&mut self, value: Value, at: u64) -> Result<(), Finding> {
        self.keep(value.as_str().map_or(0, str::len), at)?;
        if self.container.objects.len() >= limits::TENSORS {
            return Err(Finding::new(Id::TooLarge, format!("more than {} values", limits::TENSORS)).at(at));
        }
        self.container.objects.push(Object { path: self.path.clone(), value });
        Ok(())
    }
}

/// The array of flat chunks, in the order of their numbers, and of a shape, a number a dimension.
fn join(name: &str, parts: Vec<Tensor>, said: &[Object]) -> Result<Tensor, String> {
    let below = |path: &str, key: &str| {
        let own = path.strip_prefix(name)?.trim_start_matches('.');
        own.strip_prefix(key)?.strip_prefix('.')?.parse::<usize>().ok()
    };
    let mut sizes: Vec<(usize, u64)> =
        said.iter().filter_map(|object| Some((below(&object.path, "shape")?, object.value.as_u64()?))).collect();
    sizes.sort_unstable();
    let mut chunks: Vec<(usize, Recipe)> =
        parts.into_iter().filter_map(|part| Some((below(&part.name, "chunks")?, part.recipe))).collect();
    chunks.sort_by_key(|chunk| chunk.0);
    let in_order = sizes.iter().enumerate().all(|(place, size)| place == size.0)
        && chunks.iter().enumerate().all(|(place, chunk)| place == chunk.0);
    let dtype = chunks.first().map(|chunk| chunk.1.dtype).filter(|_| in_order && sizes.len() <= limits::DIMS);
    let dtype = dtype.ok_or("the array in chunks lacks chunks or a shape")?;
    let (mut tiles, mut reached) = (Vec::new(), 0u64);
    for (_, part) in chunks {
        let &[length] = part.shape.as_slice() else { return Err("a chunk of the array is not flat".to_owned()) };
        if part.dtype != dtype {
            return Err(format!("a chunk of the array is {} beside {dtype}", part.dtype));
        }
        tiles.push(Tile { at: vec![reached], part: Arc::new(part) });
        reached = reached.saturating_add(length);
    }
    let shape: Vec<u64> = sizes.into_iter().map(|size| size.1).collect();
    if elements(&shape) != Some(reached) {
        return Err(format!("the chunks of the array hold {reached} elements, which do not make {shape:?}"));
    }
    let flat = match tiles.as_slice() {
        [tile] => (*tile.part).clone(),
        _ => Recipe { dtype, shape: vec![reached], op: Op::Tiles(tiles) },
    };
    Ok(Tensor { name: name.to_owned(), recipe: Recipe { dtype, shape, op: Op::Reshape(Arc::new(flat)) }, crc32: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[u8], dtype: &str, bytes: &[u8]) -> Vec<u8> {
        let mut inner = vec![0x93, 0x90 | u8::try_from(shape.len()).unwrap()];
        inner.extend(shape);
        inner.push(0xa0 | u8::try_from(dtype.len()).unwrap());
        inner.extend(dtype.as_bytes());
        inner.extend([0xc4, u8::try_from(bytes.len()).unwrap()]);
        inner.extend(bytes);
        [vec![0xc7, u8::try_from(inner.len()).unwrap(), 1], inner].concat()
    }

    fn map(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0x80 | u8::try_from(items.len()).unwrap()];
        for (key, value) in items {
            bytes.push(0xa0 | u8::try_from(key.len()).unwrap());
            bytes.extend(key.as_bytes());
            bytes.extend(value);
        }
        bytes
    }

    #[test]
    fn arrays_lie_below_their_keys() {
        let file = map(&[("params", map(&[("w", array(&[1, 2], "bfloat16", b"1234"))])), ("step", vec![3])]);
        assert!(is_map(&file));
        let read = read(&file, FileId(0)).unwrap();
        assert_eq!((read.tensors.len(), read.findings.len()), (1, 0));
        assert_eq!((read.tensors[0].name.as_str(), read.tensors[0].recipe.dtype), ("params.w", Dtype::Bf16));
        let (_, offset) = read.tensors[0].recipe.contiguous().unwrap();
        assert_eq!(file.read_vec_at(4, offset).unwrap(), b"1234");
        assert_eq!(read.objects, [Object { path: "step".into(), value: 3.into() }]);
    }

    #[test]
    fn chunks_are_joined_and_must_fit() {
        let shape = map(&[("0", vec![2]), ("1", vec![2])]);
        let chunks = |last: &[u8]| {
            let last = array(&[u8::try_from(last.len()).unwrap()], "uint8", last);
            map(&[("0", array(&[3], "uint8", b"abc")), ("1", last)])
        };
        let file = |chunks| map(&[("w", map(&[(CHUNKED, vec![0xc3]), ("shape", shape.clone()), ("chunks", chunks)]))]);
        let joined = read(&file(chunks(b"d")), FileId(0)).unwrap();
        assert_eq!((joined.tensors[0].name.as_str(), joined.tensors[0].recipe.shape.clone()), ("w", vec![2, 2]));
        assert_eq!(joined.objects, []);
        assert_eq!(read(&file(chunks(b"de")), FileId(0)).unwrap_err().id, Id::MsgpackInvalid);
    }

    #[test]
    fn damage_is_named() {
        let wrong = |bytes: &[u8]| {
            read(&bytes.to_vec(), FileId(0)).map_or_else(|finding| finding.id, |read| read.findings[0].id)
        };
        assert_eq!(wrong(b"\x81\xa1w"), Id::MsgpackTruncated);
        assert_eq!(wrong(b"\x81\xa1w\xc1"), Id::MsgpackInvalid);
        assert_eq!(wrong(b"\x81\xa1w\x01\x02"), Id::MsgpackInvalid);
        assert_eq!(wrong(&map(&[("w", array(&[3], "float32", b"1234"))])), Id::MsgpackInvalid);
        assert_eq!(wrong(&map(&[("w", array(&[8], "int4", b"12345678"))])), Id::Unsupported);
        assert_eq!(wrong(&vec![0x91; 100_000]), Id::TooLarge);
        assert_eq!(wrong(b"\xdf\xff\xff\xff\xff\xa1w\x01"), Id::MsgpackTruncated);
        // Few bytes that spell out a name of half a megabyte for each of a thousand values.
        let key = [b"\xda\xff\x00".as_slice(), &vec![b'k'; 0xff00]].concat();
        let deep = [b"\x81".as_slice(), &key].concat().repeat(8);
        assert_eq!(wrong(&[deep.as_slice(), b"\xdc\x03\xe8", &[1; 1000]].concat()), Id::TooLarge);
    }
}
