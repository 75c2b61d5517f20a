//! adapter-config, adapter-alpha, adapter-pair, adapter-rank, adapter-targets, adapter-base: an adapter's matrices, its
//! config, and the model it was trained for.

use std::collections::HashSet;

use ckpt::adapters::{self, Adapter, Module, Patterns, Scheme, patterns};
use ckpt::facts::{Finding, Id, Severity, Tensor};
use ckpt::layouts::ADAPTER_CONFIG;
use serde_json::Value;

use super::explain;
use crate::case::Case;

explain! {
    /// For an adapter of PEFT's, looks for adapter_config.json beside the weights, and in it for the method, a rank that is a
    /// number, the modules meant, and whether rows have magnitudes (`use_dora`) as the weights have it. That it names no base
    /// model or task is a warning: `PeftModel.from_pretrained` loads it, `AutoPeftModelForCausalLM` does not.
    ///
    /// PEFT finds no adapter, or loads one that does something else. llama-stack's saves lack base and task.
    ///
    /// `ckpt-convert ADAPTER --to peft --base MODEL` writes a whole config.
    AdapterConfig;
    /// Looks for the alpha by which an adapter's product is scaled: `lora_alpha` in adapter_config.json. torchtune's and
    /// llama-stack's own files do not hold it. One by which the scale is beyond what F32 holds is an error.
    ///
    /// With another alpha the adapter does too much or too little, and nothing fails.
    ///
    /// Look at the recipe that trained it, and give the number: `ckpt-convert ADAPTER --to peft --alpha 16`.
    AdapterAlpha;
    /// Looks for both halves of every pair of matrices (`lora_A` and `lora_B`).
    ///
    /// A loader leaves the missing half as it was made: random or zero. The module then does nothing, or noise.
    ///
    /// Save the adapter again.
    AdapterPair;
    /// Holds the ranks of the two halves of a pair against each other, against zero and against `r` and `rank_pattern` of the
    /// config, and the magnitudes against the rows.
    ///
    /// PEFT refuses the weights, or scales them by the wrong rank.
    ///
    /// Take the config that was saved with the weights.
    AdapterRank;
    /// Holds the modules that have weights against `target_modules` of the config.
    ///
    /// PEFT drops weights of modules that the config does not name, with a warning at most; modules that it names and that
    /// have no weights start afresh.
    ///
    /// Take the config that was saved with the weights, or let `ckpt-convert ADAPTER --to peft` write one.
    AdapterTargets;
    /// Reads the magnitudes of queries and keys of a DoRA in PEFT's form, and those in torchtune's own file (`adapter_model.pt`)
    /// where that lies beside it: in equal order one of the two is wrong.
    ///
    /// torchtune 0.6 turns the rows of `lora_B` for PEFT and forgets the magnitudes. PEFT loads the adapter, each row of a
    /// query or key gets another one's length, and the model answers worse.
    ///
    /// `ckpt-convert adapter_model.pt --to peft` makes PEFT's form of torchtune's own file.
    AdapterMagnitudes;
    /// With `--base MODEL`, or `--against MODEL` where that is no adapter: looks for every module of the adapter in the model,
    /// and whether its matrices make one of that module's shape.
    ///
    /// An adapter on another base fails to load, or, where shapes happen to agree, answers with noise.
    ///
    /// Give the base that it was trained on; adapter_config.json names it.
    AdapterBase;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(adapter) = adapters::of(case.checkpoint) else { return };
    if adapter.is_low_rank() && !case.checkpoint.tensors.is_empty() {
        weights(case, &adapter, findings);
    }
    if !case.checkpoint.tensors.is_empty() {
        config(case, &adapter, findings);
    }
}

/// Pairs, ranks, names.
fn weights(case: &Case<'_>, adapter: &Adapter<'_>, findings: &mut Vec<Finding>) {
    let unknown = adapter.unknown.iter().filter(|tensor| !case.is_told(&tensor.name));
    findings.extend(unknown.map(|tensor| {
        let message = format!("no part of an adapter under {}'s names", adapter.scheme.name());
        case.about(Id::TensorUnexpected, tensor, message)
    }));
    // What a damaged file lost is no mistake of whoever saved it.
    let whole = case.checkpoint.damage().is_none();
    for module in &adapter.modules {
        findings.extend(pair(case, module).filter(|_| whole));
        findings.extend(ranks(case, adapter, module));
    }
}

/// The half that is not there.
fn pair(case: &Case<'_>, module: &Module<'_>) -> Option<Finding> {
    let (held, missing) = match (module.a, module.b, module.magnitude) {
        (Some(_), Some(_), _) => return None,
        (Some(a), None, _) => (a, "lora_B"),
        (None, Some(b), _) => (b, "lora_A"),
        (None, None, magnitude) => (magnitude?, "lora_A and lora_B"),
    };
    if case.is_told(&held.name) {
        return None;
    }
    let finding = case.about(Id::AdapterPair, held, format!("{} has this half of a pair alone", module.name));
    Some(finding.needed(missing, "none"))
}

/// Ranks that do not agree.
fn ranks(case: &Case<'_>, adapter: &Adapter<'_>, module: &Module<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wrong = |tensor: &Tensor, message: &str, needed: String, found: String| {
        case.about(Id::AdapterRank, tensor, message).needed(needed, found)
    };
    for tensor in [module.a, module.b].into_iter().flatten() {
        if tensor.recipe.shape.len() != 2 {
            let found = format!("{:?}", tensor.recipe.shape);
            findings.push(wrong(tensor, "a half of a pair is a matrix", "two dimensions".to_owned(), found));
            return findings;
        }
    }
    if let (Some(a), Some(0)) = (module.a, module.rank()) {
        findings.push(wrong(a, "a pair of no rank adds nothing", "rank 1 or more".to_owned(), "rank 0".to_owned()));
        return findings;
    }
    let second = module.b.and_then(|b| b.recipe.shape.get(1).copied());
    if let (Some(a), Some(b), Some(rank)) = (module.rank(), second, module.b)
        && a != b
    {
        let message = "the two halves of the pair have different ranks";
        findings.push(wrong(rank, message, format!("rank {a}, as lora_A has"), format!("rank {b}")));
    } else if let (Some(a), Some(rank), Some(said)) = (module.a, module.rank(), config_rank(adapter, &module.name))
        && rank != said
    {
        let message = "the pair has another rank than the config says";
        findings.push(wrong(a, message, format!("rank {said}"), format!("rank {rank}")));
    }
    if let (Some(magnitude), Some(b)) = (module.magnitude, module.b) {
        let rows: Vec<u64> = b.recipe.shape.iter().copied().take(1).collect();
        if magnitude.recipe.shape != rows {
            let message = "there is not one magnitude a row";
            findings.push(wrong(magnitude, message, format!("{rows:?}"), format!("{:?}", magnitude.recipe.shape)));
        }
    }
    findings
}

/// The rank that the config says of a module; `None` where it speaks in expressions.
fn config_rank(adapter: &Adapter<'_>, module: &str) -> Option<u64> {
    if adapter.ranks.unread().is_some() {
        return None;
    }
    let own = adapter.ranks.get(module).and_then(Value::as_u64);
    own.or_else(|| adapter.said?.get("r")?.as_u64())
}

/// The config and what it leaves out.
fn config(case: &Case<'_>, adapter: &Adapter<'_>, findings: &mut Vec<Finding>) {
    let peft = adapter.scheme == Scheme::Peft;
    let name = case.checkpoint.adapter.as_ref().map_or(ADAPTER_CONFIG, |config| config.name.as_str());
    let finding = |id: Id, message: &str| Finding::new(id, message).in_file(name);
    let Some(said) = adapter.said else {
        let broken = case.checkpoint.findings.iter().any(|finding| finding.id == Id::JsonInvalid);
        if peft && !broken {
            let message = "PEFT finds an adapter by this file, and it is not there";
            findings.push(finding(Id::AdapterConfig, message).needed(ADAPTER_CONFIG, "none"));
        } else if !peft {
            let message = "nothing tells the alpha of the adapter: torchtune's file does not hold it";
            findings.push(Finding::new(Id::AdapterAlpha, message).needed("lora_alpha", "none"));
        }
        return;
    };
    let has = |key: &str| said.get(key).is_some_and(|value| !value.is_null());
    let lacking =
        |key: &str| finding(Id::AdapterConfig, "the config does not say what the loader needs").needed(key, "none");
    if !has("peft_type") && peft {
        findings.push(lacking("peft_type"));
    }
    for key in ["base_model_name_or_path", "task_type"] {
        let named = said.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if peft && !named {
            let message = "AutoPeftModelForCausalLM cannot load the adapter: the config does not name it";
            let lacks = finding(Id::AdapterConfig, message).severity(Severity::Warning);
            findings.push(lacks.needed(key, "none"));
        }
    }
    if !adapter.is_low_rank() {
        return;
    }
    let ranks = said.get("rank_pattern").and_then(Value::as_object);
    for (module, rank) in ranks.into_iter().flatten().filter(|row| row.1.as_u64().is_none_or(|rank| rank == 0)) {
        let message = format!("rank_pattern gives {module} no rank");
        findings.push(finding(Id::AdapterConfig, &message).needed("a number from 1", rank));
    }
    if adapter.alpha().is_none() {
        findings.push(finding(Id::AdapterAlpha, "the config does not say alpha").needed("lora_alpha", "none"));
    }
    // Rank 0 has been told; an expression for a module says nothing against the adapter.
    let some = adapter.modules.iter().find(|module| module.rank().is_some_and(|rank| rank > 0));
    if let Some(Err(told)) = some.map(|module| adapter.scale(module, None))
        && told.id == Id::AdapterAlpha
    {
        findings.push(told.severity(Severity::Error).in_file(name));
    }
    if !said.get("r").is_some_and(Value::is_u64) && adapter.ranks.is_empty() {
        findings.push(lacking("r"));
    }
    let magnitudes = adapter.modules.iter().any(|module| module.magnitude.is_some());
    if peft && magnitudes != adapter.flag("use_dora") {
        let (message, needed) = if magnitudes {
            ("the weights have magnitudes, and the config does not say that they are used", "use_dora: true")
        } else {
            ("the config says DoRA, and the weights have no magnitudes", "lora_magnitude_vector")
        };
        findings.push(finding(Id::AdapterConfig, message).needed(needed, "none"));
    }
    if peft {
        targets(adapter, said, name, findings);
    }
}

/// The modules that the config names are those that have weights.
fn targets(adapter: &Adapter<'_>, said: &Value, config: &str, findings: &mut Vec<Finding>) {
    // One word stands for an expression, or for all linear layers.
    let Some(named) = said.get("target_modules").and_then(Value::as_array) else { return };
    let targets = Patterns::list(named);
    for module in adapter.modules.iter().filter(|module| targets.get(&module.name).is_none()) {
        let message = format!("the weights change {}, and the config does not name it", module.name);
        let finding = Finding::new(Id::AdapterTargets, message).in_file(config);
        let tensor = module.a.or(module.b).map(|tensor| tensor.name.clone());
        findings.push(tensor.into_iter().fold(finding, Finding::tensor));
    }
    let changed: HashSet<&str> = adapter.modules.iter().flat_map(|module| patterns::ends(&module.name)).collect();
    for name in named.iter().filter_map(Value::as_str).filter(|name| !changed.contains(name)) {
        let message = format!("the config names {name}, and there are no weights for it");
        findings.push(Finding::new(Id::AdapterTargets, message).in_file(config).needed(name, "none"));
    }
}

/// What of an adapter does not fit a base model; empty for what is no adapter.
pub(crate) fn on_base(case: &Case<'_>, base: &ckpt::layouts::Checkpoint) -> Vec<Finding> {
    let Some(adapter) = adapters::of(case.checkpoint) else { return Vec::new() };
    let findings = adapters::fit(&adapter, base).findings;
    let placed = findings.into_iter().map(|finding| {
        let tensor = finding.tensor.as_deref().and_then(|name| case.tensor(name));
        match tensor.and_then(|tensor| tensor.recipe.file()) {
            Some(file) => finding.in_file(case.checkpoint.pool.name(file)),
            None => finding,
        }
    });
    super::limited(placed.collect())
}
