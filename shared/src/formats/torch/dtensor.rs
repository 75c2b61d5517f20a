//! `DTensor`: a tensor cut over a mesh of ranks, of which a file of one rank holds one part
//! (`torch/distributed/tensor/_dtensor_spec.py`, `torch/distributed/device_mesh.py`).

use serde_json::Value as Json;

use crate::facts::Dtype;
use crate::formats::Piece;
use crate::formats::pickle::lookup::{attribute, count, of_state};
use crate::formats::pickle::{Node, Pickle};

use super::call::{dtype_of, numbers};
use super::describe;
use super::walk::{Key, Walk};

/// The rank whose part a file holds, and the number of ranks of the mesh.
pub(super) type Part = (u64, u64);

impl<'p> Walk<'p, '_> {
    /// Takes a `DTensor` for the part that is in the file, under its own name; says of which whole it is a part. Gives
    /// `false` for any other wrapper.
    pub(super) fn dtensor(&mut self, node: Node, class: Node, args: &'p [Node], state: Node) -> bool {
        let pickle = self.pickle;
        if pickle.global(class).is_none_or(|class| class.name != "DTensor") {
            return false;
        }
        let (Some(local), Some(spec)) = (of_state(pickle, state, "_local_tensor"), of_state(pickle, state, "_spec"))
        else {
            return false;
        };
        let part = attribute(pickle, spec, "mesh").and_then(|mesh| part(pickle, mesh));
        let which = part.map_or_else(|| "a shard".to_owned(), |(rank, of)| format!("shard {rank} of {of}"));
        let placements = attribute(pickle, spec, "placements").and_then(|list| pickle.sequence(list));
        let placements: Vec<String> =
            placements.unwrap_or_default().iter().map(|placement| placed(pickle, *placement)).collect();
        let dtype = args.get(1).and_then(|dtype| dtype_of(pickle, *dtype)).map_or("?", Dtype::name);
        let whole = args.get(2).and_then(|shape| numbers(pickle, *shape)).unwrap_or_default();
        self.object(Json::from(format!("<DTensor {which}, {} of {dtype} {whole:?}>", placements.join(", "))));
        self.shard = self.shard.or(part);
        if let (Some((rank, of)), [placement]) = (part, placements.as_slice()) {
            let dim = placement.strip_prefix("Shard(").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
            if dim.is_some() || placement == "Replicate" {
                self.pieces.push(Piece { name: self.path().to_owned(), rank, of, along: dim, shape: whole });
            }
        }
        self.parts(node, vec![(Key::Here, local)]);
        true
    }
}

fn part(pickle: &Pickle<'_>, mesh: Node) -> Option<Part> {
    let of = |name: &str| attribute(pickle, mesh, name);
    let map = of("_flatten_rank_map").and_then(|map| pickle.sequence(map));
    let ranks = map.map(<[Node]>::len).or_else(|| {
        // Before torch 2.9 the mesh was a tensor of ranks.
        let ranks = pickle.object(of("mesh")?)?;
        let shape = numbers(pickle, *pickle.sequence(ranks.args)?.get(2)?)?;
        usize::try_from(crate::facts::recipe::elements(&shape)?).ok()
    })?;
    let coordinate = || match pickle.sequence(of("_coordinate_on_dim")?)? {
        [one] => count(pickle, *one),
        _ => None,
    };
    let rank = of("_rank").and_then(|rank| count(pickle, rank)).or_else(coordinate)?;
    // A mesh of some of the ranks counts them from its own first.
    let place = map.and_then(|map| map.iter().position(|node| count(pickle, *node) == Some(rank)));
    let rank = place.and_then(|place| u64::try_from(place).ok()).unwrap_or(rank);
    Some((rank, u64::try_from(ranks).ok()?))
}

/// How a dimension of the mesh holds the tensor: `Shard(0)`, `Replicate`.
fn placed(pickle: &Pickle<'_>, node: Node) -> String {
    let class = pickle.object(node).map_or_else(String::new, |object| describe::class(pickle, object.class));
    let name = class.trim_matches(['<', '>']).rsplit('.').next().unwrap_or_default().to_owned();
    match attribute(pickle, node, "dim").and_then(|dim| pickle.int(dim)) {
        Some(dim) => format!("{name}({dim})"),
        None => name,
    }
}
