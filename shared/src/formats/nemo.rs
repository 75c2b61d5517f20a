//! What a tar holds: NeMo's archive of `model_config.yaml` and `model_weights.ckpt`, or the four files that torch packed
//! together in 2016.

use serde_json::{Number, Value};

use crate::bytes::{Part, ReadAt};
use crate::facts::{FileId, Finding, Id, limits};

use super::tar::{self, Archive, Member};
use super::{Container, Format, Object, detect, torch, unreadable};

/// The weights, as `save_restore_connector.py` calls them, and the settings.
const WEIGHTS: &str = "model_weights.ckpt";
/// See [`WEIGHTS`].
const CONFIG: &str = "model_config.yaml";
/// How the folder of a model-parallel rank begins that has weights of its own (`nlp_overrides.py`).
pub const RANK: &str = "mp_rank_";

/// Reads the geometry of what a tar holds. Where several ranks have weights of their own, a tensor's name begins with the
/// folder of its rank (`mp_rank_00/`), and the layouts join them. Folders of chunks are not read.
///
/// # Errors
/// The tar's own damage, that of the weights in it, [`Id::Unsupported`] for any other tar.
pub(super) fn read(source: &dyn ReadAt, file: FileId) -> Result<(Format, Container), Finding> {
    let archive = tar::read(source)?;
    if torch::is_tar(&archive) {
        return Ok((Format::TorchTar, torch::read_tar(source, &archive, file)?));
    }
    let is_nemo = archive.files().any(|(name, _)| name == CONFIG || name.ends_with(WEIGHTS));
    let mut container = match archive.find(WEIGHTS) {
        Some(weights) => open(source, file, WEIGHTS, weights)?,
        None if archive.files().any(|(name, _)| rank(name).is_some()) => ranks(source, file, &archive)?,
        None => return Err(without(&archive, is_nemo)),
    };
    container.findings.extend(archive.findings.iter().cloned());
    for (name, member) in archive.files().filter(|(name, _)| !name.ends_with(WEIGHTS)) {
        let value = Value::from(format!("<file of {} bytes>", member.size));
        container.objects.push(Object { path: name.to_owned(), value });
        if name == CONFIG && member.size <= limits::SETTINGS {
            let text = source.read_vec_at(member.size, member.data).map_err(|error| unreadable(&error, member.data))?;
            container.objects.extend(settings(&String::from_utf8_lossy(&text)));
        }
    }
    Ok((Format::Nemo, container))
}

/// The folder of a rank whose weights a member is.
fn rank(name: &str) -> Option<&str> {
    let folder = name.strip_suffix(WEIGHTS)?.strip_suffix('/')?;
    (folder.starts_with(RANK) && !folder.contains('/')).then_some(folder)
}

/// Reads the weights of every rank, in the order of their folders' names.
fn ranks(source: &dyn ReadAt, file: FileId, archive: &Archive) -> Result<Container, Finding> {
    let mut members: Vec<_> = archive.files().filter_map(|(name, member)| Some((rank(name)?, name, member))).collect();
    members.sort_by_key(|(folder, ..)| *folder);
    let mut whole = Container::default();
    for (place, (folder, name, member)) in members.into_iter().enumerate() {
        let mut own = open(source, file, name, member)?;
        for tensor in &mut own.tensors {
            tensor.name = format!("{folder}/{}", tensor.name);
        }
        if place > 0 {
            // What is no tensor every rank says again.
            own.objects = Vec::new();
        }
        if whole.tensors.len().saturating_add(own.tensors.len()) > limits::TENSORS {
            return Err(Finding::new(Id::TooLarge, format!("more than {} tensors", limits::TENSORS)));
        }
        whole.append(own);
    }
    Ok(whole)
}

/// Reads a member that is a file of weights itself.
fn open(source: &dyn ReadAt, file: FileId, name: &str, member: &Member) -> Result<Container, Finding> {
    let part = Part::new(source, member.data, member.size).map_err(|error| unreadable(&error, member.data))?;
    let read = match detect::detect(&part) {
        // An archive within an archive is none of NeMo's.
        Ok(Format::Tar) => Err(Finding::new(Id::TarInvalid, format!("{name} is a tar itself"))),
        Ok(_) => super::open(&part, file).map(|(_, container)| container),
        Err(finding) => Err(finding),
    };
    let mut container = read.map_err(|finding| {
        let message = format!("{} (in {name})", finding.message);
        Finding { message, ..finding.shifted(member.data) }
    })?;
    container.shift(member.data);
    Ok(container)
}

/// The finding for a tar without weights on its top.
fn without(archive: &Archive, is_nemo: bool) -> Finding {
    if let Some(finding) = archive.findings.first() {
        return finding.clone();
    }
    if !is_nemo {
        return Format::Tar.refusal();
    }
    if archive.files().any(|(name, _)| name.starts_with("model_weights/")) {
        let message = "NeMo's archive holds the weights of a folder of chunks; unpack it with tar and read the folder";
        return Finding::new(Id::Unsupported, message);
    }
    let message = format!("NeMo's archive holds {CONFIG} and no weights");
    Finding::new(Id::TarInvalid, message).needed(WEIGHTS, "no such member")
}

/// The scalars on top of a YAML file: `hidden_size: 4096`. Nothing nested is read.
fn settings(text: &str) -> Vec<Object> {
    let scalar = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        let value = value.trim().trim_matches(['\'', '"']);
        let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !word || value.is_empty() || value.starts_with(['{', '[', '&', '*', '|', '>', '#', '$']) {
            return None;
        }
        let value = match value {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "~" => Value::Null,
            text => text
                .parse::<i64>()
                .ok()
                .map(Value::from)
                .or_else(|| text.parse().ok().and_then(Number::from_f64).map(Value::Number))
                .unwrap_or_else(|| Value::from(text)),
        };
        Some(Object { path: format!("model_config.{key}"), value })
    };
    text.lines().filter_map(scalar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_scalars_on_top() {
        let text =
            "target: nemo.Model\nhidden_size: 64\neps: 1e-05\ntokenizer:\n  library: x\nbias: false\nlist: [1]\n";
        let told: Vec<String> =
            settings(text).iter().map(|object| format!("{}={}", object.path, object.value)).collect();
        let wanted = ["target=\"nemo.Model\"", "hidden_size=64", "eps=0.00001", "bias=false"];
        assert_eq!(told, wanted.map(|line| format!("model_config.{line}")));
    }
}
