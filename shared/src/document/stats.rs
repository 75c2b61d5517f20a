//! Figures of values in documents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::Recipe;
use crate::plan::scan::Values;

/// Figures of one tensor's values. NaN and the infinities are counted and left out of the rest; a figure that has
/// no finite value is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// The tensor.
    pub name: String,
    /// Elements.
    pub count: u64,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation over all elements.
    pub std: Option<f64>,
    /// Euclidean norm.
    pub norm: Option<f64>,
    /// Elements that are zero.
    pub zeros: u64,
    /// Elements that are not a number.
    pub nan: u64,
    /// Elements that are infinite.
    pub inf: u64,
}

impl Stats {
    /// The figures of a tensor that was scanned for them; none for a dtype whose elements are no numbers by themselves:
    /// complex ones, and those of less than a byte.
    pub fn of(name: &str, recipe: &Recipe, values: &Values) -> Option<Stats> {
        let moments = &values.moments;
        let seen = [moments.finite, values.nan.count, values.infinite.count].into_iter().fold(0, u64::saturating_add);
        (seen == recipe.elements()).then(|| Stats {
            name: name.to_owned(),
            count: recipe.elements(),
            min: moments.min(),
            max: moments.max(),
            mean: moments.mean(),
            std: moments.std(),
            norm: moments.norm(),
            zeros: moments.zeros,
            nan: values.nan.count,
            inf: values.infinite.count,
        })
    }
}
