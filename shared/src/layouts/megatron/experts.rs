//! Experts that ranks share: each rank of expert parallelism has so many of them, numbered from 0, and whole copies of all
//! else. `local_expert_indices_offset` of megatron-core's `experts.py` says which of the model's they are.

use std::collections::{BTreeMap, HashMap};

use super::join::Chunk;
use crate::facts::{Finding, Id, Recipe, Tensor};
use crate::layouts::Replica;
use crate::layouts::chunks::same_geometry;

/// What stands before the number of an expert: of those that are modules of their own, and of Transformer Engine's groups
/// (`linear_fc1.weight3`).
const NUMBERED: [&str; 4] =
    [".experts.local_experts.", ".experts.linear_fc1.weight", ".experts.linear_fc2.weight", ".experts.linear_fc1.bias"];
/// See [`NUMBERED`].
const BIAS: &str = ".experts.linear_fc2.bias";
/// Experts that are columns of one matrix, which is not cut apart here.
const GROUPED: [&str; 2] = [".experts.weight1", ".experts.weight2"];

/// The name up to an expert's number, the number, and the rest.
fn expert(name: &str) -> Option<(&str, u64, &str)> {
    NUMBERED.iter().chain([&BIAS]).find_map(|before| {
        let at = name.find(before)?.checked_add(before.len())?;
        let (start, rest) = name.split_at_checked(at)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at_checked(digits)?;
        Some((start, number.parse().ok()?, rest))
    })
}

/// Makes one rank of those that share experts: of each tensor rank and chunk a list a rank of experts, in their order.
/// Copies are added to `replicas`.
///
/// # Errors
/// A finding about ranks that hold other numbers of experts, or other tensors, than the first; about experts that are not
/// numbered.
pub(super) fn join(parts: Chunk, replicas: &mut Vec<Replica>) -> Result<Option<(u64, String, Vec<Tensor>)>, Finding> {
    let mut parts = parts.into_iter();
    let Some((rank, file, mut whole)) = parts.next() else { return Ok(None) };
    let grouped = |tensor: &Tensor| GROUPED.iter().any(|end| tensor.name.ends_with(end));
    if let Some(tensor) = whole.iter().find(|tensor| grouped(tensor)).filter(|_| parts.len() > 0) {
        let message = "the experts of a rank are columns of one matrix (--moe-grouped-gemm without Transformer Engine), \
                       which is not joined over ranks; save the checkpoint as torch_dist with Megatron's --ckpt-format";
        return Err(Finding::new(Id::Unsupported, message).in_file(file).tensor(tensor.name.clone()));
    }
    let held = |tensors: &[Tensor]| {
        let numbers = tensors.iter().filter_map(|tensor| expert(&tensor.name)).map(|(_, number, _)| number);
        numbers.max().map_or(0, |last| last.saturating_add(1))
    };
    let count = held(&whole);
    let common: HashMap<String, Recipe> = whole
        .iter()
        .filter(|tensor| expert(&tensor.name).is_none())
        .map(|tensor| (tensor.name.clone(), tensor.recipe.clone()))
        .collect();
    let mut first = 0_u64;
    for (place, (_, file, tensors)) in parts.enumerate() {
        first = first.saturating_add(count);
        let mismatch = |message: &str| Finding::new(Id::ShardMismatch, message).in_file(file.clone());
        if held(&tensors) != count {
            let finding = mismatch("the rank holds another number of experts than the first of those that share them");
            return Err(finding.needed(count, held(&tensors)));
        }
        let mut seen = 0_usize;
        for tensor in tensors {
            if let Some((start, number, rest)) = expert(&tensor.name) {
                let name = format!("{start}{}{rest}", number.saturating_add(first));
                whole.push(Tensor { name, ..tensor });
                continue;
            }
            let Some(kept) = common.get(&tensor.name) else {
                return Err(mismatch("only some of the ranks that share experts hold this tensor").tensor(tensor.name));
            };
            seen = seen.saturating_add(1);
            let refused = |finding: Finding| finding.in_file(file.clone()).tensor(tensor.name.clone());
            same_geometry(kept, &tensor.recipe, None).map_err(refused)?;
            let copy = (place.saturating_add(1), tensor.recipe);
            replicas.push(Replica { tensor: tensor.name, kept: (0, kept.clone()), copy });
        }
        if seen != common.len() {
            let finding = mismatch("the rank lacks tensors that the first of those that share experts holds");
            return Err(finding.needed(common.len(), seen));
        }
    }
    Ok(Some((rank, file, whole)))
}

/// Joins the ranks of experts of every chunk.
///
/// # Errors
/// As [`join`].
pub(super) fn all(
    chunks: BTreeMap<(u64, u64), Chunk>,
    replicas: &mut Vec<Replica>,
) -> Result<BTreeMap<(u64, u64), Chunk>, Finding> {
    let mut joined: BTreeMap<(u64, u64), Chunk> = BTreeMap::new();
    for (key, ranks) in chunks {
        let mut by_tensor: BTreeMap<u64, Chunk> = BTreeMap::new();
        for rank in ranks {
            by_tensor.entry(rank.0).or_default().push(rank);
        }
        let chunk = joined.entry(key).or_default();
        for parts in by_tensor.into_values() {
            chunk.extend(join(parts, replicas)?);
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Dtype, FileId};

    #[test]
    fn names_of_experts_have_numbers() {
        for (name, wanted) in [
            ("decoder.layers.0.mlp.experts.local_experts.3.linear_fc1.weight", Some((3, ".linear_fc1.weight"))),
            ("decoder.layers.0.mlp.experts.linear_fc1.weight12", Some((12, ""))),
            ("decoder.layers.0.mlp.experts.linear_fc2.bias1", Some((1, ""))),
            ("decoder.layers.0.mlp.shared_experts.linear_fc1.weight", None),
            ("decoder.layers.0.mlp.router.weight", None),
        ] {
            assert_eq!(expert(name).map(|(_, number, rest)| (number, rest)), wanted, "{name}");
        }
    }

    #[test]
    fn ranks_have_experts_one_after_the_other_and_copies_of_all_else() {
        let tensor = |name: &str, file: usize| Tensor {
            name: name.to_owned(),
            recipe: Recipe::bytes(Dtype::F32, vec![2], FileId(file), 0),
            crc32: None,
        };
        let rank = |file: usize, names: &[&str]| {
            (0, format!("rank {file}"), names.iter().map(|name| tensor(name, file)).collect::<Vec<_>>())
        };
        let names = ["router.weight", "mlp.experts.local_experts.0.w", "mlp.experts.local_experts.1.w"];
        let mut replicas = Vec::new();
        let (.., whole) = join(vec![rank(0, &names), rank(1, &names)], &mut replicas).unwrap().unwrap();
        let told: Vec<(&str, FileId)> =
            whole.iter().map(|tensor| (&*tensor.name, tensor.recipe.contiguous().unwrap().0)).collect();
        let at = |number: u64| format!("mlp.experts.local_experts.{number}.w");
        let names_of: Vec<String> = (0..4).map(at).collect();
        let wanted = [
            (names[0], FileId(0)),
            (&names_of[0], FileId(0)),
            (&names_of[1], FileId(0)),
            (&names_of[2], FileId(1)),
            (&names_of[3], FileId(1)),
        ];
        assert_eq!((told, replicas.len()), (wanted.to_vec(), 1));
        for (other, message) in [
            (&names[..2], "another number of experts"),
            (&names[1..], "lacks tensors"),
            (&["a", names[1], names[2]][..], "only some"),
        ] {
            let finding = join(vec![rank(0, &names), rank(1, other)], &mut Vec::new()).unwrap_err();
            assert!(finding.id == Id::ShardMismatch && finding.message.contains(message), "{finding}");
        }
        let grouped = ["a.mlp.experts.weight1"];
        let finding = join(vec![rank(0, &grouped), rank(1, &grouped)], &mut Vec::new()).unwrap_err();
        assert_eq!(finding.id, Id::Unsupported);
    }
}
