//! What everything else is made of: dtypes, tensors, recipes, findings, limits. No input or output happens here.

pub mod check;
pub mod dtype;
pub mod finding;
pub mod json;
pub mod limits;
pub mod lowrank;
pub mod math;
pub mod progress;
pub mod recipe;
pub mod rules;

pub use dtype::Dtype;
pub use finding::{Finding, Severity};
pub use math::Math;
pub use progress::{Progress, Stopped};
pub use recipe::{FileId, Op, Recipe, Tensor};
pub use rules::Id;
