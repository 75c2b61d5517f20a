//! Which matrix of a base model each part of an adapter belongs to, and that matrix with the adapter merged into it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Adapter, Module, names, order};
use crate::archs::{Change, Naming};
use crate::canonical::own::transposed;
use crate::canonical::{interleaved, plus, rotary};
use crate::facts::lowrank::{Factor, LowRank, MergeMath};
use crate::facts::{Dtype, FileId, Finding, Id, Math, Op, Recipe, Tensor, check};
use crate::layouts::Checkpoint;

/// Where a module's matrices go.
#[derive(Debug)]
pub struct Site<'a> {
    /// What changes it.
    pub module: &'a Module<'a>,
    /// The matrix: its place among the base's tensors.
    pub place: usize,
    /// The weight is stored inputs by outputs, or is an embedding: the pair makes its transpose.
    turned: bool,
    /// What the base's values underwent since they were under Hugging Face's names.
    change: Change,
}

/// How an adapter fits a base model.
#[derive(Debug, Default)]
pub struct Fit<'a> {
    /// Where its pairs go.
    pub sites: Vec<Site<'a>>,
    /// Tensors of the base that it replaces: their places, what the base's values underwent, and the new ones.
    pub whole: Vec<(usize, Change, &'a Tensor)>,
    /// What does not fit.
    pub findings: Vec<Finding>,
}

/// Finds the matrix of the base for everything in an adapter.
pub fn fit<'a>(adapter: &'a Adapter<'a>, base: &Checkpoint) -> Fit<'a> {
    let mut fit = Fit::default();
    if base.family.as_ref().is_some_and(|family| family.arch.in_hf().is_some()) {
        let message = "the base stands in a form of its own, whose layers and tensors are counted and cut otherwise";
        let own = if base.family.as_ref().is_some_and(|family| family.naming == Naming::Tune) {
            "torchtune's"
        } else {
            "Meta's"
        };
        let finding = Finding::new(Id::Unsupported, message).needed("a base under Hugging Face's names", own);
        fit.findings.push(finding.fix("ckpt-convert BASE --to hf --out BASE-hf, and take that as the base"));
        return fit;
    }
    let held = held(base);
    let cure = match adapter.base() {
        Some(name) => format!("take the base that it was trained on: {name}"),
        None => "take the base that it was trained on; the adapter does not name it".to_owned(),
    };
    let lacks = |module: &str, tensor: Option<&&Tensor>| {
        let message = match module {
            "lm_head" => "the adapter changes the output head, and the base has none of its own: it is the embedding",
            _ => "the base model has no such module; the adapter is another model's, or the base is not whole",
        };
        let finding = Finding::new(Id::AdapterBase, message).needed(format!("{module}.weight"), "none");
        tensor.into_iter().fold(finding, |finding, tensor| finding.tensor(tensor.name.clone()))
    };
    for module in &adapter.modules {
        let some = module.a.or(module.b).or(module.magnitude);
        let Some(&(place, change)) = held.get(&table_name(base, &format!("{}.weight", module.name))) else {
            fit.findings.push(lacks(&module.name, some.as_ref()));
            continue;
        };
        // Only models that are not among the families keep weights inputs by outputs; of others PEFT forgets the setting.
        let turned = module.embedding || (adapter.flag("fan_in_fan_out") && base.family.is_none());
        let site = Site { module, place, turned, change };
        match base.tensors.get(place).and_then(|tensor| site.misfit(tensor)) {
            Some(finding) => fit.findings.push(finding),
            None => fit.sites.push(site),
        }
    }
    for (name, tensor) in &adapter.whole {
        let place = held.get(&table_name(base, name));
        match place.and_then(|&(place, change)| Some((place, change, base.tensors.get(place)?))) {
            Some((place, change, own)) if own.recipe.shape == tensor.recipe.shape => {
                fit.whole.push((place, change, tensor));
            }
            Some((_, _, own)) => {
                let message = "the adapter brings this tensor whole, and the base has it in another shape";
                let finding = Finding::new(Id::AdapterBase, message).tensor(tensor.name.clone());
                fit.findings.push(finding.needed(shape(&own.recipe), shape(&tensor.recipe)));
            }
            None => fit.findings.push(lacks(name.strip_suffix(".weight").unwrap_or(name), Some(tensor))),
        }
    }
    for finding in &mut fit.findings {
        finding.fix = Some(cure.clone());
    }
    fit
}

/// A name of Hugging Face's as the table of the base's family has it, whatever version of transformers wrote it.
fn table_name(base: &Checkpoint, name: &str) -> String {
    let family = base.family.as_ref();
    family.map_or_else(|| name.to_owned(), |family| family.arch.table_name(Naming::Hf, name).into_owned())
}

/// The base's tensors by their names in Hugging Face's scheme: where each is, and what its values underwent.
fn held(base: &Checkpoint) -> HashMap<String, (usize, Change)> {
    let family = base.family.as_ref().filter(|family| family.naming != Naming::Hf);
    let name = |tensor: &Tensor| {
        let found = family.and_then(|family| family.arch.find(family.naming, &tensor.name));
        let change = found.as_ref().map_or(Change::Same, |found| found.row.change);
        let name = found.and_then(|found| found.named(Naming::Hf));
        (name.unwrap_or_else(|| table_name(base, &tensor.name)), change)
    };
    let pairs = base.tensors.iter().enumerate().map(|(place, tensor)| {
        let (name, change) = name(tensor);
        (name, (place, change))
    });
    pairs.collect()
}

/// The dtype of a base's values that something can be put into, ggml's blocks undone.
///
/// # Errors
/// A finding for values that are packed in another way.
fn plain_dtype(base: &Tensor) -> Result<Dtype, Finding> {
    let dtype = base.recipe.clone().dequantized().dtype;
    if matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16) {
        return Ok(dtype);
    }
    let message = format!("nothing can be added to {dtype} values; --dequantize them first");
    Err(Finding::new(Id::Unsupported, message).tensor(base.name.clone()))
}

/// The size of a head in elements, for `tensor`, whose rows go by it.
fn size_of_head(head_dim: Option<u64>, tensor: &Tensor) -> Result<u64, Finding> {
    let message = "nothing tells the size of a head, by which the rows of queries and keys are ordered; \
                   put the base's config.json or params.json beside its weights";
    head_dim.ok_or_else(|| Finding::new(Id::AdapterBase, message).tensor(tensor.name.clone()))
}

fn shape(recipe: &Recipe) -> String {
    format!("{:?}", recipe.shape)
}

impl Site<'_> {
    /// What is wrong with the shapes, if anything is. Of halves that are missing another rule speaks.
    fn misfit(&self, base: &Tensor) -> Option<Finding> {
        let (a, b) = (self.module.a?, self.module.b?);
        let mut made = vec![b.recipe.shape.first().copied()?, a.recipe.shape.get(1).copied()?];
        if self.turned {
            made.reverse();
        }
        if made == base.recipe.shape {
            return None;
        }
        let message = "the adapter's matrices do not make one of the base's shape; it is another model's";
        let finding = Finding::new(Id::AdapterBase, message).tensor(b.name.clone());
        Some(finding.needed(format!("{:?} for {}", base.recipe.shape, base.name), format!("{made:?}")))
    }

    /// The base's matrix with the product added; `scale` is what the product is multiplied by, `head_dim` the size of
    /// a head in elements. `wide` leaves the sums F32, for whoever wants another dtype to round them once.
    ///
    /// # Errors
    /// A finding for a dtype that cannot be added to, and for rows that cannot be put in order.
    pub fn merged(
        &self,
        adapter: &Adapter<'_>,
        base: &Tensor,
        scale: f64,
        head_dim: Option<u64>,
        how: How,
    ) -> Result<Tensor, Finding> {
        let math = match how.math {
            MergeMath::Peft if self.module.embedding && !how.wide => MergeMath::PeftEmbedding,
            math => math,
        };
        let about = |finding: Finding| Err(finding.tensor(base.name.clone()));
        let (Some(a), Some(b)) = (self.module.a, self.module.b) else {
            return about(Finding::new(Id::AdapterPair, "the adapter has half of a pair for this matrix"));
        };
        plain_dtype(base)?;
        let own = base.recipe.clone().dequantized();
        let turns = names::is_rotary(&self.module.name);
        let interleaved = matches!(self.change, Change::RotaryQuery | Change::RotaryKey);
        let rows = |recipe: &Recipe| match order(adapter.interleaved, interleaved).filter(|_| turns) {
            Some(order) => Ok(rotary(recipe.clone(), size_of_head(head_dim, b)?, order)),
            None => Ok::<_, Finding>(recipe.clone()),
        };
        let (mut a, mut b) = (a.recipe.clone(), rows(&b.recipe)?);
        let magnitude = self.module.magnitude.map(|magnitude| rows(&magnitude.recipe)).transpose()?;
        if self.turned {
            if magnitude.is_some() {
                let message = "DoRA of an embedding, or of a weight that is stored inputs by outputs (fan_in_fan_out), \
                               is not merged here; PEFT itself can: merge_and_unload()";
                return about(Finding::new(Id::Unsupported, message));
            }
            (a, b) = (transposed(b)?, transposed(a)?);
        }
        let dtype = match math {
            MergeMath::Peft if how.wide => Dtype::F32,
            MergeMath::Torchtune if magnitude.is_some() => a.dtype,
            _ => own.dtype,
        };
        let shape = own.shape.clone();
        let (base_name, own) = (base.name.clone(), Arc::new(own));
        let (a, b, magnitude) = (Arc::new(a), Arc::new(b), magnitude.map(Arc::new));
        let low = LowRank { base: own, a, b, magnitude, scale: Factor::new(scale), math };
        let recipe = Recipe { dtype, shape, op: Op::Math(Math::Merge(low)) };
        Ok(Tensor { name: base_name, recipe, crc32: None })
    }
}

/// How a merge is computed.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Whose arithmetic.
    pub math: MergeMath,
    /// Whether PEFT's sums stay F32 instead of being rounded to the dtype of the base.
    pub wide: bool,
}

/// Puts a merged adapter into the tensors of its base; `scale` gives what a module's product is multiplied by.
///
/// # Errors
/// Those of [`Site::merged`] and of `scale`; a recipe that is not well made.
pub fn merged(
    adapter: &Adapter<'_>,
    fit: &Fit<'_>,
    base: &mut Checkpoint,
    how: How,
    scale: &dyn Fn(&Module<'_>) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let head_dim = base.head_dim();
    let sizes: Vec<u64> = (0..base.pool.len())
        .map(|file| base.pool.path(FileId(file)).and_then(|path| std::fs::metadata(path).ok()))
        .map(|data| data.map_or(0, |data| data.len()))
        .collect();
    let size = |file: FileId| sizes.get(file.0).copied().unwrap_or(0);
    let checked = |tensor: Tensor| match check::check(&tensor.recipe, &size) {
        Ok(()) => Ok(tensor),
        Err(finding) => Err(finding.tensor(tensor.name)),
    };
    // What is replaced whole may have a pair too: an embedding whose rows the training added to.
    for &(place, change, tensor) in &fit.whole {
        let Some(own) = base.tensors.get_mut(place) else { continue };
        let (dtype, shape, given) = (plain_dtype(own)?, own.recipe.shape.clone(), tensor.recipe.clone());
        let given = match change {
            Change::RotaryQuery | Change::RotaryKey => interleaved(given, change, size_of_head(head_dim, tensor)?),
            Change::LessOne => plus(given, 1.0),
            _ => given,
        };
        let recipe = if given.dtype == dtype { given } else { Recipe { dtype, shape, op: Op::Cast(Arc::new(given)) } };
        *own = checked(Tensor { name: own.name.clone(), recipe, crc32: None })?;
    }
    for site in &fit.sites {
        let Some(own) = base.tensors.get_mut(site.place) else { continue };
        *own = checked(site.merged(adapter, own, scale(site.module)?, head_dim, how)?)?;
    }
    Ok(())
}
