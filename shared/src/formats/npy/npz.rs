//! `.npz`: a zip of array files, as `numpy.savez` and MLX write it; deflated by `numpy.savez_compressed`.

use std::sync::Arc;

use serde_json::Value;

use crate::bytes::{Part, ReadAt};
use crate::facts::recipe::elements;
use crate::facts::{FileId, Finding, Id, Op, Recipe, Tensor, limits};
use crate::formats::zip::{self, Archive, Member};
use crate::formats::{Container, Findings, Object, twice, unreadable};

use super::{Elements, Header, named};

/// Ending of a member that is an array.
const ENDING: &str = ".npy";

/// Whether an archive is one of arrays.
pub(in crate::formats) fn is_archive(archive: &Archive) -> bool {
    archive.members.iter().any(|member| member.name.ends_with(ENDING))
}

/// Reads the headers of all arrays. Small archives that are deflated are unpacked into memory, for there is no place in
/// the file where their elements stand.
pub(in crate::formats) fn read(source: &dyn ReadAt, archive: &Archive, file: FileId) -> Container {
    let mut container = Container::default();
    let mut findings = Findings::default();
    archive.findings.iter().cloned().for_each(|finding| findings.push(finding));
    let packed = archive.members.iter().filter(|member| !member.is_plain());
    let unpacks = packed.map(|member| member.size).fold(0, u64::saturating_add) <= limits::UNPACKED;
    let mut compressed = Vec::new();
    for member in &archive.members {
        let Some(name) = member.name.strip_suffix(ENDING) else {
            let value = Value::from(format!("<file of {} bytes>", member.size));
            container.objects.push(Object { path: member.name.clone(), value });
            continue;
        };
        let read = if member.is_plain() {
            plain(source, member, file, name, &mut container)
        } else if unpacks {
            unpack(source, member, name, &mut container)
        } else {
            compressed.push(member);
            head(source, member, name, &mut container)
        };
        if let Err(finding) = read {
            findings.push(named(finding, name));
        }
    }
    container.findings.drain(..).for_each(|finding| findings.push(finding));
    if let Some(first) = compressed.first() {
        let message = format!(
            "{} arrays are compressed, too large together to be unpacked here. Unpack the file and pack it again with \
             `zip -0`, or save it with numpy.savez",
            compressed.len()
        );
        let finding = Finding::new(Id::ZipCompressed, message).at(first.header);
        findings.push(finding.needed("stored members", format!("{} by method {}", first.name, first.method)));
    }
    twice(&container.tensors, &mut findings);
    container.findings = findings.list();
    container
}

/// An array whose bytes stand in the file.
fn plain(
    source: &dyn ReadAt,
    member: &Member,
    file: FileId,
    name: &str,
    container: &mut Container,
) -> Result<(), Finding> {
    let part = Part::new(source, member.data, member.size).map_err(|error| unreadable(&error, member.data))?;
    let mut inner = Container::default();
    let read = Header::read(&part).and_then(|header| header.into(part.size(), file, name, &mut inner));
    inner.shift(member.data);
    container.append(inner);
    read.map_err(|finding| finding.shifted(member.data))
}

/// An array that is unpacked; places within it are none of the file.
fn unpack(source: &dyn ReadAt, member: &Member, name: &str, container: &mut Container) -> Result<(), Finding> {
    let here = |finding: Finding| Finding { offset: Some(member.header), ..finding };
    let bytes = zip::contents(source, member, limits::UNPACKED)?;
    let header = Header::read(&bytes).map_err(here)?;
    let mut inner = Container::default();
    header.into(bytes.size(), FileId(0), name, &mut inner).map_err(here)?;
    for mut tensor in inner.tensors.drain(..) {
        if !given(&mut tensor.recipe, &bytes) {
            tensor.recipe.op = Op::Absent("its elements are not where its header says".to_owned());
        }
        container.tensors.push(tensor);
    }
    container.objects.append(&mut inner.objects);
    container.findings.extend(inner.findings.into_iter().map(here));
    Ok(())
}

/// Puts the elements themselves in the place of where they stand in `bytes`.
fn given(recipe: &mut Recipe, bytes: &[u8]) -> bool {
    let length = recipe.len_bytes();
    let slice = |start: u64| {
        let start = usize::try_from(start).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    };
    match &mut recipe.op {
        Op::ByteSwap(of) => given(Arc::make_mut(of), bytes),
        Op::Bytes { offset, .. } => {
            let Some(slice) = slice(*offset) else { return false };
            recipe.op = Op::Literal(slice.into());
            true
        }
        Op::Strided { storage, .. } => {
            // Columns one after another are the rows of the array with its dimensions reversed.
            let Some(slice) = slice(*storage) else { return false };
            let shape: Vec<u64> = recipe.shape.iter().rev().copied().collect();
            let mut value = Recipe { dtype: recipe.dtype, shape, op: Op::Literal(slice.into()) };
            let last = recipe.shape.len().saturating_sub(1);
            for axis in 0..recipe.shape.len() / 2 {
                let mut shape = value.shape.clone();
                let other = last.saturating_sub(axis);
                shape.swap(axis, other);
                value = Recipe { dtype: value.dtype, shape, op: Op::Transpose(Arc::new(value), axis, other) };
            }
            *recipe = value;
            true
        }
        _ => false,
    }
}

/// An array that is not unpacked: its shape, without data.
fn head(source: &dyn ReadAt, member: &Member, name: &str, container: &mut Container) -> Result<(), Finding> {
    let start = zip::start(source, member, limits::NPY_HEADER.saturating_add(super::FIXED))?;
    let here = |finding: Finding| Finding { offset: Some(member.header), ..finding };
    let Header { elements: kind, shape, .. } = Header::read(&start).map_err(here)?;
    if let Elements::Numbers { dtype, .. } = kind
        && elements(&shape).and_then(|count| dtype.bytes_of(count)).is_some()
    {
        let op = Op::Absent("its member of the archive is compressed".to_owned());
        container.tensors.push(Tensor { name: name.to_owned(), recipe: Recipe { dtype, shape, op }, crc32: None });
    }
    Ok(())
}
