//! The document's schema, written a second time and strictly: no field that is not listed here, none missing, and the
//! sense that types cannot hold. It shares nothing with the library's own types, so that neither can drift unseen.
#![allow(dead_code, reason = "the fields are there to be parsed")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Holds one document against the schema. Fields whose names begin with `x-` are the test's own and passed over.
///
/// # Errors
/// What is wrong with it, and the document.
pub fn check(mut value: Value) -> Result<(), String> {
    drop_own(&mut value);
    let text = value.to_string();
    let document: Document =
        serde_json::from_value(value).map_err(|error| format!("not of the schema: {error}\n{text}"))?;
    document.sense().map_err(|wrong| format!("{wrong}\n{text}"))
}

fn drop_own(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.starts_with("x-"));
            map.values_mut().for_each(drop_own);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_own),
        _ => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Findings,
    Error,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    path: String,
    path_base64: Option<String>,
    snapshot: Option<String>,
    status: Status,
    error: Option<Error>,
    inspect: Option<Inspect>,
    verify: Option<Verify>,
    convert: Option<Convert>,
    hash: Option<Hash>,
    #[serde(default)]
    children: Vec<Document>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Error {
    id: String,
    #[serde(deserialize_with = "null")]
    file: Option<String>,
    #[serde(deserialize_with = "null")]
    offset: Option<u64>,
    #[serde(deserialize_with = "null")]
    tensor: Option<String>,
    message: String,
    #[serde(deserialize_with = "null")]
    help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Error,
    Warning,
    Note,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    id: String,
    severity: Grade,
    #[serde(deserialize_with = "null")]
    file: Option<String>,
    #[serde(deserialize_with = "null")]
    offset: Option<u64>,
    #[serde(deserialize_with = "null")]
    tensor: Option<String>,
    #[serde(deserialize_with = "null")]
    needed: Option<String>,
    #[serde(deserialize_with = "null")]
    found: Option<String>,
    message: String,
    #[serde(deserialize_with = "null")]
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    error: usize,
    warning: usize,
    note: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inspect {
    layout: String,
    shard: Option<Shard>,
    formats: Vec<String>,
    #[serde(deserialize_with = "null")]
    family: Option<Family>,
    parameters: u64,
    bytes: u64,
    dtypes: BTreeMap<String, Sum>,
    tied: Tied,
    files: Vec<File>,
    #[serde(deserialize_with = "null")]
    config: Option<Config>,
    adapter: Option<Adapter>,
    #[serde(deserialize_with = "null")]
    tokenizer: Option<Tokenizer>,
    #[serde(deserialize_with = "null")]
    training: Option<Training>,
    missing: Vec<String>,
    also: Option<Vec<String>>,
    tensors: Option<Vec<Tensor>>,
    tree: Option<Node>,
    stats: Option<Vec<Stats>>,
    diff: Option<Diff>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shard {
    number: u64,
    #[serde(deserialize_with = "null")]
    of: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    name: String,
    #[serde(deserialize_with = "null")]
    variant: Option<String>,
    from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    tensors: u64,
    parameters: u64,
    bytes: u64,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum YesNo {
    Yes,
    No,
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tied {
    head: YesNo,
    #[serde(deserialize_with = "null")]
    from: Option<String>,
    shared: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    size: u64,
    format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    file: String,
    #[serde(deserialize_with = "null")]
    model_type: Option<String>,
    #[serde(deserialize_with = "null")]
    architecture: Option<String>,
    #[serde(deserialize_with = "null")]
    layers: Option<u64>,
    #[serde(deserialize_with = "null")]
    hidden: Option<u64>,
    #[serde(deserialize_with = "null")]
    intermediate: Option<u64>,
    #[serde(deserialize_with = "null")]
    heads: Option<u64>,
    #[serde(deserialize_with = "null")]
    kv_heads: Option<u64>,
    #[serde(deserialize_with = "null")]
    head_dim: Option<u64>,
    #[serde(deserialize_with = "null")]
    vocab: Option<u64>,
    #[serde(deserialize_with = "null")]
    context: Option<u64>,
    #[serde(deserialize_with = "null")]
    rope_theta: Option<f64>,
    #[serde(deserialize_with = "null")]
    rope_scaling: Option<Value>,
    #[serde(deserialize_with = "null")]
    norm_eps: Option<f64>,
    #[serde(deserialize_with = "null")]
    tied: Option<bool>,
    #[serde(deserialize_with = "null")]
    dtype: Option<String>,
    #[serde(deserialize_with = "null")]
    quantization: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adapter {
    kind: String,
    names: String,
    #[serde(deserialize_with = "null")]
    rank: Option<u64>,
    #[serde(deserialize_with = "null")]
    alpha: Option<f64>,
    rslora: bool,
    modules: u64,
    targets: Vec<String>,
    #[serde(deserialize_with = "null")]
    base: Option<String>,
    #[serde(deserialize_with = "null")]
    config: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokenizer {
    kind: String,
    #[serde(deserialize_with = "null")]
    tokens: Option<u64>,
    file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    form: Option<String>,
    #[serde(deserialize_with = "null")]
    step: Option<u64>,
    #[serde(deserialize_with = "null")]
    epoch: Option<f64>,
    optimizer: bool,
    scheduler: bool,
    rng: bool,
    found: Vec<String>,
    #[serde(default)]
    values: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    bytes: u64,
    file: Option<String>,
    offset: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: String,
    tensors: u64,
    parameters: u64,
    bytes: u64,
    tensor: Option<Geometry>,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Geometry {
    dtype: String,
    shape: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stats {
    name: String,
    count: u64,
    #[serde(deserialize_with = "null")]
    min: Option<f64>,
    #[serde(deserialize_with = "null")]
    max: Option<f64>,
    #[serde(deserialize_with = "null")]
    mean: Option<f64>,
    #[serde(deserialize_with = "null")]
    std: Option<f64>,
    #[serde(deserialize_with = "null")]
    norm: Option<f64>,
    zeros: u64,
    nan: u64,
    inf: u64,
    imaginary: Option<Figures>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    #[serde(deserialize_with = "null")]
    min: Option<f64>,
    #[serde(deserialize_with = "null")]
    max: Option<f64>,
    #[serde(deserialize_with = "null")]
    mean: Option<f64>,
    #[serde(deserialize_with = "null")]
    std: Option<f64>,
    #[serde(deserialize_with = "null")]
    norm: Option<f64>,
    zeros: u64,
    nan: u64,
    inf: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Diff {
    other: String,
    only_here: Vec<Tensor>,
    only_there: Vec<Tensor>,
    changed: Vec<Changed>,
    config: Vec<Setting>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    name: String,
    here: Geometry,
    there: Geometry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    key: String,
    here: Value,
    there: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    level: String,
    #[serde(deserialize_with = "null")]
    expect: Option<String>,
    counts: Counts,
    findings: Vec<Finding>,
    against: Option<String>,
    manifest: Option<String>,
    stats: Option<Vec<Stats>>,
    compared: Option<Vec<Compared>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compared {
    name: String,
    #[serde(deserialize_with = "null")]
    max_abs: Option<f64>,
    #[serde(deserialize_with = "null")]
    max_rel: Option<f64>,
    #[serde(deserialize_with = "null")]
    cosine: Option<f64>,
    #[serde(deserialize_with = "null")]
    first: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Convert {
    to: String,
    source: Source,
    inferred: Vec<Inferred>,
    written: Vec<Written>,
    lost: Vec<String>,
    #[serde(default)]
    warnings: Vec<Finding>,
    plan: Option<Vec<PlannedFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    path_base64: Option<String>,
    snapshot: Option<String>,
    status: Status,
    inspect: Option<Inspect>,
    verify: Option<Verify>,
    hash: Option<Hash>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inferred {
    key: String,
    value: Value,
    from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedFile {
    path: String,
    #[serde(deserialize_with = "null")]
    size: Option<u64>,
    from: Option<String>,
    #[serde(default)]
    tensors: Vec<PlannedTensor>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedTensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hash {
    algorithm: String,
    names: String,
    #[serde(deserialize_with = "null")]
    root: Option<String>,
    tensors: Option<Vec<TensorDigest>>,
    #[serde(deserialize_with = "null")]
    files_root: Option<String>,
    files: Option<Vec<FileDigest>>,
    left_out: Vec<String>,
    #[serde(default)]
    excluded: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    check: Option<Check>,
    shared: Option<Vec<Shared>>,
    audit: Option<Audit>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorDigest {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDigest {
    path: String,
    size: u64,
    digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    manifest: String,
    unchanged: u64,
    changed: u64,
    missing: u64,
    added: u64,
    moved: u64,
    counts: Counts,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    path: String,
    equal: bool,
    tensors: u64,
    bytes: u64,
    names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Audit {
    new: u64,
    again: u64,
    kept: u64,
    put_off: u64,
    counts: Counts,
    findings: Vec<Finding>,
}

/// A field that may be null but not absent.
fn null<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

impl Document {
    /// What the contract says beyond types.
    fn sense(&self) -> Result<(), String> {
        hold(self.schema == "ckpt/1", "the schema is ckpt/1")?;
        hold(self.error.is_none() || self.status == Status::Error, "an error comes with the status error")?;
        if let Some(inspect) = &self.inspect {
            sorted(inspect.files.iter().map(|file| &file.path), "files")?;
            sorted(inspect.tensors.iter().flatten().map(|tensor| &tensor.name), "tensors")?;
            inspect.files.iter().try_for_each(|file| relative(&file.path))?;
            hold((inspect.tied.head == YesNo::Unknown) == inspect.tied.from.is_none(), "a known tie says from where")?;
            let sum = |of: fn(&Sum) -> u64| inspect.dtypes.values().map(of).sum::<u64>();
            hold(sum(|sum| sum.parameters) == inspect.parameters, "dtypes sum up to the parameters")?;
            hold(sum(|sum| sum.bytes) == inspect.bytes, "dtypes sum up to the bytes")?;
        }
        if let Some(verify) = &self.verify {
            counted(verify.counts, &verify.findings)?;
        }
        if let Some(convert) = &self.convert {
            sorted(convert.inferred.iter().map(|inferred| &inferred.key), "inferred")?;
            sorted(convert.written.iter().map(|written| &written.path), "written")?;
            convert.written.iter().try_for_each(|written| relative(&written.path))?;
            hold(convert.plan.is_none() || convert.written.is_empty(), "a plan writes nothing")?;
        }
        if let Some(hash) = &self.hash {
            sorted(hash.tensors.iter().flatten().map(|tensor| &tensor.name), "tensors")?;
            sorted(hash.files.iter().flatten().map(|file| &file.path), "files")?;
            hold(["stored", "canonical"].contains(&hash.names.as_str()), "names are stored or canonical")?;
            let digests = hash.tensors.iter().flatten().map(|tensor| &tensor.digest);
            let digests = digests.chain(hash.files.iter().flatten().map(|file| &file.digest));
            digests.chain(&hash.root).chain(&hash.files_root).try_for_each(|digest| is_digest(digest))?;
            if let Some(check) = &hash.check {
                counted(check.counts, &check.findings)?;
            }
        }
        self.children.iter().try_for_each(Document::sense)
    }
}

fn hold(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}")) }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String> + Clone, what: &str) -> Result<(), String> {
    let mut pairs = names.clone().zip(names.skip(1));
    hold(pairs.all(|(one, next)| one < next), &format!("{what} are sorted, each once"))
}

fn relative(path: &str) -> Result<(), String> {
    hold(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "a path within a section is relative")
}

fn is_digest(text: &str) -> Result<(), String> {
    hold(
        text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
        "a digest",
    )
}

/// Counts are taken before a filter narrows the findings, so there may be more than are listed.
fn counted(counts: Counts, findings: &[Finding]) -> Result<(), String> {
    let count = |grade| findings.iter().filter(|finding| finding.severity == grade).count();
    let enough = counts.error >= count(Grade::Error)
        && counts.warning >= count(Grade::Warning)
        && counts.note >= count(Grade::Note);
    hold(enough, "findings are counted")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_of_the_schema_is_refused() {
        let good = json!({"schema": "ckpt/1", "path": "a", "status": "ok"});
        let with = |key: &str, value: Value| {
            let mut document = good.clone();
            document[key] = value;
            check(document)
        };
        assert_eq!(check(good.clone()), Ok(()));
        assert_eq!(with("x-mine", json!(1)), Ok(()));
        assert!(with("more", json!(1)).is_err());
        assert!(with("schema", json!("ckpt/2")).is_err());
        assert!(with("hash", json!({"algorithm": "sha256"})).is_err());
        let hash = |root: &str| json!({"algorithm": "sha256", "names": "stored", "root": root, "files_root": null, "left_out": []});
        assert_eq!(with("hash", hash(&"0a".repeat(32))), Ok(()));
        assert!(with("hash", hash("0A")).is_err());
        let error = json!({"id": "failed", "file": null, "offset": null, "tensor": null, "message": "m", "help": null});
        assert!(with("error", error).is_err(), "an error with the status ok");
    }
}
