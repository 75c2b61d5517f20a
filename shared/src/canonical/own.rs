//! Tensors of Meta's files and torchtune's that are cut or numbered otherwise than Hugging Face's: each of Hugging Face's
//! is put together from what ranks and rows hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{rotary, without_repeats};
use crate::archs::{Arch, Change, MAX_TILES, Match, Naming, Need, On, Row, Size, Sizes};
use crate::facts::math::Math;
use crate::facts::recipe::{RotaryOrder, Tile};
use crate::facts::{Finding, Id, Op, Recipe, Tensor};

/// What is known of the model beside its tensors.
pub(super) struct Own<'a> {
    /// The table of its own names.
    pub(super) arch: &'static Arch,
    /// The scheme of these.
    pub(super) naming: Naming,
    /// What the config says.
    pub(super) sizes: Sizes<'a>,
    pub(super) head_dim: u64,
    /// How often each key and value head is stored.
    pub(super) repeated: u64,
    /// The parts of a value are those of model-parallel ranks.
    pub(super) ranked: bool,
}

/// The tensors under Hugging Face's names, and what is left over.
pub(super) struct Made {
    pub(super) arch: &'static Arch,
    pub(super) known: Vec<(Match, Tensor)>,
    pub(super) left_out: Vec<String>,
    pub(super) unknown: Vec<Tensor>,
}

/// A value that is one of Hugging Face's, or a part of one.
struct Piece {
    /// Place of its row in the table: parts come together in this order.
    row: usize,
    change: Change,
    recipe: Recipe,
    crc32: Option<u32>,
}

/// Where a model that attends to images has its layers, if those that do are numbered among the others as
/// transformers does (`convert_mllama_weights_to_hf.py`): before every so many of the others one that attends to images.
#[derive(Debug, Clone, Copy)]
pub struct Merged {
    /// Layers that attend to text.
    pub own: u64,
    /// Layers that attend to images.
    pub cross: u64,
}

impl Merged {
    /// How many layers that attend to text follow each other; `None` where they cannot be spread evenly, of which
    /// Meta's code and transformers make different things.
    fn every(self) -> Option<u64> {
        let every = self.own.checked_div(self.cross)?;
        (every > 0 && every.checked_mul(self.cross) == Some(self.own)).then_some(every)
    }

    /// The number among all layers of one that attends to text.
    pub fn own(self, number: u64) -> Option<u64> {
        if self.cross == 0 {
            return Some(number);
        }
        number.checked_add(number.checked_add(1)?.checked_div(self.every()?)?.min(self.cross))
    }

    /// The number among all layers of one that attends to images.
    pub fn cross(self, number: u64) -> Option<u64> {
        let every = self.every()?;
        number.checked_mul(every.checked_add(1)?)?.checked_add(every.checked_sub(1)?)
    }

    /// The number among all layers of the one that attends to images and comes before layer `number` of those of text.
    pub fn before(self, number: u64) -> Option<u64> {
        let (next, every) = (number.checked_add(1)?, self.every()?);
        if next.is_multiple_of(every) { self.cross(next.checked_div(every)?.checked_sub(1)?) } else { None }
    }
}

/// The shapes of at most so many tiles, in the order of `get_all_supported_aspect_ratios` of transformers: rows of the
/// square of tiles, columns.
pub fn ratios(tiles: u64) -> Vec<(u64, u64)> {
    let columns = |rows: u64| 1..=tiles.checked_div(rows).unwrap_or(0);
    (1..=tiles).flat_map(|rows| columns(rows).map(move |columns| (rows, columns))).collect()
}

impl Own<'_> {
    /// Puts the model together.
    ///
    /// # Errors
    /// A finding about a tensor that is not what its row says, or of which a part is missing.
    pub(super) fn make(&self, target: &'static Arch, tensors: Vec<Tensor>) -> Result<Made, Finding> {
        let found: Vec<(Option<Match>, Tensor)> =
            tensors.into_iter().map(|tensor| (self.arch.find(self.naming, &tensor.name), tensor)).collect();
        let count = |on: On| {
            let numbers = found.iter().filter_map(|(found, _)| *found).filter(|found| found.row.on == on);
            numbers.filter(|found| found.row.per_layer()).map(|found| found.layer.saturating_add(1)).max().unwrap_or(0)
        };
        let inside = found.iter().filter_map(|(found, _)| *found).filter(|found| found.row.on == On::CrossBefore);
        let inside: BTreeSet<u64> = inside.map(|found| found.layer).collect();
        let cross = count(On::CrossAlone).max(u64::try_from(inside.len()).unwrap_or(u64::MAX));
        let merged = Merged { own: count(On::All), cross };
        // Llama 4 without its eyes is a class of its own in transformers.
        let alone = if count(On::Vision) == 0 { Arch::of_model_type(&format!("{}_text", target.name)) } else { None };
        let mut made =
            Made { arch: alone.unwrap_or(target), known: Vec::new(), left_out: Vec::new(), unknown: Vec::new() };
        let mut pieces: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        for (found, tensor) in found {
            match found {
                None if super::is_derived(&tensor.name) => made.left_out.push(tensor.name),
                None => made.unknown.push(tensor),
                Some(found) if found.row.need == Need::Derived => made.left_out.push(tensor.name),
                Some(found) => {
                    let name = tensor.name.clone();
                    self.take(&found, merged, tensor, &mut pieces).map_err(|finding| finding.tensor(name))?;
                }
            }
        }
        for (name, parts) in pieces {
            let name = match alone {
                Some(_) => name.strip_prefix("language_model.").map(str::to_owned).unwrap_or(name),
                None => name,
            };
            let tensor = self.whole(&name, parts)?;
            match made.arch.find(Naming::Hf, &name) {
                Some(found) => made.known.push((found, tensor)),
                None => made.unknown.push(tensor),
            }
        }
        Ok(made)
    }

    /// What a tensor is, or is a part of.
    fn take(
        &self,
        found: &Match,
        merged: Merged,
        tensor: Tensor,
        pieces: &mut BTreeMap<String, Vec<Piece>>,
    ) -> Result<(), Finding> {
        let number = match found.row.on {
            On::CrossAlone => merged.cross(found.layer),
            On::CrossBefore => merged.before(found.layer),
            On::All => merged.own(found.layer),
            _ => Some(found.layer),
        };
        let number = number.ok_or_else(|| {
            let message = "the layers that attend to images cannot be spread evenly among the others";
            Finding::new(Id::Unsupported, message).needed(format!("a divisor of {}", merged.own), merged.cross)
        })?;
        let row = self.arch.rows.iter().position(|row| std::ptr::eq(row, found.row)).unwrap_or(0);
        let mut put = |pattern: &str, recipe: Recipe, crc32: Option<u32>| {
            let name = pattern.replacen("{}", &number.to_string(), 1);
            pieces.entry(name).or_default().push(Piece { row, change: found.row.change, recipe, crc32 });
        };
        let unchanged = tensor.crc32;
        let mut recipe = tensor.recipe;
        if found.row.shape.first() == Some(&Size::KvHeads) && self.repeated > 1 {
            recipe = without_repeats(recipe, self.repeated);
        }
        let hf = found.row.hf;
        match found.row.change {
            Change::Same | Change::Below | Change::LessOne => {
                let crc32 = unchanged.filter(|_| self.repeated == 1);
                put(hf, recipe, crc32);
            }
            Change::RotaryQuery | Change::RotaryKey => {
                put(hf, rotary(recipe, self.head_dim, RotaryOrder::Halves), None);
            }
            Change::Kernels => put(hf, kernels(recipe)?, None),
            Change::First => put(hf, first(recipe), None),
            Change::Ratios => put(hf, by_ratio(&recipe)?, None),
            Change::Transposed => put(hf, transposed(recipe)?, None),
            Change::Experts => put(hf, self.experts(&recipe)?, None),
            Change::Parts(list) => {
                for (name, part) in list.iter().zip(self.shares(&recipe, list)?) {
                    put(name.0, part, None);
                }
            }
        }
        Ok(())
    }

    /// A tensor of its parts: those of experts stand side by side, others one below the other.
    fn whole(&self, name: &str, mut parts: Vec<Piece>) -> Result<Tensor, Finding> {
        parts.sort_by_key(|piece| piece.row);
        let on = |piece: &Piece| self.arch.rows.get(piece.row).map(|row| row.on);
        if let [first, rest @ ..] = parts.as_slice()
            && rest.iter().any(|piece| on(piece) != on(first))
        {
            let message = "the layer has this tensor twice, of layers with experts and of layers without";
            return Err(Finding::new(Id::TensorUnexpected, message).tensor(name));
        }
        let rows: Vec<&Row> =
            self.arch.rows.iter().filter(|row| parts.iter().any(|piece| shares_name(row, piece, self.arch))).collect();
        if parts.len() < rows.len() {
            let message = "of this tensor there is only a part";
            let held = parts.len();
            return Err(Finding::new(Id::TensorMissing, message)
                .tensor(name)
                .needed(format!("{} parts", rows.len()), held));
        }
        let last = |shape: &[u64]| shape.len().saturating_sub(1);
        let mut parts = parts.into_iter();
        let Some(only) = parts.next() else { return Err(Finding::new(Id::TensorMissing, "no part of it is there")) };
        let rest: Vec<Piece> = parts.collect();
        if rest.is_empty() {
            return Ok(Tensor { name: name.to_owned(), recipe: only.recipe, crc32: only.crc32 });
        }
        let axis = if only.change == Change::Experts { last(&only.recipe.shape) } else { 0 };
        let all = std::iter::once(only).chain(rest).map(|piece| piece.recipe).collect();
        let recipe = beside(all, axis).map_err(|finding| finding.tensor(name))?;
        Ok(Tensor { name: name.to_owned(), recipe, crc32: None })
    }

    /// The parts that ranks hold of a value; the value itself where it is whole.
    fn parts(&self, recipe: &Recipe) -> Vec<Recipe> {
        match &recipe.op {
            Op::Tiles(tiles) if self.ranked => tiles.iter().map(|tile| (*tile.part).clone()).collect(),
            _ => vec![recipe.clone()],
        }
    }

    /// The matrices of experts one behind the other: of each rank's rows or columns first, and those joined.
    fn experts(&self, recipe: &Recipe) -> Result<Recipe, Finding> {
        let count = self.sizes.experts().filter(|&count| count > 0);
        let count = count
            .ok_or_else(|| Finding::new(Id::ConfigMissing, "params.json does not say how many experts there are"))?;
        let parts = self.parts(recipe);
        // Ranks divide either the rows of each expert or the columns.
        let by_rows = parts.first().is_some_and(|part| part.shape.first() != recipe.shape.first());
        let stacked = parts.into_iter().map(|part| {
            let &[rows, columns] = part.shape.as_slice() else { return Err(unfit("a matrix", &part.shape)) };
            let own = rows.checked_div(count).filter(|own| own.checked_mul(count) == Some(rows));
            let own = own.ok_or_else(|| unfit(&format!("rows of {count} experts"), &part.shape))?;
            Ok(reshaped(part, vec![count, own, columns]))
        });
        beside(stacked.collect::<Result<_, _>>()?, if by_rows { 1 } else { 2 })
    }

    /// The values that are kept in one, each put together of the ranks' shares.
    fn shares(&self, recipe: &Recipe, list: &[(&str, Size)]) -> Result<Vec<Recipe>, Finding> {
        let unknown =
            || Finding::new(Id::ConfigMissing, "params.json does not say how the rows of this tensor are divided");
        let weights: Vec<u64> =
            list.iter().map(|(_, size)| self.sizes.get(*size)).collect::<Option<_>>().ok_or_else(unknown)?;
        let sum = weights
            .iter()
            .try_fold(0u64, |sum, weight| sum.checked_add(*weight))
            .filter(|&sum| sum > 0)
            .ok_or_else(unknown)?;
        let mut made: Vec<Vec<Recipe>> = list.iter().map(|_| Vec::new()).collect();
        for part in self.parts(recipe) {
            let rows = part.shape.first().copied().unwrap_or(0);
            let mut start = 0u64;
            for (weight, made) in weights.iter().zip(&mut made) {
                let share = rows.checked_mul(*weight).and_then(|all| all.checked_div(sum));
                let exact = share.filter(|share| share.checked_mul(sum) == rows.checked_mul(*weight));
                let share = exact.ok_or_else(|| unfit(&format!("rows in proportion to {weights:?}"), &part.shape))?;
                made.push(part.slice(0, start, share));
                start = start.saturating_add(share);
            }
        }
        made.into_iter().map(|parts| beside(parts, 0)).collect()
    }
}

/// Whether a row has a part of the same tensor as a piece.
fn shares_name(row: &Row, piece: &Piece, arch: &Arch) -> bool {
    let own = arch.rows.get(piece.row).map_or("", |row| row.hf);
    !own.is_empty() && row.hf == own && row.on == arch.rows.get(piece.row).map_or(row.on, |row| row.on)
}

fn unfit(wanted: &str, shape: &[u64]) -> Finding {
    Finding::new(Id::ShardMismatch, "the tensor has another shape than its name says")
        .needed(wanted, format!("{shape:?}"))
}

/// The same elements in another shape.
pub fn reshaped(of: Recipe, shape: Vec<u64>) -> Recipe {
    if of.shape == shape {
        return of;
    }
    Recipe { dtype: of.dtype, shape, op: Op::Reshape(Arc::new(of)) }
}

/// Values side by side along a dimension.
///
/// # Errors
/// If they are not of one dtype and, but for that dimension, of one shape; if there are none.
pub fn beside(mut parts: Vec<Recipe>, axis: usize) -> Result<Recipe, Finding> {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return Ok(only);
    }
    let first = parts.first().cloned().ok_or_else(|| Finding::new(Id::TensorMissing, "no part of it is there"))?;
    let mut shape = first.shape.clone();
    let (mut reached, mut tiles) = (0u64, Vec::with_capacity(parts.len()));
    for part in parts {
        let mut same = part.shape.clone();
        if let (Some(own), Some(other)) = (same.get_mut(axis), first.shape.get(axis)) {
            *own = *other;
        }
        if same != first.shape || part.dtype != first.dtype {
            return Err(unfit(&format!("{} {:?} but for dimension {axis}", first.dtype, first.shape), &part.shape));
        }
        let mut at = vec![0; shape.len()];
        if let Some(at) = at.get_mut(axis) {
            *at = reached;
        }
        reached = reached.saturating_add(part.shape.get(axis).copied().unwrap_or(0));
        tiles.push(Tile { at, part: Arc::new(part) });
    }
    if let Some(size) = shape.get_mut(axis) {
        *size = reached;
    }
    Ok(Recipe { dtype: first.dtype, shape, op: Op::Tiles(tiles) })
}

/// Rows and columns exchanged.
///
/// # Errors
/// For what is no matrix.
pub fn transposed(of: Recipe) -> Result<Recipe, Finding> {
    let &[rows, columns] = of.shape.as_slice() else { return Err(unfit("a matrix", &of.shape)) };
    Ok(Recipe { dtype: of.dtype, shape: vec![columns, rows], op: Op::Transpose(Arc::new(of), 0, 1) })
}

/// Kernels by colours, rows and columns: three colours of a square.
fn kernels(of: Recipe) -> Result<Recipe, Finding> {
    let &[kernels, pixels] = of.shape.as_slice() else { return Err(unfit("one kernel a row", &of.shape)) };
    let side = pixels.checked_div(3).map_or(0, u64::isqrt);
    if side.checked_mul(side).and_then(|square| square.checked_mul(3)) != Some(pixels) {
        return Err(unfit("three colours of a square in each row", &of.shape));
    }
    Ok(reshaped(of, vec![kernels, 3, side, side]))
}

/// The first element of a vector.
fn first(of: Recipe) -> Recipe {
    if of.shape.is_empty() { reshaped(of, vec![1]) } else { of.slice(0, 0, 1) }
}

/// The zeros that fill up a row.
pub fn zeros(dtype: crate::facts::Dtype, shape: Vec<u64>) -> Recipe {
    let bytes = vec![0; crate::bytes::to_usize(dtype.item_bytes().unwrap_or(1))];
    let one = Recipe { dtype, shape: vec![1; shape.len()], op: Op::Literal(bytes.into()) };
    let by = shape.iter().map(|&size| size.max(1)).collect();
    Recipe { dtype, shape, op: Op::Math(Math::Spread { of: Arc::new(one), by }) }
}

/// Of a square of tiles, for every shape of an image the embeddings of its tiles in a row, and zeros behind them. The
/// first row is that of no image.
///
/// # Errors
/// For another shape than `[tiles, tiles, places, width]`.
pub fn by_ratio(of: &Recipe) -> Result<Recipe, Finding> {
    let &[tiles, square, places, width] = of.shape.as_slice() else {
        return Err(unfit("[tiles, tiles, places, width]", &of.shape));
    };
    if tiles != square || tiles > MAX_TILES {
        return Err(unfit(&format!("a square of at most {MAX_TILES} tiles"), &of.shape));
    }
    let tile = places.saturating_mul(width);
    let whole = tiles.saturating_mul(tile);
    let shapes = ratios(tiles);
    let rows = u64::try_from(shapes.len()).unwrap_or(u64::MAX).saturating_add(1);
    let mut parts = vec![Tile { at: vec![0, 0], part: Arc::new(zeros(of.dtype, vec![1, whole])) }];
    for (number, (height, across)) in (1u64..).zip(shapes) {
        for row in 0..height {
            let line = of.slice(0, row, 1).slice(1, 0, across);
            let size = across.saturating_mul(tile);
            let at = vec![number, row.saturating_mul(size)];
            parts.push(Tile { at, part: Arc::new(reshaped(line, vec![1, size])) });
        }
        let reached = height.saturating_mul(across).saturating_mul(tile);
        if reached < whole {
            let part = Arc::new(zeros(of.dtype, vec![1, whole.saturating_sub(reached)]));
            parts.push(Tile { at: vec![number, reached], part });
        }
    }
    Ok(Recipe { dtype: of.dtype, shape: vec![rows, whole], op: Op::Tiles(parts) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archs::ARCHS;
    use crate::facts::Dtype;

    #[test]
    fn layers_that_attend_to_images_stand_where_transformers_has_them() {
        for (merged, all) in [
            (Merged { own: 32, cross: 8 }, (3..40).step_by(5).collect::<Vec<u64>>()),
            (Merged { own: 80, cross: 20 }, (3..100).step_by(5).collect()),
            (Merged { own: 4, cross: 1 }, vec![3]),
            (Merged { own: 6, cross: 3 }, vec![1, 4, 7]),
        ] {
            let cross: Vec<u64> = (0..merged.cross).map(|number| merged.cross(number).unwrap()).collect();
            assert_eq!(cross, all);
            assert_eq!((0..merged.own).filter_map(|number| merged.before(number)).collect::<Vec<u64>>(), all);
            let own: Vec<u64> = (0..merged.own).map(|number| merged.own(number).unwrap()).collect();
            let rest: Vec<u64> = (0..merged.own + merged.cross).filter(|number| !cross.contains(number)).collect();
            assert_eq!(own, rest);
        }
        assert_eq!(Merged { own: 5, cross: 2 }.own(0), None);
        assert_eq!(Merged { own: 5, cross: 0 }.own(4), Some(4));
    }

    #[test]
    fn shapes_of_tiles_come_in_the_order_of_transformers() {
        assert_eq!(ratios(4), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1)]);
        assert_eq!(ratios(0), []);
        assert_eq!(ratios(100_000).len(), 1_166_750, "as many steps as shapes");
    }

    #[test]
    fn a_layer_is_not_one_with_experts_and_one_without() {
        let arch = ARCHS.iter().copied().find(|arch| arch.name == "llama4" && arch.own_naming().is_some()).unwrap();
        let tensor = |name: &str| Tensor { name: name.to_owned(), recipe: zeros(Dtype::Bf16, vec![8]), crc32: None };
        let made = |names: &[&str]| {
            let sizes = Sizes::of(arch, Naming::Meta, None);
            let own = Own { arch, naming: Naming::Meta, sizes, head_dim: 4, repeated: 1, ranked: true };
            own.make(arch.in_hf().unwrap(), names.iter().map(|name| tensor(name)).collect())
        };
        let (dense, sparse) = ("layers.0.feed_forward.mlp.layer_norm_weight", "layers.0.feed_forward.norm.weight");
        assert_eq!(made(&[dense]).unwrap().known.len(), 1);
        assert_eq!(made(&[sparse, "layers.1.feed_forward.mlp.layer_norm_weight"]).unwrap().known.len(), 2);
        let finding = made(&[dense, sparse]).err().unwrap();
        assert_eq!(finding.id, Id::TensorUnexpected);
        assert_eq!(finding.tensor.as_deref(), Some("model.layers.0.post_attention_layernorm.weight"));
    }
}
