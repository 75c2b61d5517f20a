//! `.pt2`, a program of `torch.export` with its weights: raw storages and JSON that says what they are
//! (`torch/export/pt2_archive/`), or, until torch 2.8, files of `torch.save` within a zip.

use serde_json::Value;

use crate::bytes::{Part, ReadAt};
use crate::facts::{Dtype, FileId, Finding, Id, limits};
use crate::formats::zip::{self, Archive, Member};
use crate::formats::{Container, Findings, Object, json, twice, unreadable};

use super::storages::{Place, Storages};
use super::tensor::{self, Origin, View};
use super::{Records, SMALL, odd_storages};

/// The state dict of a program before torch 2.9, and the program.
const STATE: &str = "serialized_state_dict.pt";
/// See [`STATE`].
const PROGRAM: &str = "serialized_exported_program.json";
/// Where weights lie, and how their description ends.
const WEIGHTS: &str = "data/weights/";
/// See [`WEIGHTS`].
const CONFIG: &str = "_weights_config.json";
/// The same for constants, which are part of the program.
const CONSTANTS: (&str, &str) = ("data/constants/", "_constants_config.json");

/// Element types by number (`ScalarType` of `torch/_export/serde/schema.py`).
const TYPES: &[(u64, Dtype)] = &[
    (1, Dtype::U8),
    (2, Dtype::I8),
    (3, Dtype::I16),
    (4, Dtype::I32),
    (5, Dtype::I64),
    (6, Dtype::F16),
    (7, Dtype::F32),
    (8, Dtype::F64),
    (9, Dtype::C32),
    (10, Dtype::C64),
    (11, Dtype::C128),
    (12, Dtype::Bool),
    (13, Dtype::Bf16),
    (28, Dtype::U16),
    (29, Dtype::F8E4M3),
    (30, Dtype::F8E5M2),
    (31, Dtype::F8E4M3Fnuz),
    (32, Dtype::F8E5M2Fnuz),
    (33, Dtype::F8E8M0),
    (34, Dtype::U32),
    (35, Dtype::U64),
];

/// Whether an archive is one of `torch.export`.
pub(in crate::formats) fn is_archive(archive: &Archive) -> bool {
    archive.find(PROGRAM).is_some()
        || archive.members.iter().any(|member| member.name.ends_with("/archive_format") && member.size == 3)
}

/// Reads the geometry of the weights of a program.
///
/// # Errors
/// [`Id::TorchRecordMissing`] without weights, [`Id::JsonInvalid`], [`Id::TooLarge`], the zip's own damage.
pub(in crate::formats) fn read(source: &dyn ReadAt, archive: &Archive, file: FileId) -> Result<Container, Finding> {
    if let Some(state) = archive.find(STATE) {
        let mut container = pickled(source, state, file)?;
        container.findings.extend(archive.findings.iter().cloned());
        return Ok(container);
    }
    let records = Records::new(archive)?;
    let mut configs: Vec<(&str, &Member)> = records
        .members
        .iter()
        .filter_map(|(name, member)| Some((name.strip_prefix(WEIGHTS)?.strip_suffix(CONFIG)?, *member)))
        .collect();
    configs.sort_unstable_by_key(|config| config.0);
    if configs.is_empty() {
        let finding = Finding::new(Id::TorchRecordMissing, "the exported program holds no weights of its own");
        return Err(finding.needed(format!("{WEIGHTS}model{CONFIG}"), "no such record"));
    }
    let mut program = Program {
        source,
        records: &records,
        file,
        big_endian: records.get("byteorder").and_then(|member| zip::contents(source, member, SMALL).ok())
            == Some(b"big".to_vec()),
        storages: Storages::default(),
        container: Container::default(),
        findings: Findings::default(),
    };
    archive.findings.iter().cloned().for_each(|finding| program.findings.push(finding));
    let several = configs.len() > 1;
    for (model, config) in configs {
        let prefix = if several { format!("{model}.") } else { String::new() };
        program.weights(config, &prefix)?;
    }
    program.constants();
    let Program { storages, mut container, mut findings, .. } = program;
    odd_storages(&storages, &mut findings);
    twice(&container.tensors, &mut findings);
    container.storages = storages.table(file);
    container.findings = findings.list();
    Ok(container)
}

/// A member that is a file of `torch.save`.
fn pickled(source: &dyn ReadAt, member: &Member, file: FileId) -> Result<Container, Finding> {
    if !member.is_plain() {
        let message =
            format!("the member {} is compressed; unpack the file and pack it again with `zip -0`", member.name);
        return Err(Finding::new(Id::ZipCompressed, message).at(member.header));
    }
    let part = Part::new(source, member.data, member.size).map_err(|error| unreadable(&error, member.data))?;
    let mut container = super::read(&part, file).map_err(|finding| finding.shifted(member.data))?;
    container.shift(member.data);
    Ok(container)
}

struct Program<'s> {
    source: &'s dyn ReadAt,
    records: &'s Records<'s>,
    file: FileId,
    big_endian: bool,
    storages: Storages,
    container: Container,
    findings: Findings,
}

/// What the JSON says of a weight.
struct Entry {
    path: String,
    pickled: bool,
    dtype: Dtype,
    shape: Vec<u64>,
    strides: Vec<u64>,
    start: u64,
}

impl Entry {
    fn of(value: &Value) -> Option<Entry> {
        let meta = value.get("tensor_meta")?;
        let number = |value: &Value| value.get("as_int")?.as_u64();
        let numbers = |key: &str| meta.get(key)?.as_array()?.iter().map(number).collect::<Option<Vec<u64>>>();
        let kind = meta.get("dtype")?.as_u64()?;
        Some(Entry {
            path: value.get("path_name")?.as_str()?.to_owned(),
            pickled: value.get("use_pickle").and_then(Value::as_bool).unwrap_or(false),
            dtype: TYPES.iter().find(|row| row.0 == kind)?.1,
            shape: numbers("sizes")?,
            strides: numbers("strides")?,
            start: number(meta.get("storage_offset")?)?,
        })
    }
}

impl Program<'_> {
    /// The entries of a description.
    fn config(&self, member: &Member) -> Result<serde_json::Map<String, Value>, Finding> {
        let text = zip::contents(self.source, member, limits::JSON)?;
        let mut value = json::parse(&text).map_err(|finding| finding.shifted(member.data))?;
        match value.get_mut("config").map(Value::take) {
            Some(Value::Object(entries)) => Ok(entries),
            _ => Err(Finding::new(Id::JsonInvalid, format!("{} has no `config`", member.name)).at(member.data)),
        }
    }

    fn weights(&mut self, config: &Member, prefix: &str) -> Result<(), Finding> {
        for (name, value) in self.config(config)? {
            let name = format!("{prefix}{name}");
            if let Err(finding) = self.weight(&name, &value, config) {
                self.findings.push(finding.tensor(name));
            }
        }
        Ok(())
    }

    fn weight(&mut self, name: &str, value: &Value, config: &Member) -> Result<(), Finding> {
        let entry = Entry::of(value).ok_or_else(|| {
            let message = format!("{} does not say dtype, sizes and place of the weight", config.name);
            Finding::new(Id::PickleTensor, message).at(config.data)
        })?;
        let path = format!("{WEIGHTS}{}", entry.path);
        let member = self.records.get(&path).ok_or_else(|| {
            Finding::new(Id::TorchRecordMissing, "the record of the weight is missing").needed(&path, "no such record")
        })?;
        if entry.pickled {
            let mut inner = pickled(self.source, member, self.file)?;
            for mut tensor in inner.tensors.drain(..) {
                tensor.name = if tensor.name.is_empty() { name.to_owned() } else { format!("{name}.{}", tensor.name) };
                self.container.tensors.push(tensor);
            }
            inner.findings.drain(..).for_each(|finding| self.findings.push(finding));
            return Ok(());
        }
        if !member.is_plain() {
            let message = "the record of the weight is compressed; unpack the file and pack it again with `zip -0`";
            return Err(Finding::new(Id::ZipCompressed, message).at(member.header));
        }
        let place = Place::File { offset: member.data, bytes: member.size, crc32: member.crc32 };
        let reference = self.storages.insert(entry.path, member.size, Some(entry.dtype), place);
        let Entry { dtype, shape, strides, start, .. } = entry;
        let view = View { reference, dtype, start, shape, strides, conj: false, neg: false };
        let origin = Origin { file: self.file, big_endian: self.big_endian };
        let made = tensor::tensor(view, name, &mut self.storages, origin);
        let (tensor, finding) =
            made.map_err(|(id, why)| Finding::new(id, format!("a tensor cannot be made out: {why}")))?;
        if tensor.recipe.dtype.bytes_of(tensor.recipe.elements()).is_none() {
            return Err(Finding::new(Id::Unsupported, "its packed elements do not fill whole bytes"));
        }
        self.container.tensors.push(tensor);
        if let Some(finding) = finding {
            self.findings.push(finding);
        }
        Ok(())
    }

    /// Constants are told as what they are, for they are no weights; without them the rest is whole.
    fn constants(&mut self) {
        let members = self.records.members.iter();
        let own = members.filter_map(|(name, member)| {
            (name.starts_with(CONSTANTS.0) && name.ends_with(CONSTANTS.1)).then_some(*member)
        });
        for member in own.collect::<Vec<_>>() {
            for (name, value) in self.config(member).unwrap_or_default() {
                let what =
                    Entry::of(&value).map_or_else(String::new, |entry| format!(" {} {:?}", entry.dtype, entry.shape));
                let value = Value::from(format!("<constant{what}>"));
                self.container.objects.push(Object { path: name, value });
            }
        }
    }
}
