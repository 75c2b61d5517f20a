//! `--to peft` and `--to torchtune`: an adapter under the names, in the row order and in the container of the other.

use std::path::Path;

use anyhow::Result;
use ckpt::adapters::{self, Adapter, Module, Scheme};
use ckpt::cli::{Context, Refusal};
use ckpt::facts::{FileId, Finding, Id, Severity, Tensor, check, limits};
use ckpt::layouts::{self, ADAPTER_CONFIG, Checkpoint};

use super::{Job, Kind};
use crate::carry;
use crate::draft::{Draft, Form, Weights};
use crate::metadata;
use crate::options::refuse;

/// Plans the conversion.
///
/// # Errors
/// For a model; for an adapter of another kind than low-rank pairs, damaged, or of another base than `--base`; where alpha
/// or the size of a head is needed and nothing tells it.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let (checkpoint, options) = (job.checkpoint, job.options);
    let Some(mut adapter) = adapters::of(checkpoint) else {
        let help = "`--to hf` and `--to meta` are for models; give the folder or file of the adapter itself";
        return refuse(format!("--to {} takes an adapter, and this is a model", options.kind().name()), help);
    };
    whole(&adapter)?;
    turned(&adapter, checkpoint, job.context)?;
    let base = base(job)?;
    if let Some(base) = &base {
        adapter.settle(base);
        fits(&adapter, checkpoint, base)?;
    }
    let mut draft = Draft::default();
    if options.kind() == Kind::Torchtune {
        plain(&adapter, "given to torchtune")?;
        uniform(&adapter, options.alpha, &mut draft)?;
    }
    let to = if options.kind() == Kind::Peft { Scheme::Peft } else { Scheme::Tune };
    // Only a family whose rows torchtune turns has them in another order there.
    let interleaved = to == Scheme::Tune && !adapter.is_unturned();
    let head_dim = base.as_ref().unwrap_or(checkpoint).head_dim();
    if adapter.interleaved != interleaved && adapter.has_rotary() && head_dim.is_none() {
        let help = "give the base model with --base DIR, or put its config.json or params.json beside the adapter";
        return refuse("nothing tells the size of a head, by which the rows of queries and keys are reordered", help);
    }
    let (tensors, lost) = adapter.renamed(to, interleaved, head_dim);
    if let Some(name) = lost.first() {
        let message = format!("{} has no name for this tensor", to.name());
        return Err(Finding::new(Id::Unsupported, message).tensor(name.clone()).into());
    }
    heads(checkpoint, &tensors)?;
    let tensors = crate::cast::cast(tensors, options.dtype, checkpoint);
    let (form, file) = match to {
        Scheme::Peft => (Form::Safetensors, "adapter_model.safetensors"),
        _ => (Form::Torch, "adapter_model.pt"),
    };
    let name = job.one_file.clone().unwrap_or_else(|| file.to_owned());
    draft.weights.push(Weights { name, form, tensors });
    config(job, &adapter, base.as_ref(), &mut draft)?;
    if job.one_file.is_none() {
        carry::of_adapter(checkpoint, &mut draft);
    }
    carry::objects(checkpoint, &mut draft);
    Ok(draft)
}

/// Says no to an adapter that is not all there, or of another kind.
///
/// # Errors
/// The refusal, or a finding with the tensor.
pub(crate) fn whole(adapter: &Adapter<'_>) -> Result<()> {
    if !adapter.is_low_rank() {
        let help = "PEFT itself can merge it: `PeftModel.from_pretrained(base, adapter).merge_and_unload()`";
        return refuse(
            format!("an adapter of the kind {} is not understood here; LoRA and DoRA are", adapter.kind()),
            help,
        );
    }
    if let Some(tensor) = adapter.unknown.first() {
        let message = format!("no part of an adapter under {}'s names", adapter.scheme.name());
        return Err(Finding::new(Id::TensorUnexpected, message).tensor(tensor.name.clone()).into());
    }
    for module in &adapter.modules {
        let (Some(a), Some(b)) = (module.a, module.b) else {
            let message = format!("{} has half of a pair alone", module.name);
            let finding = Finding::new(Id::AdapterPair, message);
            let half = module.a.or(module.b).or(module.magnitude).map(|tensor| tensor.name.clone());
            return Err(half.into_iter().fold(finding, Finding::tensor).into());
        };
        let ([rank, _], [_, other]) = (a.recipe.shape.as_slice(), b.recipe.shape.as_slice()) else {
            let message = "a half of a pair is no matrix";
            return Err(Finding::new(Id::AdapterRank, message).tensor(a.name.clone()).into());
        };
        if !(1..=limits::RANK).contains(rank) {
            let finding = Finding::new(Id::AdapterRank, "a rank that no adapter has").tensor(a.name.clone());
            return Err(finding.needed(format!("1 to {}", limits::RANK), rank).into());
        }
        if rank != other {
            let finding = Finding::new(Id::AdapterRank, "the two halves of the pair have different ranks");
            return Err(finding.tensor(b.name.clone()).needed(rank, other).into());
        }
    }
    Ok(())
}

/// Says no to an adapter that is more than its matrices, by what PEFT's config says.
///
/// # Errors
/// The refusal.
pub(crate) fn plain(adapter: &Adapter<'_>, what: &str) -> Result<()> {
    match adapter.beyond() {
        Some(why) => refuse(format!("this adapter cannot be {what} as it is: {why}"), "PEFT itself can use it"),
        None => Ok(()),
    }
}

/// Says no to ranks and alphas that differ from module to module, for torchtune has one of each; and what its alpha is for
/// an adapter that PEFT scales by the root of the rank.
fn uniform(adapter: &Adapter<'_>, alpha: Option<f64>, draft: &mut Draft) -> Result<()> {
    let Some(rank) = adapter.rank() else { return Ok(()) };
    let other = adapter.modules.iter().find(|module| module.rank() != Some(rank));
    if let Some(a) = other.and_then(|module| module.a) {
        let message = "torchtune has one rank for all modules; merge the adapter instead (--merge-adapter)";
        let found = a.recipe.shape.first().copied().unwrap_or(0);
        let finding = Finding::new(Id::AdapterRank, message).tensor(a.name.clone());
        return Err(finding.needed(format!("rank {rank}, as most have"), format!("rank {found}")).into());
    }
    if !adapter.alphas.is_empty() {
        let message = "torchtune has one alpha for all modules, and alpha_pattern names others; merge the adapter instead (--merge-adapter)";
        return Err(Finding::new(Id::AdapterAlpha, message).in_file(ADAPTER_CONFIG).into());
    }
    let scale = adapter.modules.first().map(|module| adapter.scale(module, alpha)).transpose()?.flatten();
    if let (true, Some(scale)) = (adapter.is_rslora(), scale) {
        let rank = adapter.modules.first().and_then(Module::rank).and_then(|rank| u32::try_from(rank).ok());
        let theirs = scale * f64::from(rank.unwrap_or(1));
        let message = format!(
            "torchtune scales by alpha over the rank, this adapter over the rank's root: to torchtune its alpha is {theirs}"
        );
        let finding = Finding::new(Id::AdapterAlpha, message).severity(Severity::Warning);
        draft.warnings.push(finding.in_file(ADAPTER_CONFIG));
    }
    Ok(())
}

/// Says no to a file of PEFT's in which magnitudes stand in torchtune's order.
///
/// # Errors
/// The finding; those of reading.
pub(crate) fn turned(adapter: &Adapter<'_>, opened: &Checkpoint, context: &Context) -> Result<()> {
    match adapters::unturned(adapter, opened, &context.progress)? {
        Some(finding) => Err(finding.into()),
        None => Ok(()),
    }
}

/// Says no to an adapter of another base.
///
/// # Errors
/// The first thing that does not fit, and how many there are.
pub(crate) fn fits(adapter: &Adapter<'_>, opened: &Checkpoint, base: &Checkpoint) -> Result<()> {
    let mut findings = adapters::fit(adapter, base).findings.into_iter();
    let Some(mut first) = findings.next() else { return Ok(()) };
    let more = findings.count();
    if more > 0 {
        first.message = format!("{}; and {more} more do not fit", first.message);
    }
    let own = opened.shards.first().map_or("", |shard| shard.name.as_str());
    Err(first.in_file(opened.root().join(own).to_string_lossy()).into())
}

/// The base that `--base` names, if that is a path; a name on the hub is only written down.
fn base(job: &Job<'_>) -> Result<Option<Checkpoint>> {
    let Some(path) = job.options.base.as_deref().filter(|path| path.exists()) else { return Ok(None) };
    let base = layouts::open(path, None, job.jobs())?;
    match base.damage() {
        Some(damage) => Err(damage.clone().into()),
        None => Ok(Some(base)),
    }
}

/// Rows of queries and keys must be whole heads.
fn heads(checkpoint: &Checkpoint, tensors: &[Tensor]) -> Result<()> {
    let size = |file: FileId| checkpoint.size_of(file);
    for tensor in tensors {
        check::check(&tensor.recipe, &size).map_err(|finding| {
            let message = "the rows of this tensor are not whole heads of the base: it is another model's";
            let found = finding.message;
            Finding::new(Id::AdapterBase, message).tensor(tensor.name.clone()).needed("whole heads", found)
        })?;
    }
    Ok(())
}

/// The config beside the weights.
fn config(job: &Job<'_>, adapter: &Adapter<'_>, base: Option<&Checkpoint>, draft: &mut Draft) -> Result<()> {
    let to_peft = job.options.kind() == Kind::Peft;
    let alpha = job.options.alpha.or_else(|| adapter.alpha());
    if job.one_file.is_some() {
        let known = alpha.map(|alpha| format!("{ADAPTER_CONFIG}: one file does not hold alpha, which is {alpha}"));
        draft.lost.extend(known);
        return Ok(());
    }
    let Some(alpha) = alpha else {
        if to_peft {
            return Err(no_alpha().into());
        }
        return Ok(());
    };
    let named = job.options.base.as_deref().map(Path::to_string_lossy);
    let name = named.as_deref().or_else(|| adapter.base());
    if name.is_none() && to_peft {
        let message = "nothing names the base model, without which AutoPeftModelForCausalLM cannot load the adapter; name it with --base";
        let finding = Finding::new(Id::AdapterConfig, message).severity(Severity::Warning).in_file(ADAPTER_CONFIG);
        draft.warnings.push(finding);
    }
    let layers = base.and_then(|base| {
        let config = base.params()?;
        ["num_hidden_layers", "n_layers"].iter().find_map(|key| config.get(*key)?.as_u64())
    });
    draft.make(ADAPTER_CONFIG, metadata::adapter_config(adapter, alpha, name, layers));
    Ok(())
}

/// Alpha is asked for and not known.
pub(crate) fn no_alpha() -> Refusal {
    let message = "nothing tells the alpha of the adapter: the file does not hold it, and no adapter_config.json does";
    Refusal::new(message, "look it up in the recipe that trained it (lora_alpha), and give it with --alpha N")
}

/// Says no to an adapter where a model is converted.
///
/// # Errors
/// The refusal.
pub(super) fn no_adapter(job: &Job<'_>) -> Result<()> {
    if !layouts::is_adapter(job.checkpoint) {
        return Ok(());
    }
    let help = "convert it with --to peft or --to torchtune, or its base with --merge-adapter";
    refuse(format!("this is an adapter and no model, of which --to {} could be made", job.options.kind().name()), help)
}
