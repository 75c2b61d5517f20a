//! tensor-missing, tensor-unexpected, config-layers: the names there are against those the family needs.

use ckpt::archs::{Arch, Counts, Match, Naming, Need, On, Row};
use ckpt::bytes::to_u64;
use ckpt::canonical::is_derived;
use ckpt::facts::{Finding, Id, Tensor};
use ckpt::layouts::Layout;

use super::explain;
use crate::case::Case;

explain! {
    /// For a known family, looks for every tensor that a model of that many layers has, unless a weight file is missing
    /// or unreadable as a whole, of which one finding is enough. A file given alone is never asked for what is not in it.
    ///
    /// transformers fills the gap with random values and only mentions it; Meta's loader refuses.
    ///
    /// Download or save the checkpoint again.
    TensorMissing;
    /// For a known family, names tensors that it does not have, or not with this config: a bias that no setting
    /// announces, experts in a dense layer. Buffers that can be derived are no surprise, nor is the head of a model that
    /// is not a language model.
    ///
    /// A loader drops them, or refuses. They are left-overs of a wrapper or an adapter, or the architecture is another one
    /// than the config says.
    TensorUnexpected;
    /// For a known family, compares the config's number of layers with the layers that the weights have.
    ///
    /// With too many in the config, transformers runs the missing layers on random values; with too few it drops layers.
    ///
    /// Take the config that came with the weights, or the weights that came with the config.
    ConfigLayers;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some((arch, naming)) = case.family else { return };
    if case.checkpoint.layout == Layout::File || case.checkpoint.tensors.is_empty() {
        return;
    }
    let mut present = Counts::default();
    let mut unknown: Vec<&Tensor> = Vec::new();
    let mut uncalled: Vec<(&Tensor, Match)> = Vec::new();
    for tensor in &case.checkpoint.tensors {
        let Some(found) = case.find(&tensor.name) else {
            unknown.push(tensor);
            continue;
        };
        present.cover(&found);
        if !case.sizes.has(found.row, found.layer) {
            uncalled.push((tensor, found));
        }
    }
    if unknown.len() == case.checkpoint.tensors.len() {
        findings.push(foreign(case, arch, &unknown));
        return;
    }
    let new = |tensor: &Tensor| !case.is_told(&tensor.name) && !is_announced(case, naming, &tensor.name);
    findings.extend(unknown.iter().filter(|tensor| new(tensor)).map(|tensor| {
        let message = format!("the architecture {} has no tensor of this name", arch.name);
        case.about(Id::TensorUnexpected, tensor, message)
    }));
    findings.extend(uncalled.iter().filter(|(tensor, _)| new(tensor)).map(|(tensor, found)| {
        let message = match found.row.need {
            Need::Where(key) => format!("the architecture {} has this tensor only where {key} is true", arch.name),
            Need::With(key) => format!("the architecture {} has this tensor only with {key}", arch.name),
            _ => format!("by the config, layer {} is not one that has this tensor", found.layer),
        };
        case.about(Id::TensorUnexpected, tensor, message)
    }));
    if case.complete {
        findings.extend(config_layers(case, present.layers));
        missing(case, arch, present, findings);
    }
}

/// The config's number of layers is not that of the weights.
fn config_layers(case: &Case<'_>, present: u64) -> Option<Finding> {
    let wanted = case.sizes.layers().filter(|&wanted| wanted != present)?;
    let message = if wanted > present {
        "the config has more layers than the weights"
    } else {
        "the config has fewer layers than the weights"
    };
    let finding = Finding::new(Id::ConfigLayers, message).in_file(case.config_name());
    Some(finding.needed(format!("{wanted} layers"), format!("{present} layers")))
}

/// What a model of as many layers as there are needs and has not.
fn missing(case: &Case<'_>, arch: &'static Arch, present: Counts, findings: &mut Vec<Finding>) {
    let held = to_u64(case.checkpoint.tensors.len());
    let said = case.sizes.counts();
    // What no row is numbered by is no part of this family, whatever the config says of it.
    let counted = |said: u64, present: u64, numbers: &dyn Fn(&Row) -> bool| match said {
        _ if !arch.rows.iter().any(numbers) => 0,
        0 => present,
        said => said,
    };
    let counts = Counts {
        layers: present.layers,
        cross: counted(said.cross, present.cross, &|row| row.on == On::CrossAlone),
        vision: counted(said.vision, present.vision, &|row| row.on == On::Vision),
        global: counted(said.global, present.global, &|row| row.on == On::VisionGlobal),
        experts: counted(said.experts, present.experts, &Row::per_expert),
    };
    // All experts of a layer stand in one tensor, unless others than the first have their own.
    let gguf = case.family.is_some_and(|(_, naming)| naming == Naming::Gguf);
    let apart = present.experts > 1;
    let counts = if gguf && !apart { Counts { experts: counts.experts.min(1), ..counts } } else { counts };
    // Numbers come from names in files: a gap of a million layers is one finding, not millions.
    let parts = |counts: Counts| {
        [
            ("layers", counts.layers.saturating_add(counts.cross)),
            ("layers of the vision tower", counts.vision.saturating_add(counts.global)),
            ("experts", counts.experts),
            ("experts", counts.layers.saturating_mul(counts.experts)),
        ]
    };
    let part = parts(counts).into_iter().zip(parts(present)).find(|((_, count), _)| *count > held);
    if let Some(((what, count), (_, there))) = part {
        let message = format!("{what} are missing between those that are there");
        let mut finding = Finding::new(Id::TensorMissing, message);
        // More than the names of tensors tell is what the config says.
        if count > there {
            finding = finding.in_file(case.config_name());
        }
        findings.push(finding.needed(format!("{count} {what}"), format!("{held} tensors in all")));
        return;
    }
    let heads = |row: &Row| row.need == Need::Head && case.family.is_some_and(|(_, naming)| naming == Naming::Meta);
    for expected in arch.expected(counts) {
        // Loaders of Meta's form need the output head also where it is the embedding, unless the file says that it is; of
        // Hugging Face's another rule speaks.
        let needed =
            case.sizes.needs(expected.row, expected.layer) || (heads(expected.row) && !case.is_set("tied_embeddings"));
        let own = expected.apart().filter(|_| gguf && apart);
        let Some(name) = own.or_else(|| case.named(&expected)).filter(|_| needed) else { continue };
        if case.tensor(&name).is_none() && !case.is_told(&name) {
            let message = format!("the architecture {} needs this tensor, and no file has it", arch.name);
            findings.push(Finding::new(Id::TensorMissing, message).tensor(name));
        }
    }
}

/// Not one name is the family's: one finding says more than hundreds.
fn foreign(case: &Case<'_>, arch: &Arch, unknown: &[&Tensor]) -> Finding {
    let message = format!("{} says {}, and no tensor has a name of that architecture", case.config_name(), arch.name);
    let wanted = arch.rows.first().map_or("", |row| row.name(Naming::Hf));
    let finding = Finding::new(Id::TensorMissing, message).in_file(case.config_name());
    finding.needed(wanted, unknown.first().map_or("", |tensor| tensor.name.as_str()))
}

/// Names outside the table that the config announces.
fn is_announced(case: &Case<'_>, naming: Naming, name: &str) -> bool {
    if is_derived(name) {
        return true;
    }
    if naming != Naming::Hf {
        return false;
    }
    // A classifier's or reward model's own head stands outside the layers.
    let inside = name.contains(".layers.") || name.starts_with("layers.");
    !inside && !is_language_model(case)
}

/// Whether the config's architecture is one that has an output head over the vocabulary.
pub(super) fn is_language_model(case: &Case<'_>) -> bool {
    let named = case.setting("architectures").and_then(serde_json::Value::as_array);
    let speaks = |name: &str| name.ends_with("ForCausalLM") || name.ends_with("ForConditionalGeneration");
    named.is_none_or(|names| names.iter().filter_map(|name| name.as_str()).any(speaks))
}
