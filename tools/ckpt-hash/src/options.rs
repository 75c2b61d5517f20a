//! What only ckpt-hash can be asked.

use std::path::PathBuf;
use std::sync::OnceLock;

use ckpt::cli::{Example, Glob};
use ckpt::digests::Algorithm;
use clap::ValueEnum;

pub(crate) const EXAMPLES: &[Example] = &[
    ("ckpt-hash model > model.json", "digests of every file and tensor, and a root over each"),
    ("ckpt-hash --check model.json model", "what is unchanged, changed, missing, added"),
    ("ckpt-hash --canonical --brief meta hf | jq -r .hash.root", "the same model has the same root in every layout"),
    (
        "cd model && ckpt-hash --format sha256sum . > SUMS.sha256 && sha256sum -c SUMS.sha256",
        "the digests of files alone",
    ),
];

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The document
    Json,
    /// Files only, as `sha256sum` lists them (as `md5sum` with --algorithm md5)
    Sha256sum,
}

/// The options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Digest the model and not its storage: tensors under canonical names, alike in every layout; no files
    #[arg(long, help_heading = "Digests")]
    pub(crate) canonical: bool,

    /// With --canonical, digest the files too
    #[arg(long, help_heading = "Digests")]
    pub(crate) files: bool,

    /// Algorithm: sha256 or md5
    #[arg(long, value_name = "NAME", default_value = "sha256", value_parser = algorithm, help_heading = "Digests")]
    pub(crate) algorithm: Algorithm,

    /// Leave out files whose path in the checkpoint matches (repeatable); the patterns are recorded
    #[arg(long, value_name = "GLOB", help_heading = "Digests")]
    pub(crate) exclude: Vec<Glob>,

    /// Say the roots only, without the lists
    #[arg(long, help_heading = "Output")]
    pub(crate) brief: bool,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "json", help_heading = "Output")]
    pub(crate) format: Format,

    /// Write to FILE instead of stdout, whole or not at all
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Check against a manifest: a document of ckpt-hash, a list of `sha256sum` or `md5sum`, a `checklist.chk`;
    /// `-` reads it from stdin. Without PATH, the manifest's folder is checked
    #[arg(long, value_name = "FILE", help_heading = "Check",
        conflicts_with_all = ["canonical", "files", "algorithm", "format", "brief"])]
    pub(crate) check: Option<PathBuf>,

    /// A manifest that came over stdin.
    #[arg(skip)]
    pub(crate) given: OnceLock<Vec<u8>>,
}

impl Options {
    /// Whether tensors are of no interest.
    pub(crate) fn lists_files_only(&self) -> bool {
        self.format == Format::Sha256sum
    }

    /// Whether the user leaves out the file of that path.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(path))
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        format!("the algorithms are {}", known.join(", "))
    })
}
