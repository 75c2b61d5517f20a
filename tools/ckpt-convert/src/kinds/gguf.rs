//! `--to gguf`: one GGUF file of a model, with the keys and the vocabulary that llama.cpp needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use ckpt::archs::llama::{LLAMA, ModelFacts, RopeScaling};
use ckpt::archs::{Arch, Change, Naming, Need, Sizes};
use ckpt::canonical::{self, Table};
use ckpt::cli::Refusal;
use ckpt::facts::recipe::{RotaryOrder, Tile};
use ckpt::facts::{Dtype, Finding, Id, Op, Recipe, Tensor};
use ckpt::formats::gguf::Put;
use ckpt::plan::blocks::BLOCK;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::family::{self, Known};
use super::{Job, hf::main_dtype, small};
use crate::carry;
use crate::draft::{Draft, Form, Weights};
use crate::metadata::{self, Ids};
use crate::options::refuse;

/// The type of the matrices; vectors stay F32, as llama.cpp needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum GgufType {
    /// Single precision
    F32,
    /// Half precision
    F16,
    /// bfloat16
    Bf16,
    /// Eight bits in blocks of 32, the bits of ggml's own quantiser
    #[value(name = "q8_0")]
    Q8,
}

impl GgufType {
    /// The type of the same values; `None` for a dtype that llama.cpp has no matrices of.
    pub(crate) fn of(dtype: Dtype) -> Option<GgufType> {
        GgufType::value_variants().iter().copied().find(|kind| kind.row().0 == dtype)
    }

    /// The dtype, and the number of `general.file_type` (`llama_ftype` of llama.h).
    fn row(self) -> (Dtype, u32) {
        match self {
            GgufType::F32 => (Dtype::F32, 0),
            GgufType::F16 => (Dtype::F16, 1),
            GgufType::Bf16 => (Dtype::Bf16, 32),
            GgufType::Q8 => (Dtype::Q8_0, 7),
        }
    }
}

/// What is written beside the tensors of the table.
struct Plan {
    keys: Vec<(String, Put)>,
    /// Elements of a head, whose rows may change their order.
    head_dim: u64,
    /// Tensors that stand for settings of the config.
    settings: Vec<Tensor>,
}

/// Plans the conversion.
///
/// # Errors
/// For a model of no known family, or one that a GGUF file cannot hold; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let mut draft = Draft::default();
    let (table, tied) = job.table()?;
    let Some(arch) = table.arch else {
        return refuse("GGUF is written of known families, and this is none of them", "convert it with llama.cpp");
    };
    let kind = job.options.gguf_type.or_else(|| GgufType::of(main_dtype(&table.tensors, job.options.dtype)));
    let kind = kind.unwrap_or(GgufType::F32);
    let (dtype, file_type) = kind.row();
    let Plan { keys, head_dim, settings: mut tensors } = match family::known(job, &table)? {
        Some(known) => plan(job, &known, &table, file_type, &mut draft)?,
        None => llama(job, &table, tied, file_type, &mut draft)?,
    };
    let mut stacked = Stacked::default();
    for tensor in table.tensors {
        let found = arch.find(Naming::Hf, &tensor.name).filter(|found| found.row.need != Need::Derived);
        let Some((name, found)) = found.and_then(|found| Some((found.named(Naming::Gguf)?, found))) else {
            bail!(Finding::new(Id::TensorUnexpected, "llama.cpp has no name for this tensor").tensor(tensor.name));
        };
        let stacks = found.row.stacks(Naming::Gguf);
        let recipe = match (tensor.recipe, found.row.change) {
            (recipe, Change::Same) => recipe,
            (recipe, Change::LessOne) => canonical::plus(recipe, 1.0),
            // The order of rows is that of Meta's files and of GGUF's own.
            (Recipe { op: Op::Rows { of, order: RotaryOrder::Halves, .. }, .. }, _) => Arc::unwrap_or_clone(of),
            (recipe, _) => canonical::rotary(recipe, head_dim, RotaryOrder::Interleaved),
        };
        let recipe = match (recipe.shape.as_slice(), found.row.shape_in(Naming::Gguf).len()) {
            // One row is a row.
            (&[1, columns], 1) => {
                Recipe { dtype: recipe.dtype, shape: vec![columns], op: Op::Reshape(Arc::new(recipe)) }
            }
            _ => recipe,
        };
        if stacks {
            stacked.add(&mut tensors, name, found.expert, recipe)?;
            continue;
        }
        // What chooses among experts stays F32, as llama.cpp's converter has it.
        let wanted = if name.contains("ffn_gate_inp") { Dtype::F32 } else { dtype };
        tensors.push(Tensor { name, recipe: typed(recipe, wanted), crc32: None });
    }
    stacked.settle(&mut tensors, dtype, Sizes::of(arch, Naming::Hf, job.checkpoint.params()).experts())?;
    let name = job.one_file.clone().unwrap_or_else(|| "model.gguf".to_owned());
    draft.weights.push(Weights { name, form: Form::Gguf(Arc::new(keys)), tensors });
    carry::objects(job.checkpoint, &mut draft);
    Ok(draft)
}

/// The tensors of which each is all experts of a layer.
#[derive(Default)]
struct Stacked {
    /// By name: the place among the tensors, and the experts in their order.
    parts: BTreeMap<String, (usize, Vec<Recipe>)>,
}

impl Stacked {
    /// Takes one expert's, which come in their order.
    ///
    /// # Errors
    /// A finding if the one before it is not there, or is of another dtype or shape.
    fn add(&mut self, tensors: &mut Vec<Tensor>, name: String, expert: u64, recipe: Recipe) -> Result<()> {
        let (_, parts) = self.parts.entry(name.clone()).or_insert_with(|| {
            let place = tensors.len();
            // Until all are there, the first stands for them.
            tensors.push(Tensor { name: name.clone(), recipe: recipe.clone(), crc32: None });
            (place, Vec::new())
        });
        let there = ckpt::bytes::to_u64(parts.len());
        if there != expert {
            let message = format!("expert {there} of this tensor is missing");
            bail!(Finding::new(Id::TensorMissing, message).tensor(name));
        }
        let kind = |recipe: &Recipe| (recipe.dtype, recipe.shape.clone());
        if let Some(first) = parts.first().filter(|first| kind(first) != kind(&recipe)) {
            let finding = Finding::new(Id::ShardMismatch, "experts of one layer have different dtypes or shapes");
            let [needed, found] = [first, &recipe].map(|recipe| format!("{} {:?}", recipe.dtype, recipe.shape));
            bail!(finding.tensor(name).needed(needed, found));
        }
        parts.push(recipe);
        Ok(())
    }

    /// Puts the whole tensors in their places.
    ///
    /// # Errors
    /// A finding if a layer has another number of experts than the config says, or than the next.
    fn settle(self, tensors: &mut [Tensor], dtype: Dtype, said: Option<u64>) -> Result<()> {
        let most = self.parts.values().map(|(_, parts)| ckpt::bytes::to_u64(parts.len())).max().unwrap_or(0);
        let wanted = said.unwrap_or(most);
        for (name, (place, parts)) in self.parts {
            let there = ckpt::bytes::to_u64(parts.len());
            if there != wanted {
                let message = "this layer has another number of experts than the model";
                bail!(Finding::new(Id::ShardMismatch, message).tensor(name).needed(wanted, there));
            }
            if let Some(tensor) = tensors.get_mut(place) {
                tensor.recipe = typed(one_behind_the_other(&tensor.recipe.shape, parts), dtype);
            }
        }
        Ok(())
    }
}

/// Values of one dtype and of this shape, along a new first dimension.
fn one_behind_the_other(shape: &[u64], parts: Vec<Recipe>) -> Recipe {
    let several = |count: u64| [&[count], shape].concat();
    let dtype = parts.first().map_or(Dtype::F32, |part| part.dtype);
    let (whole, one) = (several(ckpt::bytes::to_u64(parts.len())), several(1));
    let tiles = (0..).zip(parts).map(|(number, part)| {
        let at = [vec![number], vec![0; shape.len()]].concat();
        Tile { at, part: Arc::new(Recipe { dtype, shape: one.clone(), op: Op::Reshape(Arc::new(part)) }) }
    });
    Recipe { dtype, shape: whole, op: Op::Tiles(tiles.collect()) }
}

/// What to call the model: the name of its folder or file.
fn name(job: &Job<'_>) -> String {
    let path = job.checkpoint.path.canonicalize().unwrap_or_else(|_| job.checkpoint.path.clone());
    ckpt::archs::llama::infer::model_name(&path.to_string_lossy()).to_owned()
}

/// A model of Llama's family, whose sizes may have to be worked out.
fn llama(job: &Job<'_>, table: &Table, tied: bool, file_type: u32, draft: &mut Draft) -> Result<Plan> {
    let facts = small::facts(job, table, tied, draft)?;
    let factors = metadata::rope_factors(&facts).map(|factors| literal(FACTORS, &factors));
    let rows = rows(table, &LLAMA);
    if rows != facts.vocab {
        let message = "the config says another number of tokens than the embedding has rows";
        let finding = Finding::new(Id::ConfigVocab, message).needed(rows, facts.vocab);
        bail!(job.checkpoint.config.iter().fold(finding, |finding, config| finding.in_file(config.name.clone())));
    }
    let mut keys = metadata::model_keys(&facts, &name(job), file_type);
    if let Some(ggml) = small::ggml(job, Some(&facts))? {
        let template = small::chat_template(job, Some(&facts))?;
        keys.extend(metadata::vocabulary_keys(&ggml, rows, Ids::of(&facts), template.as_deref()));
    }
    Ok(Plan { keys, head_dim: facts.head_dim, settings: factors.into_iter().collect() })
}

/// A model of another family, whose config says everything.
fn plan(job: &Job<'_>, known: &Known, table: &Table, file_type: u32, draft: &mut Draft) -> Result<Plan> {
    let model = known.model();
    let causes = model.refusals();
    if !causes.is_empty() {
        let message = format!("a GGUF file cannot hold this model: {}", causes.join("; "));
        return refuse(message, "`--to safetensors` and `--to torch` take any model as it is");
    }
    draft.lost.extend(model.losses());
    let rows = rows(table, known.arch);
    let mut keys = model.keys(&name(job), rows, file_type).map_err(|cause| Refusal::new(cause, HELP))?;
    if let Some(ggml) = family::vocabulary(job)? {
        let (ids, template) = (family::ids(job, known, &ggml)?, small::chat_template(job, None)?);
        keys.extend(metadata::vocabulary_keys(&ggml, rows, ids, template.as_deref()));
    } else {
        let message = "there is no tokenizer in the source, so none is written";
        let finding = Finding::new(Id::TokenizerMissing, message);
        draft.warnings.push(finding.fix("copy tokenizer.json beside the weights and convert again"));
    }
    let lists = model.rope().factors().map(|lists| [literal(LONG, &lists.long), literal(SHORT, &lists.short)]);
    Ok(Plan { keys, head_dim: model.head().unwrap_or(1), settings: lists.into_iter().flatten().collect() })
}

/// Rows of the embedding: so many tokens there are, whatever a config says. One without columns has no rows either.
fn rows(table: &Table, arch: &Arch) -> u64 {
    let embedding = arch.embedding().and_then(|row| table.tensors.iter().find(|tensor| tensor.name == row.hf));
    let whole = embedding.filter(|tensor| tensor.recipe.elements() > 0);
    whole.and_then(|tensor| tensor.recipe.shape.first().copied()).unwrap_or(0)
}

/// What helps where a config does not say enough.
const HELP: &str = "put the model's own config.json beside the weights";

/// A tensor of numbers that are given here.
fn literal(name: &str, numbers: &[f32]) -> Tensor {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let shape = vec![ckpt::bytes::to_u64(numbers.len())];
    let recipe = Recipe { dtype: Dtype::F32, shape, op: Op::Literal(bytes.into()) };
    Tensor { name: name.to_owned(), recipe, crc32: None }
}

/// The tensor of factors by which a GGUF file divides rotary frequencies.
const FACTORS: &str = "rope_freqs.weight";

/// The same for long texts and for short ones, where they differ.
pub(super) const LONG: &str = "rope_factors_long.weight";
pub(super) const SHORT: &str = "rope_factors_short.weight";

/// The factors of a GGUF source, if it has such.
///
/// # Errors
/// A finding if they are no list of numbers; those of reading.
pub(super) fn factors(job: &Job<'_>, name: &str) -> Result<Option<Vec<f32>>> {
    let gguf = job.checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Gguf);
    let Some(tensor) = job.checkpoint.tensor(name).filter(|_| gguf) else { return Ok(None) };
    if tensor.recipe.dtype != Dtype::F32 || tensor.recipe.len_bytes() > BLOCK {
        bail!(Finding::new(Id::Unsupported, "factors of the rotary frequencies in an unusual form").tensor(name));
    }
    let mut factors = Vec::new();
    job.reader.stream(&tensor.recipe, BLOCK, &job.context.progress, |_, bytes| {
        factors.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
        Ok(())
    })?;
    if !factors.iter().all(|factor: &f32| factor.is_finite()) {
        let message = "factors of the rotary frequencies that are no finite numbers";
        bail!(Finding::new(Id::Unsupported, message).tensor(name));
    }
    Ok(Some(factors))
}

/// What a source's config says, and of a GGUF file that has factors the scaling that they are taken for: Llama 3.1's,
/// whose factor is the largest of them. [`same_scaling`] proves it.
pub(super) fn with_scaling(job: &Job<'_>, params: &Value) -> Result<Value> {
    let mut params = params.clone();
    let factor = factors(job, FACTORS)?.and_then(|factors| factors.into_iter().max_by(f32::total_cmp));
    if let (Some(factor), Some(fields)) = (factor, params.as_object_mut()) {
        let RopeScaling { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } =
            RopeScaling::llama3(f64::from(factor));
        let scaling = json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        });
        fields.insert("rope_scaling".to_owned(), scaling);
    }
    Ok(params)
}

/// Holds the factors of a GGUF source against those of the scaling they were taken for.
///
/// # Errors
/// A finding if they are others: the model is scaled in a way that its config could not say.
pub(super) fn same_scaling(job: &Job<'_>, facts: &ModelFacts) -> Result<()> {
    let Some(found) = factors(job, FACTORS)? else { return Ok(()) };
    let wanted = metadata::rope_factors(facts).unwrap_or_default();
    // Both were rounded to single precision, perhaps after steps in it.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * a.abs();
    if wanted.len() == found.len() && wanted.iter().zip(&found).all(near) {
        return Ok(());
    }
    let message = "the factors of the rotary frequencies are not those of Llama 3.1's scaling, the only one known here";
    bail!(Finding::new(Id::Unsupported, message).tensor(FACTORS))
}

/// A value in the type that its tensor will have: vectors in F32, and so rows that are not whole blocks.
fn typed(recipe: Recipe, wanted: Dtype) -> Recipe {
    let (block, _) = wanted.block();
    let blocks = wanted.item_bytes().is_none();
    let wanted = match recipe.shape.as_slice() {
        [_, .., width] if blocks && !width.is_multiple_of(block) => Dtype::F16,
        [_, _, ..] => wanted,
        _ => Dtype::F32,
    };
    let cast = |recipe: Recipe, to: Dtype| {
        if recipe.dtype == to {
            return recipe;
        }
        Recipe { dtype: to, shape: recipe.shape.clone(), op: Op::Cast(Arc::new(recipe)) }
    };
    if wanted.item_bytes().is_some() {
        return cast(recipe, wanted);
    }
    let values = cast(recipe, Dtype::F32);
    Recipe { dtype: wanted, shape: values.shape.clone(), op: Op::Quant(Arc::new(values)) }
}
