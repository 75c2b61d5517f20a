//! What ckpt-convert can be asked, and how it answers.

use std::path::PathBuf;

use ckpt::archs::llama::infer::ASSUMABLE;
use ckpt::cli::{self, Context, Example, Glob, KeyValue, Selection, Size, Style, Tool, Usage};
use ckpt::document::{Document, Status};
use ckpt::facts::Dtype;
use ckpt::facts::lowrank::MergeMath;
use clap::{Args, ValueEnum};

use crate::kinds::Kind;
use crate::kinds::gguf::GgufType;

/// How the hub layout gets the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// A second name for the same file; no byte is copied
    Hard,
    /// A symbolic link to the source
    Sym,
    /// A copy
    Copy,
}

/// Whose arithmetic a merge has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Math {
    /// `merge_and_unload` of PEFT
    Peft,
    /// `get_merged_lora_ckpt` of torchtune
    Torchtune,
}

impl Math {
    /// As recipes have it.
    pub(crate) fn math(self) -> MergeMath {
        match self {
            Math::Peft => MergeMath::Peft,
            Math::Torchtune => MergeMath::Torchtune,
        }
    }
}

/// Options of this tool alone.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
pub(crate) struct Options {
    /// The kind to make
    #[arg(long, value_enum, value_name = "KIND", required_unless_present_any = ["schema", "generate"])]
    pub(crate) to: Option<Kind>,

    /// Where: a new directory, or a file for one that ends in .safetensors, .pth or .gguf. With several inputs, a directory
    /// for all of them
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Add the small files that are missing beside the weights; no file is replaced
    #[arg(long, conflicts_with_all = ["out", "dtype", "force", "verify", "select", "exclude"])]
    pub(crate) in_place: bool,

    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Replace an existing target, whole
    #[arg(long)]
    pub(crate) force: bool,

    /// Cast floating tensors, rounded to nearest even: F32, F16, BF16, F64
    #[arg(long, value_name = "DTYPE", value_parser = dtype, help_heading = "Weights")]
    pub(crate) dtype: Option<Dtype>,

    /// Undo the quantisation of the weights: to BF16, or to the dtype given
    #[arg(long, value_name = "DTYPE", value_parser = dtype, num_args = 0..=1, require_equals = true, default_missing_value = "BF16", help_heading = "Weights")]
    pub(crate) dequantize: Option<Dtype>,

    /// Type of the matrices in a GGUF target [default: that of the source, F32 for blocks]
    #[arg(long, value_enum, value_name = "TYPE", help_heading = "Weights")]
    pub(crate) gguf_type: Option<GgufType>,

    /// Let finite values become infinite where --dtype cannot hold them
    #[arg(long, help_heading = "Weights")]
    pub(crate) allow_overflow: bool,

    /// Begin a new file before one grows beyond this
    #[arg(long, value_name = "SIZE", default_value = "5GB", help_heading = "Weights")]
    pub(crate) max_shard_size: Size,

    /// Model-parallel ranks of a Meta target [default: what the family ships]
    #[arg(long, value_name = "N", help_heading = "Weights")]
    pub(crate) mp: Option<u64>,

    /// Take only tensors whose source name matches (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Weights")]
    pub(crate) select: Vec<Glob>,

    /// Leave out tensors whose source name matches (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Weights")]
    pub(crate) exclude: Vec<Glob>,

    /// How the hub layout gets the weights
    #[arg(long, value_enum, default_value = "hard", value_name = "HOW", help_heading = "Weights")]
    pub(crate) link: Link,

    /// Merge an adapter (LoRA, rsLoRA, DoRA) of PEFT or torchtune into the weights
    #[arg(long, value_name = "ADAPTER", help_heading = "Adapters", conflicts_with = "in_place")]
    pub(crate) merge_adapter: Option<PathBuf>,

    /// The arithmetic of the merge, to the bit: peft rounds once, torchtune after every step
    #[arg(long, value_enum, value_name = "LIBRARY", default_value = "peft", help_heading = "Adapters")]
    pub(crate) merge_math: Math,

    /// The alpha of an adapter whose files do not tell it, or another one
    #[arg(long, value_name = "N", value_parser = alpha, help_heading = "Adapters")]
    pub(crate) alpha: Option<f64>,

    /// The base model of an adapter, a path or a name on the hub: named in its config; a path is also looked into
    #[arg(long, value_name = "MODEL", help_heading = "Adapters")]
    pub(crate) base: Option<PathBuf>,

    /// Read everything written again and compare it with the source, value by value
    #[arg(long, help_heading = "Weights")]
    pub(crate) verify: bool,

    /// Override what is inferred: a key of `convert.inferred` (repeatable)
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Metadata")]
    pub(crate) assume: Vec<KeyValue>,

    /// Write the small files byte for byte as that release has them
    #[arg(long, value_name = "NAME", help_heading = "Metadata")]
    pub(crate) match_release: Option<String>,

    /// The chat template to carry instead of our own (Jinja)
    #[arg(long, value_name = "FILE", help_heading = "Metadata")]
    pub(crate) chat_template: Option<PathBuf>,

    /// Convert also what an earlier tool did not call ok
    #[arg(long)]
    pub(crate) anyway: bool,

    /// How many inputs there are; known before the work begins.
    #[arg(skip)]
    pub(crate) inputs: std::sync::OnceLock<usize>,
}

fn dtype(text: &str) -> Result<Dtype, String> {
    let found = Dtype::from_name(&text.to_uppercase()).or_else(|| Dtype::from_torch(text));
    let castable = |dtype: &Dtype| ckpt::facts::check::castable(Dtype::F32, *dtype);
    found.filter(castable).ok_or_else(|| "expected one of F32, F16, BF16, F64".to_owned())
}

/// A number that can be an alpha.
fn alpha(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() { Ok(number) } else { Err("not a finite number".to_owned()) }
}

impl Options {
    /// The kind; clap has made sure of it.
    pub(crate) fn kind(&self) -> Kind {
        self.to.unwrap_or(Kind::Hf)
    }

    /// Says no to options that the kind has no use for, before any work.
    fn fits_kind(&self) -> anyhow::Result<()> {
        let kind = self.kind();
        let merges = self.merge_adapter.is_some();
        let models = &[Kind::Hf, Kind::Meta, Kind::Gguf, Kind::Safetensors, Kind::Torch];
        let given: [(&str, bool, &[Kind]); 9] = [
            ("--in-place", self.in_place, &[Kind::Hf, Kind::Meta]),
            ("--mp", self.mp.is_some(), &[Kind::Meta]),
            ("--gguf-type", self.gguf_type.is_some(), &[Kind::Gguf]),
            ("--chat-template", self.chat_template.is_some(), &[Kind::Hf, Kind::Hub, Kind::Gguf]),
            ("--match-release", self.match_release.is_some(), &[Kind::Hf, Kind::Hub]),
            ("--merge-adapter", merges, models),
            ("--base", self.base.is_some(), &[Kind::Peft, Kind::Torchtune]),
            ("--alpha", self.alpha.is_some() && !merges, &[Kind::Peft, Kind::Torchtune]),
            ("--assume", !self.assume.is_empty(), &[Kind::Hf, Kind::Hub, Kind::Meta, Kind::Mistral, Kind::Gguf]),
        ];
        if let Some((option, _, kinds)) = given.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("--to {}", kind.name())).collect();
            anyhow::bail!(Usage(format!("{option} is for {}, not for --to {}", kinds.join(" and "), kind.name())));
        }
        if let (Kind::Gguf, Some(dtype)) = (kind, self.dtype) {
            let help = "under --to gguf the type of the matrices is that of --gguf-type; vectors stay F32";
            if self.gguf_type.is_some() {
                anyhow::bail!(Usage(format!("--dtype {dtype} beside --gguf-type: {help}")));
            }
            if GgufType::of(dtype).is_none() {
                anyhow::bail!(Usage(format!("--dtype {dtype}: {help}")));
            }
        }
        let known = || ASSUMABLE.iter().map(|(key, _)| *key);
        if let Some(pair) = self.assume.iter().find(|pair| known().all(|key| key != pair.key)) {
            let known: Vec<&str> = known().collect();
            let message = format!("--assume {}: nothing of that name is inferred; {} are", pair.key, known.join(", "));
            anyhow::bail!(Usage(message));
        }
        if let Some(name) = &self.match_release {
            crate::metadata::find_release(name).map_err(Usage)?;
        }
        Ok(())
    }

    /// Which tensors are taken.
    pub(crate) fn selection(&self) -> Selection {
        Selection { select: self.select.clone(), exclude: self.exclude.clone() }
    }
}

impl Tool for Options {
    const NAME: &'static str = "ckpt-convert";
    const ABOUT: &'static str = "Make a checkpoint that other kind: weights and all metadata";
    const EXAMPLES: &'static [Example] = &[
        ("ckpt-convert Llama-3.2-1B --to hf --out Llama-3.2-1B-hf", "Meta's download for transformers"),
        ("ckpt-convert out-hf --to meta --out out-meta", "and back"),
        ("ckpt-convert Llama-3.2-3B --to hub --out Llama-3.2-3B-hub", "what a job that saves for transformers needs"),
        ("ckpt-convert run/model.pth --to safetensors --out model.safetensors", "another container"),
        ("ckpt-verify out | ckpt-convert --to hf --out out-hf | ckpt-hash", "as a gate in a pipeline"),
    ];
    const GATHERS: bool = true;

    fn prepare(&self, inputs: &[Document], _context: &Context) -> anyhow::Result<()> {
        let _ = self.inputs.set(inputs.len());
        self.fits_kind()?;
        let Some(out) = &self.out else {
            if self.in_place || self.dry_run {
                return Ok(());
            }
            anyhow::bail!(Usage("say where with --out DIR, or --in-place, or look first with --dry-run".to_owned()));
        };
        let mut targets: Vec<PathBuf> = Vec::new();
        for input in inputs {
            let target = crate::target::of(out, &input.path(), inputs.len())?;
            if targets.contains(&target) {
                let message = format!("two inputs would both become {}", target.display());
                anyhow::bail!(Usage(message));
            }
            crate::target::one_file(&target, self.kind(), inputs.len() > 1)?;
            targets.push(target);
        }
        // One input's target must not lie in another input either. With one input its own conversion says so.
        for target in targets.iter().filter(|_| inputs.len() > 1) {
            for path in inputs.iter().map(Document::path).filter(|path| path.exists()) {
                if let Err(error) = crate::target::apart(target, &path) {
                    anyhow::bail!(Usage(format!("{error:#}")));
                }
            }
        }
        Ok(())
    }

    fn run(&self, document: &mut Document, context: &Context) -> anyhow::Result<Status> {
        crate::convert::run(self, document, context)
    }

    fn report(&self, document: &Document, style: Style) -> String {
        crate::report::report(document, style)
    }
}

/// Help for a refusal that another flag would lift.
pub(crate) fn refuse<T>(message: impl Into<String>, help: impl Into<String>) -> anyhow::Result<T> {
    Err(cli::Refusal::new(message, help).into())
}
