//! What several checkpoints have in common: tensors of one dtype, shape and digest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use ckpt::document::Shared;
use ckpt::facts::Dtype;
use ckpt::manifests::Digests;

/// What tells tensors apart, whatever they are called.
type Content = (String, String, Vec<u64>);

/// The checkpoints looked at so far, in their order.
#[derive(Debug, Default)]
pub(crate) struct Twins(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// As they were typed, each with the digest over its tensors.
    paths: Vec<(String, String)>,
    /// Which of them hold a tensor.
    holders: BTreeMap<Content, BTreeSet<usize>>,
}

impl Twins {
    /// What a checkpoint shares with each of those before it, the nearest first, and its notes; it is then one of them.
    pub(crate) fn meet(&self, path: &str, taken: &Digests) -> (Vec<Shared>, Vec<String>) {
        let Some((tensors, root)) = &taken.tensors else { return (Vec::new(), Vec::new()) };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.paths.len();
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
        for line in tensors {
            let content = (line.digest.clone(), line.dtype.clone(), line.shape.clone());
            let holders = seen.holders.entry(content).or_default();
            for &other in holders.iter().filter(|&&other| other != own) {
                names.entry(other).or_default().push(line.name.clone());
                let sum = bytes.entry(other).or_default();
                *sum = sum.saturating_add(size(&line.dtype, &line.shape));
            }
            holders.insert(own);
        }
        let (mut shared, mut notes) = (Vec::new(), Vec::new());
        for (other, names) in names.into_iter().rev() {
            let Some((of, other_root)) = seen.paths.get(other) else { continue };
            let equal = other_root == root;
            if equal {
                notes.push(format!("every tensor is as in {of}"));
            }
            let tensors = u64::try_from(names.len()).unwrap_or(u64::MAX);
            let bytes = bytes.get(&other).copied().unwrap_or(0);
            shared.push(Shared { path: of.clone(), equal, tensors, bytes, names: Some(names) });
        }
        seen.paths.push((path.to_owned(), root.clone()));
        (shared, notes)
    }
}

/// Bytes of a tensor.
fn size(dtype: &str, shape: &[u64]) -> u64 {
    let elements = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    Dtype::from_name(dtype).zip(elements).and_then(|(dtype, elements)| dtype.bytes_of(elements)).unwrap_or(0)
}
