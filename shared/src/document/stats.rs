//! Figures of values in documents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::Recipe;
use crate::facts::dtype::Kind;
use crate::plan::scan::{Moments, Values};

/// Figures of one tensor's values, of complex ones those of the real parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// The tensor.
    pub name: String,
    /// Elements.
    pub count: u64,
    /// What its elements are.
    #[serde(flatten)]
    pub figures: Figures,
    /// What the imaginary parts of its elements are, if they are complex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imaginary: Option<Figures>,
}

/// Figures of some numbers. NaN and the infinities are counted and left out of the rest; a figure that has no finite
/// value is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation over all of them.
    pub std: Option<f64>,
    /// Euclidean norm.
    pub norm: Option<f64>,
    /// How many are zero.
    pub zeros: u64,
    /// How many are not a number.
    pub nan: u64,
    /// How many are infinite.
    pub inf: u64,
}

impl Stats {
    /// The figures of a tensor that was scanned for them; none for a dtype whose elements are no numbers by themselves,
    /// or are packed in a way that is not known.
    pub fn of(name: &str, recipe: &Recipe, values: &Values) -> Option<Stats> {
        let (count, imaginary) = (recipe.elements(), &values.imaginary);
        let is_complex = recipe.dtype.kind() == Kind::Complex;
        let real = |all: u64, imaginary: u64| all.saturating_sub(imaginary);
        let (nan, inf) = (real(values.nan.count, imaginary.nan), real(values.infinite.count, imaginary.infinite));
        Some(Stats {
            name: name.to_owned(),
            count,
            figures: Figures::of(count, &values.moments, nan, inf)?,
            imaginary: if is_complex {
                Some(Figures::of(count, &imaginary.moments, imaginary.nan, imaginary.infinite)?)
            } else {
                None
            },
        })
    }

    /// Euclidean norm over all parts of all elements.
    pub fn norm(&self) -> Option<f64> {
        match &self.imaginary {
            Some(imaginary) => Some(self.figures.norm?.hypot(imaginary.norm?)),
            None => self.figures.norm,
        }
    }
}

impl Figures {
    /// The figures of that many numbers; none if they were not looked at as numbers.
    fn of(count: u64, moments: &Moments, nan: u64, inf: u64) -> Option<Figures> {
        let seen = [moments.finite, nan, inf].into_iter().fold(0, u64::saturating_add);
        (seen == count).then(|| Figures {
            min: moments.min(),
            max: moments.max(),
            mean: moments.mean(),
            std: moments.std(),
            norm: moments.norm(),
            zeros: moments.zeros,
            nan,
            inf,
        })
    }
}
