//! The document the tools exchange: one checkpoint, one line of JSON.

mod convert;
mod escape;
mod hash;
mod inspect;
mod path;
mod record;
mod schema;
mod section;
mod stats;
mod status;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use convert::{Convert, Inferred, PlannedFile, PlannedTensor, Source, Written};
pub use escape::{escape, escape_bytes};
pub use hash::{Audit, Check, FileDigest, Hash, Shared, TensorDigest};
pub use inspect::{
    Adapter, Changed, Config, ConfigChange, Diff, DtypeSum, Family, File, Geometry, Inspect, Shard, Tensor, Tied,
    Tokenizer, Training, TreeNode, YesNo,
};
pub use record::{Counts, ErrorRecord, FindingRecord, Grade};
pub use schema::schema;
pub use section::Section;
pub use stats::{Figures, Stats};
pub use status::Status;
pub use verify::{Compared, Verify};

/// The `schema` of every document: fields may be added under this name, none changes its meaning.
pub const SCHEMA: &str = "ckpt/1";

/// One checkpoint and what the tools have said about it so far. A tool adds or replaces its own section and
/// passes the others on as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "ckpt/1")]
pub struct Document {
    /// Always `ckpt/1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The checkpoint, a directory or a file, as it was typed or handed on; escaped where it is not UTF-8.
    pub path: String,
    /// The bytes of a path that is not UTF-8, in base64; where present, it counts and not `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// The snapshot that stands for a repository's folder in the hub's cache, relative to `path`: `snapshots/COMMIT`. Paths
    /// inside sections are then relative to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The worst answer of any tool so far.
    pub status: Status,
    /// Names of tensors that the next tool shall speak of; it checks the others all the same. Only ever read: no tool writes it.
    #[serde(default, skip_serializing)]
    pub select: Option<Vec<String>>,
    /// Why a tool could not tell; only with status `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
    /// What ckpt-inspect says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Inspect>")]
    pub inspect: Option<Section<Inspect>>,
    /// What ckpt-verify says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Verify>")]
    pub verify: Option<Section<Verify>>,
    /// What ckpt-convert says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Convert>")]
    pub convert: Option<Section<Convert>>,
    /// What ckpt-hash says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Hash>")]
    pub hash: Option<Section<Hash>>,
    /// The checkpoints inside this path (sub-models of a diffusion tree, steps of a run), each a whole document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Document>,
    /// Fields of a later version or of somebody's filter, passed on.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Document {
    /// A document that says nothing yet.
    pub fn new(path: &Path) -> Document {
        let (text, base64) = path::to_fields(path);
        Document {
            schema: SCHEMA.to_owned(),
            path: text,
            path_base64: base64,
            snapshot: None,
            status: Status::Ok,
            select: None,
            error: None,
            inspect: None,
            verify: None,
            convert: None,
            hash: None,
            children: Vec::new(),
            extra: Map::new(),
        }
    }

    /// The document of one line of text.
    ///
    /// # Errors
    /// One sentence: not JSON, not a document, an unknown `schema`, a `path_base64` that is not base64.
    pub fn parse(line: &[u8]) -> Result<Document, String> {
        let document: Document = serde_json::from_slice(line).map_err(|error| format!("is not a document: {error}"))?;
        if document.schema != SCHEMA {
            return Err(format!("has the unknown schema {:?}; this tool knows {SCHEMA}", document.schema));
        }
        if let Some(text) = &document.path_base64 {
            path::from_base64(text).map_err(|error| format!("has a path_base64 that is not base64: {error}"))?;
        }
        Ok(document)
    }

    /// The path as the file system has it.
    pub fn path(&self) -> PathBuf {
        self.path_base64
            .as_deref()
            .and_then(|text| path::from_base64(text).ok())
            .unwrap_or_else(|| PathBuf::from(&self.path))
    }

    /// Gives it another path: what a conversion wrote.
    pub fn set_path(&mut self, path: &Path) {
        (self.path, self.path_base64) = path::to_fields(path);
        self.snapshot = None;
    }

    /// The tensors to speak of, if a filter narrowed them.
    pub fn selected(&self) -> Option<BTreeSet<&str>> {
        self.select.as_ref().map(|names| names.iter().map(String::as_str).collect())
    }

    /// Makes the status at least as bad as that; it never improves.
    pub fn worsen(&mut self, status: Status) {
        self.status = self.status.max(status);
    }

    /// The child at that path, made if there is none yet, so that several tools fill the sections of one child.
    pub fn child(&mut self, path: &Path) -> &mut Document {
        let found = self.children.iter().position(|child| child.path() == path);
        let child = found.map_or_else(|| Document::new(path), |place| self.children.remove(place));
        self.children.insert_mut(found.unwrap_or(self.children.len()), child)
    }

    /// The document on one line, without the line's end. NaN and the infinities become `null`.
    ///
    /// # Errors
    /// None in practice: every type here has a form in JSON.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn what_others_said_is_passed_on_as_it_came() {
        let line = br#"{"schema":"ckpt/1","path":"a","status":"findings","select":["x"],"hash":{"new":[1e-05,0.1,3]},"later":{"z":1,"a":2},"children":[{"schema":"ckpt/1","path":"a/b","status":"ok","more":1}]}"#;
        let mut document = Document::parse(line).unwrap();
        assert_eq!(document.selected(), Some(BTreeSet::from(["x"])));
        document.verify = Some(
            Verify {
                level: "structure".into(),
                expect: None,
                counts: Counts::default(),
                findings: vec![],
                against: None,
                manifest: None,
                stats: None,
                compared: None,
            }
            .into(),
        );
        assert_eq!(
            document.to_line().unwrap(),
            concat!(
                r#"{"schema":"ckpt/1","path":"a","status":"findings","#,
                r#""verify":{"level":"structure","expect":null,"counts":{"error":0,"warning":0,"note":0},"findings":[]},"#,
                r#""hash":{"new":[0.00001,0.1,3]},"children":[{"schema":"ckpt/1","path":"a/b","status":"ok","more":1}],"later":{"z":1,"a":2}}"#
            )
        );
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for (line, word) in [
            (&b"null"[..], "not a document"),
            (b"{}", "missing field"),
            (b"[1]", "not a document"),
            (br#"{"schema":"ckpt/1","status":"ok"}"#, "path"),
            (br#"{"schema":"ckpt/2","path":"a","status":"ok"}"#, "unknown schema \"ckpt/2\""),
            (br#"{"schema":"ckpt/1","path":"a","status":"fine"}"#, "unknown variant"),
            (br#"{"schema":"ckpt/1","path":"a","status":"ok","path_base64":"*"}"#, "not base64"),
            (b"{\"schema\":\"ckpt/1\",\"path\":\"\xff\",\"status\":\"ok\"}", "not a document"),
        ] {
            let error = Document::parse(line).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_path_that_is_not_text_keeps_its_bytes() {
        let path = Path::new(OsStr::from_bytes(b"run\xff/a"));
        let document = Document::new(path);
        assert_eq!(document.path, "run\\xff/a");
        let again = Document::parse(document.to_line().unwrap().as_bytes()).unwrap();
        assert_eq!(again.path(), path);
        assert_eq!(Document::new(Path::new("größe")).path_base64, None);
    }

    #[test]
    fn a_status_only_gets_worse() {
        use Status::{Error, Findings, Ok};
        let mut document = Document::new(Path::new("a"));
        for (said, is) in
            [(Ok, Ok), (Findings, Findings), (Ok, Findings), (Error, Error), (Findings, Error), (Ok, Error)]
        {
            document.worsen(said);
            assert_eq!(document.status, is);
        }
        assert_eq!([Ok, Findings, Error].map(Status::code), [0, 1, 2]);
    }

    #[test]
    fn tools_share_a_child() {
        let mut document = Document::new(Path::new("a"));
        for (path, status) in [("a/x", Status::Ok), ("a/y", Status::Error), ("a/x", Status::Findings)] {
            document.child(Path::new(path)).worsen(status);
        }
        let children: Vec<_> = document.children.iter().map(|child| (child.path.as_str(), child.status)).collect();
        assert_eq!(children, [("a/x", Status::Findings), ("a/y", Status::Error)]);
    }

    #[test]
    fn numbers_that_json_has_not_become_null() {
        let mut document = Document::new(Path::new("a"));
        let figures = Figures { max: Some(f64::INFINITY), mean: Some(f64::NAN), ..Figures::default() };
        let stats = Stats { name: "w".into(), figures, ..Stats::default() };
        document.inspect = Some(Inspect { stats: Some(vec![stats]), ..Inspect::default() }.into());
        let line = document.to_line().unwrap();
        assert!(line.contains(r#""max":null,"mean":null"#), "{line}");
    }
}
