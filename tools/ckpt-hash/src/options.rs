//! What only ckpt-hash can be asked.

use std::path::PathBuf;
use std::sync::OnceLock;

use ckpt::cli::{Example, Glob, Size, Usage};
use ckpt::digests::Algorithm;
use ckpt::manifests::oms;
use clap::ValueEnum;

use crate::kept::Kept;
use crate::twins::Twins;

pub(crate) const EXAMPLES: &[Example] = &[
    ("ckpt-hash model > model.json", "digests of every file and tensor, and a root over each"),
    ("ckpt-hash --check model.json model", "what is unchanged, changed, missing, added, moved"),
    ("ckpt-hash --hub ~/.cache/huggingface/hub/models--*", "whether downloads are what they were, without a network"),
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
    /// Files only, as `sha256sum` lists them (as `md5sum`, `sha1sum`, `b2sum`, `b3sum` with --algorithm md5, sha1, blake2b, blake3)
    Sha256sum,
    /// Files only, MD5, as Meta's `checklist.chk` has them
    Checklist,
    /// Files only, as an unsigned statement of OpenSSF Model Signing
    Oms,
}

/// The options.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Options {
    /// Digest the model and not its storage: tensors under canonical names, alike in every layout; no files
    #[arg(long, help_heading = "Digests")]
    pub(crate) canonical: bool,

    /// With --canonical, digest the files too
    #[arg(long, help_heading = "Digests")]
    pub(crate) files: bool,

    /// Algorithm: sha256 (the default), blake3, blake2b, md5, sha1 or git-blob; with --check, what a list's digests are where its
    /// lines do not say so
    #[arg(long, value_name = "NAME", value_parser = algorithm, help_heading = "Digests")]
    pub(crate) algorithm: Option<Algorithm>,

    /// Leave out files whose path in the checkpoint matches (repeatable); the patterns are recorded
    #[arg(long, value_name = "GLOB", help_heading = "Digests")]
    pub(crate) exclude: Vec<Glob>,

    /// Say which tensors each checkpoint shares with those before it
    #[arg(long, help_heading = "Digests", conflicts_with_all = ["format", "check", "hub"])]
    pub(crate) duplicates: bool,

    /// The checkpoints before.
    #[arg(skip)]
    pub(crate) twins: Twins,

    /// Say the roots only, without the lists
    #[arg(long, help_heading = "Output")]
    pub(crate) brief: bool,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "json", help_heading = "Output")]
    pub(crate) format: Format,

    /// Write to FILE instead of stdout, whole or not at all
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Check against a manifest: a document of ckpt-hash, a list of `sha256sum`, `md5sum`, `b2sum` or `b3sum`, a `checklist.chk`,
    /// a statement or bundle of OpenSSF Model Signing; `-` reads it from stdin. Without PATH, the manifest's folder is
    /// checked
    #[arg(long, value_name = "FILE", help_heading = "Check",
        conflicts_with_all = ["canonical", "files", "format", "brief"])]
    pub(crate) check: Option<PathBuf>,

    /// Check a download from Hugging Face, offline, against the digests it carries: a folder `models--*` of the cache, a
    /// snapshot in it, or a folder that was downloaded into
    #[arg(long, help_heading = "Check",
        conflicts_with_all = ["check", "canonical", "files", "algorithm", "format", "brief"])]
    pub(crate) hub: bool,

    /// Keep digests in FILE: what nobody has written since an earlier run is not read again
    #[arg(long, value_name = "FILE", help_heading = "Again and again")]
    pub(crate) cache: Option<PathBuf>,

    /// Read the Nth of T shares of the files again although nobody has written them: `3/30` on the third of a month
    #[arg(long, value_name = "N/T", value_parser = subset, requires = "cache", help_heading = "Again and again")]
    pub(crate) subset: Option<(u64, u64)>,

    /// Begin to read no file again after so many seconds; those read longest ago come first
    #[arg(long, value_name = "SECONDS", requires = "cache", help_heading = "Again and again")]
    pub(crate) max_seconds: Option<u64>,

    /// Read at most so many bytes a second (200M), and leave nothing behind in the page cache
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Again and again")]
    pub(crate) rate: Option<u64>,

    /// The cache, once it is read.
    #[arg(skip)]
    pub(crate) kept: OnceLock<Kept>,

    /// A manifest that came over stdin.
    #[arg(skip)]
    pub(crate) given: OnceLock<Vec<u8>>,
}

impl Options {
    /// Whether tensors are of no interest.
    pub(crate) fn lists_files_only(&self) -> bool {
        self.format != Format::Json
    }

    /// The algorithm to digest with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        let usual = if self.format == Format::Checklist { Algorithm::Md5 } else { Algorithm::default() };
        self.algorithm.unwrap_or(usual)
    }

    /// Refuses what cannot be asked for.
    pub(crate) fn sense(&self) -> Result<(), Usage> {
        let algorithm = self.algorithm();
        let fits = match self.format {
            Format::Json => true,
            Format::Sha256sum => algorithm != Algorithm::GitBlob,
            Format::Checklist => algorithm == Algorithm::Md5,
            Format::Oms => oms::ALGORITHMS.contains(&algorithm),
        };
        if fits {
            return Ok(());
        }
        Err(Usage(format!("digests of {} have no place in that --format", algorithm.name())))
    }

    /// Whether the user leaves out the file of that path.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(path))
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Algorithm::all().map(Algorithm::name).collect();
        format!("the algorithms are {}", known.join(", "))
    })
}

/// `N/T`, from `1/T` to `T/T`.
fn subset(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    let inside = |&(number, of): &(u64, u64)| (1..=of).contains(&number);
    parts.filter(inside).ok_or_else(|| format!("{text:?} is not N/T with N from 1 to T"))
}

/// Bytes a second. As people write rates, `200M` is `200MB`.
fn rate(text: &str) -> Result<u64, String> {
    let short = text.ends_with(['k', 'K', 'M', 'G']);
    let Size(bytes) = if short { format!("{text}B") } else { text.to_owned() }.parse()?;
    // A slower one would take longer for one piece than people wait for a program to stop.
    if bytes < 100_000 { Err("the rate is less than 100 kB a second".to_owned()) } else { Ok(bytes) }
}
