//! derived-differs: rotary frequencies that are stored, against those that follow from the config.

use anyhow::Result;
use ckpt::archs::llama::RopeScaling;
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
    let (Some(theta), Some(scalings)) = (theta(case), scalings(case)) else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    let called = |tensor: &&Tensor| NAMES.iter().any(|name| tensor.name.ends_with(name));
    for tensor in case.checkpoint.tensors.iter().filter(called) {
        let tables: Option<Vec<Vec<f64>>> =
            scalings.iter().map(|scaling| frequencies(case, &tensor.recipe, theta, scaling)).collect();
        let (Some(tables), Some(stored)) = (tables, numbers(reader, &tensor.recipe)?) else { continue };
        let near = |stored: f64, wanted: f64| (stored - wanted).abs() <= rounding(tensor.recipe.dtype, wanted);
        let odd = |wanted: &[f64]| stored.iter().zip(wanted).position(|(&stored, &wanted)| !near(stored, wanted));
        // Where there are several right answers, the one that goes furthest tells where the stored one goes wrong.
        let Some(odd) = tables.iter().map(|wanted| odd(wanted)).max_by_key(|odd| odd.unwrap_or(usize::MAX)).flatten()
        else {
            continue;
        };
        let wanted: Vec<String> = tables.iter().filter_map(|wanted| wanted.get(odd)).map(ToString::to_string).collect();
        let message =
            format!("the stored frequencies are not those of the config (theta {theta}), first at element {odd}");
        let finding = case.about(Id::DerivedDiffers, tensor, message);
        findings.push(finding.needed(wanted.join(" or "), stored.get(odd).copied().unwrap_or_default()));
    }
    Ok(findings)
}

/// How frequencies are scaled.
#[derive(Debug, Clone, PartialEq)]
enum Scaling {
    /// Not at all.
    Plain,
    /// All by one factor.
    Linear(f64),
    /// As Llama 3.1 does it.
    Llama3(RopeScaling),
}

/// The base of the frequencies; none where the config does not say it and no family does.
fn theta(case: &Case<'_>) -> Option<f64> {
    let params = case.checkpoint.params()?;
    match params.get("rope_theta").or_else(|| params.get("rope_parameters")?.get("rope_theta")) {
        Some(Value::Null) | None => case.family.map(|_| 10_000.0),
        Some(theta) => theta.as_f64(),
    }
}

/// Each way in which the stored table may be scaled; none where the config scales by a rule that is not known here.
fn scalings(case: &Case<'_>) -> Option<Vec<Scaling>> {
    let params = case.checkpoint.params()?;
    if case.is_set("use_scaled_rope") {
        // Meta's file need not say the factor, and its code keeps the plain table and scales what it computes.
        let factors =
            params.get("rope_scaling_factor").and_then(Value::as_f64).map_or(vec![8.0, 32.0], |one| vec![one]);
        let scaled = factors.into_iter().map(|factor| Scaling::Llama3(RopeScaling::llama3(factor)));
        return Some(std::iter::once(Scaling::Plain).chain(scaled).collect());
    }
    let rules = ["rope_scaling", "rope_parameters"].iter().filter_map(|key| params.get(*key));
    let kind = |rules: &Value| {
        let kind = rules.get("rope_type").or_else(|| rules.get("type")).and_then(Value::as_str);
        kind.filter(|kind| *kind != "default").map(str::to_owned)
    };
    let Some((rules, kind)) = rules.into_iter().find_map(|rules| Some((rules, kind(rules)?))) else {
        return Some(vec![Scaling::Plain]);
    };
    let number = |key: &str| rules.get(key).and_then(Value::as_f64).filter(|number| *number > 0.0);
    match kind.as_str() {
        "llama3" => Some(vec![Scaling::Llama3(RopeScaling {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: rules.get("original_max_position_embeddings").and_then(Value::as_u64)?,
        })]),
        // Before 4.45 transformers stretched the positions and left the table alone.
        "linear" => Some(vec![Scaling::Plain, Scaling::Linear(number("factor")?)]),
        // These change the table only when a text outgrows the context, or not at all.
        "dynamic" | "mrope" => Some(vec![Scaling::Plain]),
        _ => None,
    }
}

/// `theta^(-2i/head)` for the first half of a head (Su et al. 2021, "RoFormer"), scaled, if the buffer has that many.
fn frequencies(case: &Case<'_>, recipe: &Recipe, theta: f64, scaling: &Scaling) -> Option<Vec<f64>> {
    let head = case.checkpoint.head_dim()?;
    let half = head.checked_div(2)?;
    if recipe.shape != [half] || half > MOST || recipe.absent().is_some() {
        return None;
    }
    let (head, half) = (u32::try_from(head).ok()?, u32::try_from(half).ok()?);
    let divisor = |index: u32| match scaling {
        Scaling::Plain => 1.0,
        Scaling::Linear(factor) => *factor,
        Scaling::Llama3(scaling) => scaling.divisor(theta, head, index),
    };
    let plain = |index: u32| theta.powf(-2.0 * f64::from(index) / f64::from(head));
    Some((0..half).map(|index| plain(index) / divisor(index)).collect())
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
