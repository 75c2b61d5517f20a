//! Tensors grouped by module, equal neighbours folded into one (`--tree`).

use ckpt::document::{Geometry, TreeNode};
use ckpt::facts::Tensor;
use ckpt::layouts::Checkpoint;

use super::Counts;
use super::count::Count;

/// How deep modules nest at most; deeper names than any model has stay whole, so that the stack does not grow by them.
const DEPTH: usize = 64;

/// A tensor, what is left of its name, and what it counts for.
type Leaf<'a> = (&'a str, &'a Tensor, Count);

/// The tree of the tensors to be shown. Modules stand where their first tensor stands in natural order: `layers.2`
/// before `layers.10`.
pub(crate) fn of(checkpoint: &Checkpoint, counts: &Counts, shown: &dyn Fn(&str) -> bool) -> TreeNode {
    let zipped = checkpoint.tensors.iter().zip(&counts.each);
    let mut leaves: Vec<Leaf<'_>> = zipped
        .filter(|(tensor, _)| shown(&tensor.name))
        .map(|(tensor, count)| (tensor.name.as_str(), tensor, *count))
        .collect();
    leaves.sort_by(|a, b| natural(a.0, b.0));
    let mut root = TreeNode { children: children(&leaves, DEPTH), ..TreeNode::default() };
    sum(&mut root);
    root
}

/// Parts of names in order, numbers by their value.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |part: &str| (number(part).is_none(), number(part));
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        return match (a.next(), b.next()) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => key(a).cmp(&key(b)).then_with(|| a.cmp(b)),
            (a, b) => a.cmp(&b),
        };
    }
}

fn number(part: &str) -> Option<u64> {
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

/// The nodes of leaves that are sorted and share what came before.
fn children(leaves: &[Leaf<'_>], depth: usize) -> Vec<TreeNode> {
    let split = |name: &'_ str| if depth == 0 { None } else { name.find('.') };
    let head = |leaf: &Leaf<'_>| leaf.0.get(..split(leaf.0).unwrap_or(leaf.0.len())).unwrap_or_default().to_owned();
    let mut nodes: Vec<TreeNode> = Vec::new();
    for group in leaves.chunk_by(|a, b| head(a) == head(b)) {
        let mut inside: Vec<Leaf<'_>> = Vec::new();
        let mut node = TreeNode { name: group.first().map(head).unwrap_or_default(), ..TreeNode::default() };
        for leaf in group {
            match split(leaf.0).and_then(|dot| leaf.0.get(dot.saturating_add(1)..)) {
                Some(rest) => inside.push((rest, leaf.1, leaf.2)),
                None => own(&mut node, leaf),
            }
        }
        node.children = children(&inside, depth.saturating_sub(1));
        sum(&mut node);
        match nodes.last_mut().filter(|last| follows(last, &node) && alike(last, &node)) {
            Some(last) => fold(last, &node),
            None => nodes.push(node),
        }
    }
    nodes
}

/// A node that is a tensor itself.
fn own(node: &mut TreeNode, (_, tensor, count): &Leaf<'_>) {
    node.tensors = 1;
    node.parameters = count.parameters;
    node.bytes = count.bytes;
    let recipe = &tensor.recipe;
    node.tensor = Some(Geometry { dtype: recipe.dtype.name().to_owned(), shape: recipe.shape.clone() });
}

/// Adds what is below a node to what it holds itself.
fn sum(node: &mut TreeNode) {
    for child in &node.children {
        node.tensors = node.tensors.saturating_add(child.tensors);
        node.parameters = node.parameters.saturating_add(child.parameters);
        node.bytes = node.bytes.saturating_add(child.bytes);
    }
}

/// Whether the second node is the number after the first, which may be a run already.
fn follows(run: &TreeNode, node: &TreeNode) -> bool {
    let last = run.name.split_once("..").map_or(run.name.as_str(), |(_, last)| last);
    number(last).and_then(|last| last.checked_add(1)).is_some_and(|next| number(&node.name) == Some(next))
}

/// Whether two nodes hold the same, name by name.
fn alike(a: &TreeNode, b: &TreeNode) -> bool {
    let pairs = || a.children.iter().zip(&b.children);
    a.tensor == b.tensor
        && a.children.len() == b.children.len()
        && pairs().all(|(a, b)| a.name == b.name)
        && pairs().all(|(a, b)| alike(a, b))
}

/// Takes the next node of a run into it: figures add up all the way down, shapes are those of each.
fn fold(run: &mut TreeNode, node: &TreeNode) {
    let first = run.name.split_once("..").map_or(run.name.as_str(), |(first, _)| first);
    run.name = format!("{first}..{}", node.name);
    add(run, node);
}

fn add(run: &mut TreeNode, node: &TreeNode) {
    run.tensors = run.tensors.saturating_add(node.tensors);
    run.parameters = run.parameters.saturating_add(node.parameters);
    run.bytes = run.bytes.saturating_add(node.bytes);
    for (run, node) in run.children.iter_mut().zip(&node.children) {
        add(run, node);
    }
}
