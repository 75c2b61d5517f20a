//! derived-differs: rotary frequencies that are stored, against those that follow from the config.

use anyhow::Result;
use ckpt::facts::{Dtype, Finding, Id, Progress, Recipe, Tensor};
use ckpt::plan::read::Reader;
use serde_json::Value;

use crate::case::Case;

/// Names of such buffers: Meta's and transformers'.
const NAMES: &[&str] = &["rope.freqs", "rotary_emb.inv_freq"];

/// Numbers that such a buffer can have at the most: half of a head.
const MOST: u64 = 1 << 16;

/// Looks at every stored table of frequencies.
///
/// # Errors
/// Those of reading.
pub(super) fn check(case: &Case<'_>, reader: &Reader<'_>) -> Result<Vec<Finding>> {
    let Some(theta) = theta(case) else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    let called = |tensor: &&Tensor| NAMES.iter().any(|name| tensor.name.ends_with(name));
    for tensor in case.checkpoint.tensors.iter().filter(called) {
        let Some(wanted) = frequencies(case, &tensor.recipe, theta) else { continue };
        let Some(stored) = numbers(reader, &tensor.recipe)? else { continue };
        let near = |stored: f64, wanted: f64| (stored - wanted).abs() <= rounding(tensor.recipe.dtype, wanted);
        let odd = stored.iter().zip(&wanted).position(|(&stored, &wanted)| !near(stored, wanted));
        if let Some(odd) = odd {
            let (stored, wanted) = (stored.get(odd).copied(), wanted.get(odd).copied());
            let message = format!("the stored frequencies are not those of theta {theta}, first at element {odd}");
            let finding = case.about(Id::DerivedDiffers, tensor, message);
            findings.push(finding.needed(wanted.unwrap_or_default(), stored.unwrap_or_default()));
        }
    }
    Ok(findings)
}

/// The base of the frequencies; none where the config does not say it, or scales them by a rule of its own.
fn theta(case: &Case<'_>) -> Option<f64> {
    let params = case.checkpoint.params()?;
    let nested = params.get("rope_parameters");
    let scaled = |rules: &Value| {
        let kind = rules.get("rope_type").or_else(|| rules.get("type")).and_then(Value::as_str);
        rules.is_object() && kind.is_some_and(|kind| kind != "default")
    };
    let is_scaled = [params.get("rope_scaling"), nested].into_iter().flatten().any(scaled)
        || case.is_set("use_scaled_rope")
        || case.setting("rope_scaling_factor").is_some_and(|factor| !factor.is_null());
    if is_scaled {
        return None;
    }
    let said = params.get("rope_theta").or_else(|| nested?.get("rope_theta"));
    match said {
        Some(Value::Null) | None => case.family.map(|_| 10_000.0),
        Some(theta) => theta.as_f64(),
    }
}

/// `theta^(-2i/head)` for the first half of a head (Su et al. 2021, "RoFormer"), if the buffer has that many.
fn frequencies(case: &Case<'_>, recipe: &Recipe, theta: f64) -> Option<Vec<f64>> {
    let head = case.checkpoint.head_dim()?;
    let half = head.checked_div(2)?;
    if recipe.shape != [half] || half > MOST || recipe.absent().is_some() {
        return None;
    }
    let head = f64::from(u32::try_from(head).ok()?);
    let half = u32::try_from(half).ok()?;
    Some((0..half).map(|index| theta.powf(-2.0 * f64::from(index) / head)).collect())
}

fn numbers(reader: &Reader<'_>, recipe: &Recipe) -> Result<Option<Vec<f64>>> {
    super::packed::numbers(reader, recipe, &Progress::default())
}

/// What rounding to a dtype can change, twice over: the table is computed in 32 bits and rounded again.
fn rounding(dtype: Dtype, value: f64) -> f64 {
    match dtype {
        Dtype::Bf16 => value * 2f64.powi(-7),
        // Below 2^-14 half precision has a fixed step.
        Dtype::F16 => (value * 2f64.powi(-10)).max(2f64.powi(-23)),
        _ => value * 1e-5,
    }
}
