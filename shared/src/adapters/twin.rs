//! The same adapter saved twice: torchtune and llama-stack keep their own file beside PEFT's. In PEFT's, torchtune 0.6
//! leaves the magnitudes of queries and keys in its own order (`tune_to_peft_adapter_weights` turns `lora_B` alone).

use std::collections::HashMap;

use anyhow::Result;

use super::{Adapter, Part, Scheme, names};
use crate::facts::{Finding, Id, Progress, Tensor};
use crate::layouts::{self, Checkpoint};
use crate::plan::compare::first_difference;
use crate::plan::numbers;
use crate::plan::read::Reader;

/// Numbers that a vector of magnitudes can have at the most: rows of the widest projections known are a tenth of it.
const MOST: u64 = 1 << 20;

/// The magnitudes of queries or keys that stand in torchtune's order in a file of PEFT's; none where nothing tells, for
/// want of torchtune's own file, or of magnitudes that differ.
///
/// # Errors
/// Those of reading.
pub fn unturned(adapter: &Adapter<'_>, checkpoint: &Checkpoint, progress: &Progress) -> Result<Option<Finding>> {
    let turned = adapter.modules.iter().filter(|module| names::is_rotary(&module.name));
    let pairs: Vec<(&str, &Tensor)> =
        turned.filter_map(|module| Some((module.name.as_str(), module.magnitude?))).collect();
    let twin = layouts::torchtunes_adapter(checkpoint).filter(|_| adapter.scheme == Scheme::Peft);
    let (Some(file), false) = (twin, pairs.is_empty()) else { return Ok(None) };
    let Ok(container) = layouts::training::read(checkpoint, file) else { return Ok(None) };
    let others: HashMap<&str, &Tensor> =
        container.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let reader = Reader::new(&checkpoint.pool);
    for (module, magnitude) in pairs {
        let name = names::named(Scheme::Tune, module, Part::Magnitude);
        let Some(other) = name.and_then(|name| others.get(name.as_str())) else { continue };
        let alike = magnitude.recipe.dtype == other.recipe.dtype && magnitude.recipe.shape == other.recipe.shape;
        if !alike || !varies(&reader, magnitude, progress)? {
            continue;
        }
        if first_difference((&reader, &magnitude.recipe), (&reader, &other.recipe), progress)?.is_none() {
            let twin = checkpoint.pool.name(file);
            let message = format!(
                "the magnitudes stand in the order of {twin}, torchtune's own file, which is not PEFT's: convert that file instead"
            );
            return Ok(Some(Finding::new(Id::AdapterMagnitudes, message).tensor(magnitude.name.clone())));
        }
    }
    Ok(None)
}

/// Whether a vector holds different numbers, so that its order can be told.
fn varies(reader: &Reader<'_>, tensor: &Tensor, progress: &Progress) -> Result<bool> {
    let mut values = Vec::new();
    if tensor.recipe.elements() > MOST {
        return Ok(false);
    }
    reader.stream(&tensor.recipe, crate::plan::blocks::BLOCK, progress, |_, block| {
        values.extend(numbers(tensor.recipe.dtype, block).unwrap_or_default());
        Ok(())
    })?;
    Ok(values.windows(2).any(|pair| pair.first() != pair.last()))
}
