//! Arithmetic on values, of which the values of packed and scaled weights are put together.
//!
//! Each step does one thing and knows its dtype and shape, so that a scheme of quantisation is an expression of them
//! (`quantized`), and its roundings are those that the dtypes along the way say.

use std::sync::Arc;

use super::lowrank::LowRank;
use super::recipe::{Recipe, elements};
use super::{Dtype, Finding, Id};

/// One step. The value's own dtype and shape are those of the [`Recipe`] it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Math {
    /// The numbers in F32 that elements stand for by themselves.
    Numbers {
        /// The elements.
        of: Arc<Recipe>,
        /// The dtype that their bytes are read as, of the same size: scales of E8M0 are often stored as U8.
        read: Dtype,
    },
    /// Unsigned numbers of a few bits, packed side by side into the elements of another value; U8, or F32.
    Fields {
        /// The packed elements: bytes, or words of 32 bits.
        of: Arc<Recipe>,
        /// How they are packed.
        packing: Packing,
    },
    /// The numbers that stand at these places of a table.
    Pick {
        /// Places, U8.
        of: Arc<Recipe>,
        /// Up to 256 numbers.
        table: Arc<Recipe>,
    },
    /// Every element repeated: the one at `i` is that of the value at `i / by`, in each dimension.
    Spread {
        /// The value.
        of: Arc<Recipe>,
        /// Elements that one stands for, in each dimension.
        by: Vec<u64>,
    },
    /// Rows of a matrix by their numbers.
    Take {
        /// The matrix.
        of: Arc<Recipe>,
        /// Numbers of its rows, one for each row of this value.
        index: Arc<Recipe>,
    },
    /// Two values of one shape and one floating dtype, element by element, rounded once to that dtype.
    With {
        /// What is done.
        how: Arithmetic,
        /// The first operand.
        left: Arc<Recipe>,
        /// The second.
        right: Arc<Recipe>,
    },
    /// A matrix with an adapter merged into it.
    Merge(LowRank),
}

/// How numbers of a few bits are packed: in the order of their places, the lowest bits of an element first, without
/// gaps and across the elements' borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packing {
    /// Bits of a number, 1 to 8.
    pub bits: u32,
    /// The dimension along which they are packed, of two at the most.
    pub axis: usize,
    /// Which number stands at which place.
    pub order: Order,
    /// Added to each, without a carry: what is more than the bits can hold begins at zero again.
    pub more: u32,
    /// Then taken away from each.
    pub less: u32,
}

/// Which of the packed numbers stands where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The first in the lowest bits.
    Plain,
    /// The first of two in the upper half of its byte (bitsandbytes).
    HighFirst,
    /// The places of a word of eight hold the numbers 0, 2, 4, 6, 1, 3, 5, 7 (`AWQ_ORDER` of AutoAWQ).
    Awq,
}

impl Order {
    /// The place, counted from the lowest bits, at which number `index` stands.
    pub fn place(self, index: u64) -> u64 {
        match self {
            Self::Plain => index,
            Self::HighFirst => index ^ 1,
            Self::Awq => (index & !7) | ((index & 1) << 2) | ((index & 7) >> 1),
        }
    }

    /// Bits of a group of numbers that are ordered among themselves.
    fn unit(self) -> u64 {
        match self {
            Self::Plain => 1,
            Self::HighFirst => 8,
            Self::Awq => 32,
        }
    }
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// The sum.
    Plus,
    /// The difference.
    Minus,
    /// The product.
    Times,
    /// The quotient.
    Over,
}

impl Math {
    /// The values that this one is made of.
    pub fn operands(&self) -> Vec<&Arc<Recipe>> {
        match self {
            Self::Numbers { of, .. } | Self::Fields { of, .. } | Self::Spread { of, .. } => vec![of],
            Self::Pick { of, table: other } | Self::Take { of, index: other } => vec![of, other],
            Self::With { left, right, .. } => vec![left, right],
            Self::Merge(LowRank { base, a, b, magnitude, .. }) => [base, b, a].into_iter().chain(magnitude).collect(),
        }
    }

    /// The same, to be changed.
    pub fn operands_mut(&mut self) -> Vec<&mut Arc<Recipe>> {
        match self {
            Self::Numbers { of, .. } | Self::Fields { of, .. } | Self::Spread { of, .. } => vec![of],
            Self::Pick { of, table: other } | Self::Take { of, index: other } => vec![of, other],
            Self::With { left, right, .. } => vec![left, right],
            Self::Merge(LowRank { base, a, b, magnitude, .. }) => [base, b, a].into_iter().chain(magnitude).collect(),
        }
    }

    /// Proves that the operands make a value of that dtype and shape. What the operands are made of is checked apart.
    ///
    /// # Errors
    /// [`Id::ShardMismatch`] that says what does not fit.
    pub fn check(&self, made: &Recipe) -> Result<(), Finding> {
        let fits = match self {
            Self::Numbers { of, read } => {
                made.dtype == Dtype::F32
                    && of.shape == made.shape
                    && of.dtype.item_bytes().is_some()
                    && of.dtype.item_bytes() == read.item_bytes()
                    && has_numbers(*read)
            }
            Self::Fields { of, packing } => fields(made, of, *packing),
            Self::Pick { of, table } => {
                let places = elements(&table.shape).is_some_and(|places| (1..=256).contains(&places));
                of.dtype == Dtype::U8
                    && of.shape == made.shape
                    && (made.dtype, table.dtype, table.shape.len()) == (Dtype::F32, Dtype::F32, 1)
                    && places
            }
            Self::Spread { of, by } => {
                let ranks = of.shape.len() == made.shape.len() && by.len() == made.shape.len();
                let each = made.shape.iter().zip(by).zip(&of.shape);
                let spread = |((&size, &by), &stored): ((&u64, &u64), &u64)| by > 0 && size.div_ceil(by) == stored;
                of.dtype == made.dtype && of.dtype.item_bytes().is_some() && ranks && each.into_iter().all(spread)
            }
            Self::Take { of, index } => {
                let (&[_, columns], &[rows]) = (of.shape.as_slice(), index.shape.as_slice()) else {
                    return Err(unfit(made, "rows taken"));
                };
                matches!(index.dtype, Dtype::I32 | Dtype::I64)
                    && of.dtype == made.dtype
                    && of.dtype.item_bytes().is_some()
                    && made.shape == [rows, columns]
            }
            Self::Merge(low) => low.makes(made),
            Self::With { left, right, .. } => {
                let same = |one: &Recipe| one.dtype == made.dtype && one.shape == made.shape;
                matches!(made.dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16) && same(left) && same(right)
            }
        };
        if fits { Ok(()) } else { Err(unfit(made, self.name())) }
    }

    /// What it does, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Numbers { .. } => "numbers",
            Self::Fields { .. } => "fields",
            Self::Pick { .. } => "pick",
            Self::Spread { .. } => "spread",
            Self::Take { .. } => "take",
            Self::Merge(_) => "merge",
            Self::With { how: Arithmetic::Plus, .. } => "plus",
            Self::With { how: Arithmetic::Minus, .. } => "minus",
            Self::With { how: Arithmetic::Times, .. } => "times",
            Self::With { how: Arithmetic::Over, .. } => "over",
        }
    }
}

/// Whether the elements of a dtype are numbers by themselves, and exact in F32.
fn has_numbers(dtype: Dtype) -> bool {
    use Dtype::{F8E4M3, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0, I8, U8};
    matches!(dtype, I8 | U8 | F8E4M3 | F8E5M2 | F8E4M3Fnuz | F8E5M2Fnuz | F8E8M0)
}

/// Whether the elements of `of` hold the numbers that are made, and no more than their last one may leave empty.
fn fields(made: &Recipe, of: &Recipe, packing: Packing) -> bool {
    let Packing { bits, axis, order, more, less } = packing;
    let rank = made.shape.len();
    if !(1..=8).contains(&bits) || rank > 2 || axis >= rank || of.shape.len() != rank {
        return false;
    }
    let limit = 1 << bits;
    let word = of.dtype.bits();
    let dtypes = matches!(of.dtype, Dtype::U8 | Dtype::I32 | Dtype::U32)
        && (made.dtype == Dtype::F32 || (made.dtype == Dtype::U8 && less == 0));
    let sizes = made.shape.iter().zip(&of.shape).enumerate().all(|(dimension, (&size, &stored))| {
        if dimension != axis {
            return size == stored;
        }
        let Some(all) = size.checked_mul(bits.into()) else { return false };
        all.div_ceil(word) == stored && all.is_multiple_of(order.unit())
    });
    let ordered = order == Order::Plain || (bits == 4 && word == order.unit());
    dtypes && sizes && ordered && more < limit && less < limit
}

fn unfit(made: &Recipe, what: &str) -> Finding {
    Finding::new(Id::ShardMismatch, format!("{what}: the operands do not make {} {:?}", made.dtype, made.shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_puts_every_number_at_a_place_of_its_own() {
        let places = |order: Order| (0..16).map(|index| order.place(index)).collect::<Vec<_>>();
        assert_eq!(places(Order::Plain), (0..16).collect::<Vec<_>>());
        assert_eq!(places(Order::HighFirst)[..6], [1, 0, 3, 2, 5, 4]);
        // AWQ_REVERSE_ORDER of AutoAWQ.
        assert_eq!(places(Order::Awq), [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]);
    }
}
