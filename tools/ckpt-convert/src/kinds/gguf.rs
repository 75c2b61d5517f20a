//! `--to gguf`: one GGUF file of a Llama model, with the keys and the vocabulary that llama.cpp needs.

use std::sync::Arc;

use anyhow::{Result, bail};
use ckpt::archs::llama::{ModelFacts, RopeScaling};
use ckpt::archs::{Change, Naming, Need};
use ckpt::canonical;
use ckpt::facts::recipe::RotaryOrder;
use ckpt::facts::{Dtype, Finding, Id, Op, Recipe, Tensor};
use ckpt::plan::blocks::BLOCK;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Job, hf::main_dtype, small};
use crate::carry;
use crate::draft::{Draft, Form, Weights};
use crate::metadata;
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

/// Plans the conversion.
///
/// # Errors
/// For a model of no known family, or one with a tensor that llama.cpp has no name for; those of reading.
pub(super) fn draft(job: &Job<'_>) -> Result<Draft> {
    let mut draft = Draft::default();
    let (table, tied) = job.table()?;
    let Some(arch) = table.arch else {
        return refuse("GGUF is written of Llama models, and this is none that is known", "convert it with llama.cpp");
    };
    let facts = small::facts(job, &table, tied, &mut draft)?;
    let kind = job.options.gguf_type.unwrap_or(match main_dtype(&table.tensors, None) {
        Dtype::F16 => GgufType::F16,
        Dtype::Bf16 => GgufType::Bf16,
        _ => GgufType::F32,
    });
    let (dtype, file_type) = kind.row();
    let mut tensors = Vec::with_capacity(table.tensors.len());
    if let Some(factors) = metadata::rope_factors(&facts) {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        let shape = vec![ckpt::bytes::to_u64(factors.len())];
        let recipe = Recipe { dtype: Dtype::F32, shape, op: Op::Literal(bytes.into()) };
        tensors.push(Tensor { name: FACTORS.to_owned(), recipe, crc32: None });
    }
    for tensor in table.tensors {
        let found = arch.find(Naming::Hf, &tensor.name).filter(|found| found.row.need != Need::Derived);
        let Some((name, found)) = found.and_then(|found| Some((found.named(Naming::Gguf)?, found))) else {
            bail!(Finding::new(Id::TensorUnexpected, "llama.cpp has no name for this tensor").tensor(tensor.name));
        };
        let recipe = match (tensor.recipe, found.row.change) {
            (recipe, Change::Same) => recipe,
            // The order of rows is that of Meta's files and of GGUF's own.
            (Recipe { op: Op::Rows { of, order: RotaryOrder::Halves, .. }, .. }, _) => Arc::unwrap_or_clone(of),
            (recipe, _) => canonical::rotary(recipe, facts.head_dim, RotaryOrder::Interleaved),
        };
        tensors.push(Tensor { name, recipe: typed(recipe, dtype), crc32: None });
    }
    let path = job.checkpoint.path.canonicalize().unwrap_or_else(|_| job.checkpoint.path.clone());
    let path = path.to_string_lossy();
    let mut keys = metadata::model_keys(&facts, ckpt::archs::llama::infer::model_name(&path), file_type);
    if let Some(ggml) = small::ggml(job, &facts)? {
        let template = small::chat_template(job, &facts)?;
        keys.extend(metadata::vocabulary_keys(&ggml, &facts, template.as_deref()));
    }
    let name = job.one_file.clone().unwrap_or_else(|| "model.gguf".to_owned());
    draft.weights.push(Weights { name, form: Form::Gguf(Arc::new(keys)), tensors });
    carry::objects(job.checkpoint, &mut draft);
    Ok(draft)
}

/// The tensor of factors by which a GGUF file divides rotary frequencies.
const FACTORS: &str = "rope_freqs.weight";

/// The factors of a GGUF source, if it has such.
fn factors(job: &Job<'_>) -> Result<Option<Vec<f32>>> {
    let gguf = job.checkpoint.family.as_ref().is_some_and(|family| family.naming == Naming::Gguf);
    let Some(tensor) = job.checkpoint.tensor(FACTORS).filter(|_| gguf) else { return Ok(None) };
    if tensor.recipe.dtype != Dtype::F32 || tensor.recipe.len_bytes() > BLOCK {
        bail!(Finding::new(Id::Unsupported, "factors of the rotary frequencies in an unusual form").tensor(FACTORS));
    }
    let mut factors = Vec::new();
    job.reader.stream(&tensor.recipe, BLOCK, &job.context.progress, |_, bytes| {
        factors.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
        Ok(())
    })?;
    Ok(Some(factors))
}

/// What a source's config says, and of a GGUF file that has factors the scaling that they are taken for: Llama 3.1's,
/// whose factor is the largest of them. [`same_scaling`] proves it.
pub(super) fn with_scaling(job: &Job<'_>, params: &Value) -> Result<Value> {
    let mut params = params.clone();
    let factor = factors(job)?.and_then(|factors| factors.into_iter().max_by(f32::total_cmp));
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
    let Some(found) = factors(job)? else { return Ok(()) };
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
