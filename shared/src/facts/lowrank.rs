//! A matrix with an adapter merged into it: LoRA, and DoRA where rows have magnitudes.

use std::sync::Arc;

use super::recipe::Recipe;
use super::{Dtype, limits};

/// A matrix of rows by columns plus the scaled product of two narrow ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LowRank {
    /// The matrix.
    pub base: Arc<Recipe>,
    /// Rank by columns.
    pub a: Arc<Recipe>,
    /// Rows by rank.
    pub b: Arc<Recipe>,
    /// The length that each row gets in the end, if the adapter says so.
    pub magnitude: Option<Arc<Recipe>>,
    /// What the product is multiplied by.
    pub scale: Factor,
    /// In which order it is computed and rounded.
    pub math: MergeMath,
}

/// A number that recipes can be compared by, whatever it is: the bits of an F64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factor(u64);

/// The arithmetic of a merge. Products are sums in F32, each term fused with the sum so far, in the order of the rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MergeMath {
    /// PEFT's, whose adapters are F32 whatever they are stored as: `base + scale * (B A)`, rounded once at the end.
    #[default]
    Peft,
    /// PEFT's of an embedding, whose product it rounds to the dtype of the base before it adds it (`Embedding.merge`).
    PeftEmbedding,
    /// torchtune's `get_merged_lora_ckpt`: `base + (scale * B) A`, each step rounded to the dtype of the adapter.
    Torchtune,
}

impl Factor {
    /// Of a number.
    pub fn new(value: f64) -> Factor {
        Factor(value.to_bits())
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl MergeMath {
    /// The library whose it is.
    pub fn name(self) -> &'static str {
        match self {
            MergeMath::Peft | MergeMath::PeftEmbedding => "peft",
            MergeMath::Torchtune => "torchtune",
        }
    }
}

impl LowRank {
    /// Whether the parts have shapes and dtypes that make this value.
    pub(super) fn makes(&self, made: &Recipe) -> bool {
        let &[rows, columns] = made.shape.as_slice() else { return false };
        let rank = self.a.shape.first().copied().unwrap_or(0);
        let magnitude = |test: &dyn Fn(&Recipe) -> bool| self.magnitude.as_ref().is_none_or(|of| test(of));
        let shapes = self.a.shape == [rank, columns]
            && self.b.shape == [rows, rank]
            && self.base.shape == made.shape
            && magnitude(&|of| of.shape == [rows]);
        let known = |of: &Recipe| matches!(of.dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16);
        // torchtune multiplies what is of one dtype, and with magnitudes leaves the result in it.
        let alike = match self.math {
            MergeMath::Peft => made.dtype == self.base.dtype || made.dtype == Dtype::F32,
            MergeMath::PeftEmbedding => made.dtype == self.base.dtype,
            MergeMath::Torchtune => {
                let own = self.a.dtype == self.b.dtype && magnitude(&|of| of.dtype == self.a.dtype);
                own && made.dtype == if self.magnitude.is_some() { self.a.dtype } else { self.base.dtype }
            }
        };
        let bounded = (1..=limits::RANK).contains(&rank);
        shapes && bounded && alike && known(&self.base) && known(&self.a) && known(&self.b) && magnitude(&known)
    }
}
