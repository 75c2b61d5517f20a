//! Statements of OpenSSF Model Signing, version 1.0: an in-toto statement that lists the files of a model. Written without
//! a signature, read with or without one; signatures themselves are other programs' business.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::lines::FileLine;
use super::read::{FileEntry, Manifest, Piece};
use crate::digests::Algorithm;
use crate::facts::{Finding, Id};

/// What a statement is, as in-toto's attestation framework has it.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// What it is about (specification, section 5.1).
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// Names on top of the model that are never in a statement (section 6.2).
pub const NEVER: &[&str] = &[".git", ".gitattributes", ".github", ".gitignore"];

/// Algorithms of the specification (section 7).
pub const ALGORITHMS: &[Algorithm] = &[Algorithm::Sha256, Algorithm::Blake2b, Algorithm::Blake3];

/// The unsigned statement about these files. `ignored` are exact paths that were left out, `links` says whether any file
/// was reached through a symbolic link.
pub fn write(name: &str, algorithm: Algorithm, files: &[FileLine], ignored: &[String], links: bool) -> Value {
    let mut files: Vec<&FileLine> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let resource = |file: &&FileLine| json!({"name": file.path, "algorithm": algorithm.name(), "digest": file.digest});
    let mut ignored: Vec<&str> = ignored.iter().map(String::as_str).chain(NEVER.iter().copied()).collect();
    ignored.sort_unstable();
    ignored.dedup();
    json!({
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root(files.iter().map(|file| file.digest.as_str()))}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": algorithm.name(),
                "allow_symlinks": links,
                "ignore_paths": ignored,
            },
            "resources": files.iter().map(resource).collect::<Vec<_>>(),
        },
    })
}

/// SHA-256 over the raw digests in the order of their names (section 6.5.1).
fn root<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    let mut raw = Vec::new();
    for digest in digests {
        let pairs = digest.as_bytes().chunks(2);
        raw.extend(pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()));
    }
    Algorithm::Sha256.of(&raw)
}

/// A statement, and whether it came in a signed bundle.
#[derive(Debug)]
pub(super) struct Statement {
    value: Value,
    signed: bool,
}

/// The statement in a text, if it is one or a bundle around one. A bundle whose payload is none gives null.
pub(super) fn statement(text: &[u8]) -> Option<Statement> {
    let value: Value = serde_json::from_slice(text).ok()?;
    if value.get("_type").is_some() {
        return Some(Statement { value, signed: false });
    }
    let envelope = value.get("dsseEnvelope").or_else(|| value.get("payloadType").map(|_| &value))?;
    let payload = envelope.get("payload").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
    let inner = payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or(Value::Null);
    Some(Statement { value: inner, signed: true })
}

/// The manifest that a statement is.
///
/// # Errors
/// A finding `manifest-invalid` for what is not such a statement, or contradicts itself.
pub(super) fn read(statement: &Statement, name: &str) -> Result<Manifest> {
    let manifest = made(&statement.value).map_err(|why| {
        anyhow::Error::new(Finding::new(Id::ManifestInvalid, format!("the statement {why}")).in_file(name))
    })?;
    let mut notes = Vec::new();
    if statement.signed {
        notes.push("the bundle's digests were checked, its signature was not".to_owned());
    }
    Ok(Manifest { notes, ..manifest })
}

fn made(statement: &Value) -> Result<Manifest, String> {
    let at = |place: &str| statement.pointer(place);
    let text = |place: &str| at(place).and_then(Value::as_str);
    if text("/_type") != Some(STATEMENT) {
        return Err(format!("is not of the type {STATEMENT}"));
    }
    if text("/predicateType") != Some(PREDICATE) {
        return Err(format!("is not about a model: its predicate is not {PREDICATE}"));
    }
    let algorithm = known(text("/predicate/serialization/hash_type"))?;
    let size = at("/predicate/serialization/shard_size").and_then(whole).filter(|size| *size > 0);
    let pieces = match text("/predicate/serialization/method").unwrap_or_default() {
        "files" => None,
        "shards" => Some(size.ok_or("digests pieces of files and does not say of what size")?),
        method => return Err(format!("digests a model by {method:?}, which is not known here")),
    };
    let resources = at("/predicate/resources").and_then(Value::as_array).filter(|list| !list.is_empty());
    let entries: Vec<FileEntry> = resources
        .ok_or("names no files")?
        .iter()
        .map(|resource| entry(resource, algorithm, pieces))
        .collect::<Result<_, _>>()?;
    // Some sort by name, some folder by folder; the root tells whether it is the order in which they were signed.
    if let Some(wanted) = text("/subject/0/digest/sha256")
        && wanted != root(entries.iter().map(|entry| entry.digest.as_str()))
    {
        return Err("lists files that do not make its root: the list was changed".to_owned());
    }
    let entries = match pieces {
        Some(size) => super::pieces::join(entries, size)?,
        None => entries,
    };
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err("names a file twice".to_owned());
    }
    let ignored = at("/predicate/serialization/ignore_paths").and_then(Value::as_array).into_iter().flatten();
    let ignored = ignored.filter_map(Value::as_str).chain(NEVER.iter().copied());
    let mut excluded: Vec<String> = ignored.flat_map(|path| [exactly(path), format!("{}/*", exactly(path))]).collect();
    excluded.sort();
    excluded.dedup();
    Ok(Manifest { files: Some(entries), excluded, ..Manifest::default() })
}

fn known(name: Option<&str>) -> Result<Algorithm, String> {
    let known = name.and_then(Algorithm::from_name).filter(|algorithm| ALGORITHMS.contains(algorithm));
    known.ok_or_else(|| format!("is made with {:?}, which is not known here", name.unwrap_or_default()))
}

/// A whole number; model-signing writes those of a structure with a decimal point (`4096.0`).
fn whole(number: &Value) -> Option<u64> {
    let text = number.as_number()?.to_string();
    text.strip_suffix(".0").unwrap_or(&text).parse().ok()
}

/// A file that was digested whole, or one piece of one.
fn entry(resource: &Value, algorithm: Algorithm, pieces: Option<u64>) -> Result<FileEntry, String> {
    let text = |key: &str| resource.get(key).and_then(Value::as_str);
    let (Some(name), Some(digest)) = (text("name"), text("digest")) else {
        return Err("has a file without name or digest".to_owned());
    };
    // model-signing calls the algorithm of pieces by their size too.
    let said = text("algorithm").map(|said| match pieces {
        Some(size) => said.strip_suffix(&format!("-sharded-{size}")).unwrap_or(said),
        None => said,
    });
    if known(said)? != algorithm {
        return Err("mixes algorithms".to_owned());
    }
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.len() != algorithm.digits() || !digest.bytes().all(lower_hex) {
        return Err(format!("has no whole digest for {name:?}"));
    }
    let mut entry =
        FileEntry { path: name.to_owned(), size: None, algorithm, digest: digest.to_owned(), pieces: Vec::new() };
    if pieces.is_some() {
        // A name may have colons of its own.
        let mut parts = name.rsplitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (end, start) = (number(), number());
        let (Some(path), Some(start), Some(end)) = (parts.next(), start, end) else {
            return Err(format!("has the piece {name:?}, which is not PATH:START:END"));
        };
        path.clone_into(&mut entry.path);
        entry.pieces.push(Piece { range: start..end, digest: digest.to_owned() });
    }
    Ok(entry)
}

/// The pattern that matches this path and nothing else.
fn exactly(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    let special = |c: char| matches!(c, '*' | '?' | '[' | '\\');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, content: &[u8]) -> FileLine {
        FileLine { path: path.to_owned(), size: content.len() as u64, digest: Algorithm::Sha256.of(content) }
    }

    fn reread(value: &Value) -> Result<Manifest> {
        read(&statement(value.to_string().as_bytes()).unwrap(), "m")
    }

    #[test]
    fn the_root_is_the_digest_of_raw_digests() {
        // Two files of the specification's own test vectors.
        let digests = [
            "bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc",
            "32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028",
        ];
        let wanted = "92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4";
        assert_eq!(root(digests.into_iter()), wanted);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_changed_is_not() {
        let lines = [line("b", b"2"), line("a", b"1")];
        let whole = write("model", Algorithm::Sha256, &lines, &["x[1]".to_owned()], false);
        let manifest = reread(&whole).unwrap();
        assert_eq!(manifest.files.unwrap().iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(manifest.excluded.contains(&"x\\[1]".to_owned()), "{:?}", manifest.excluded);
        let bundle = json!({"dsseEnvelope": {"payload": STANDARD.encode(whole.to_string())}});
        assert_eq!(reread(&bundle).unwrap().notes.len(), 1);

        let changed = |place: &str, value: Value| {
            let mut other = whole.clone();
            *other.pointer_mut(place).unwrap() = value;
            other
        };
        for (place, value) in [
            ("/_type", json!("https://in-toto.io/Statement/v0.1")),
            ("/predicateType", json!("https://slsa.dev/provenance/v1")),
            ("/predicate/serialization/method", json!("shards")),
            ("/predicate/serialization/method", json!("tensors")),
            ("/predicate/serialization/hash_type", json!("blake2b")),
            ("/predicate/serialization/hash_type", json!("md5")),
            ("/predicate/resources", json!([])),
            ("/predicate/resources/0/digest", json!(Algorithm::Sha256.of(b"3"))),
            ("/predicate/resources/0/digest", json!("00")),
            ("/predicate/resources/0/algorithm", json!("blake3")),
            ("/predicate/resources/1/name", json!("a")),
        ] {
            assert!(reread(&changed(place, value)).is_err(), "{place}");
        }
        assert!(reread(&json!({"dsseEnvelope": {"payload": "!"}})).is_err());
    }
    #[test]
    fn pieces_are_joined_to_files() {
        let pieces = |names: &[&str]| {
            let digests: Vec<String> = names.iter().map(|name| Algorithm::Sha256.of(name.as_bytes())).collect();
            let resources: Vec<Value> = names
                .iter()
                .zip(&digests)
                .map(|(name, digest)| json!({"name": name, "algorithm": "sha256-sharded-10", "digest": digest}))
                .collect();
            reread(&json!({
                "_type": STATEMENT,
                "subject": [{"name": "m", "digest": {"sha256": root(digests.iter().map(String::as_str))}}],
                "predicateType": PREDICATE,
                "predicate": {
                    "serialization": {"method": "shards", "hash_type": "sha256", "shard_size": 10.0},
                    "resources": resources,
                },
            }))
        };
        // In the order of names, which is not that of bytes.
        let files = pieces(&["a:b:0:10", "a:b:10:20", "a:b:20:21", "c:0:10"]).unwrap().files.unwrap();
        let read: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size, file.pieces.len())).collect();
        assert_eq!(read, [("a:b", Some(21), 3), ("c", Some(10), 1)]);
        assert_eq!(files[0].pieces[2].digest, Algorithm::Sha256.of(b"a:b:20:21"));
        for names in [
            &["a:0:10", "a:20:30"][..],
            &["a:10:20"],
            &["a:0:7", "a:7:14"],
            &["a:0:11"],
            &["a:0:0"],
            &["a:0:10", "a:0:10"],
            &["a"],
            &["a:0"],
            &["a:-1:9"],
        ] {
            assert!(pieces(names).is_err(), "{names:?}");
        }
    }
}
