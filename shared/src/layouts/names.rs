//! What file names say: which layout a folder has, which rank or shard a file is.

use super::tree::Entry;
use super::{Layout, adapter, dcp, deepspeed, megatron, mistral, training};

/// Endings of files that hold weights in one framework or another.
const WEIGHTS: &[&str] = &[
    ".safetensors",
    ".pth",
    ".pt",
    ".pt2",
    ".bin",
    ".ckpt",
    ".gguf",
    ".npz",
    ".npy",
    ".nemo",
    ".msgpack",
    ".onnx",
    ".h5",
    ".keras",
];

/// Whether a file on top of a checkpoint should hold weights.
pub fn is_weights(name: &str) -> bool {
    let own = name.rsplit('/').next().unwrap_or(name);
    WEIGHTS.iter().any(|ending| own.ends_with(ending)) && training::file_part(own).is_none() && !adapter::is_one(own)
}

/// The rank of a `consolidated.NN.pth` or the lone `consolidated.pth`, which is rank 0.
pub fn meta_rank(name: &str) -> Option<u64> {
    let middle = name.strip_prefix("consolidated")?.strip_suffix(".pth")?;
    match middle.strip_prefix('.') {
        None => middle.is_empty().then_some(0),
        Some(digits) if digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
    }
}

/// Which shard of how many a file says it is: `model-00002-of-00005.safetensors`. Numbers are as written; some
/// releases count from 0, or promise more files than there are.
pub fn shard_number(name: &str) -> Option<(u64, u64)> {
    let own = name.rsplit('/').next().unwrap_or(name);
    let stem = own.rsplit_once('.').map_or(own, |(stem, _)| stem);
    let (before, of) = stem.rsplit_once("-of-")?;
    let number = before.rsplit(['-', '_']).next()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(of)).then(|| Some((number.parse().ok()?, of.parse().ok()?)))?
}

/// How transformers and diffusers call weights, stem and ending, in the order in which they look for them: `stem.ending`
/// for one file, `stem-00001-of-0000N.ending` for shards (`modeling_utils.py` of either).
pub(super) const STORES: &[(&str, &str)] = &[
    ("model", "safetensors"),
    ("pytorch_model", "bin"),
    ("diffusion_pytorch_model", "safetensors"),
    ("diffusion_pytorch_model", "bin"),
];

/// Whether a file on top of a folder is one that transformers or diffusers would load, or a shard of such a set.
pub fn is_hf_weights(name: &str) -> bool {
    STORES.iter().any(|(stem, ending)| {
        let rest = name.strip_prefix(stem).unwrap_or("");
        let is_shard = rest.starts_with('-') && shard_number(name).is_some();
        rest.strip_prefix('.').is_some_and(|rest| rest.strip_suffix(".index.json").unwrap_or(rest) == *ending)
            || (is_shard && rest.ends_with(&format!(".{ending}")))
    })
}

/// Whether a file holds the weights of an adapter, by its own name.
pub fn is_adapter(name: &str) -> bool {
    adapter::is_one(name)
}

/// Whether a file on top is a trainer's note to itself about how its files lie, of no use beside other weights.
pub fn is_bookkeeping(name: &str) -> bool {
    dcp::belongs(name) || deepspeed::NOTES.contains(&name)
}

/// The layout of a folder with these files (PROTOCOL §1).
pub(super) fn layout_of(entries: &[Entry]) -> Layout {
    let has = |test: &dyn Fn(&str) -> bool| entries.iter().any(|entry| test(&entry.name));
    let is_on_top = |name: &str| !name.contains('/') && is_weights(name);
    if has(&is_hf_weights) {
        Layout::Hf
    } else if has(&mistral::is_own_weights) || (has(&|name| meta_rank(name).is_some()) && mistral::claims(entries)) {
        Layout::Mistral
    } else if has(&|name| meta_rank(name.strip_prefix("original/").unwrap_or(name)).is_some()) {
        Layout::Meta
    } else if dcp::folder(entries).is_some() {
        Layout::Dcp
    } else if deepspeed::folder(entries).is_some() {
        Layout::DeepSpeed
    } else if megatron::folder(entries).is_some() {
        Layout::Megatron
    } else if adapter::find(entries).is_some() || (has(&|name| name == adapter::CONFIG) && !has(&is_on_top)) {
        Layout::Adapter
    } else {
        Layout::Directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ranks_and_shards() {
        assert_eq!(meta_rank("consolidated.00.pth"), Some(0));
        assert_eq!(meta_rank("consolidated.15.pth"), Some(15));
        assert_eq!(meta_rank("consolidated.pth"), Some(0));
        assert_eq!(meta_rank("consolidated.0.pth"), None);
        assert_eq!(meta_rank("consolidated.safetensors"), None);
        assert_eq!(shard_number("model-00001-of-000062.safetensors"), Some((1, 62)));
        assert_eq!(shard_number("transformer/pytorch_model-00000-of-00130.bin"), Some((0, 130)));
        assert_eq!(shard_number("model-last-of-us.safetensors"), None);
        assert!(is_hf_weights("model-00001-of-00002.safetensors") && !is_hf_weights("a/model.safetensors"));
        assert!(is_hf_weights("diffusion_pytorch_model.bin") && is_hf_weights("model.safetensors.index.json"));
        assert!(!is_hf_weights("diffusion_pytorch_model.fp16.safetensors") && !is_hf_weights("model-fp8.safetensors"));
        assert!(is_weights("unet.ckpt") && !is_weights("optimizer_1.bin") && !is_weights("rng_state_0.pth"));
    }
}
