//! Expressions, put together step by step.

use std::sync::Arc;

use crate::facts::math::{Arithmetic, Order, Packing};
use crate::facts::recipe::elements;
use crate::facts::{Dtype, Math, Op, Recipe};

fn step(dtype: Dtype, shape: Vec<u64>, math: Math) -> Recipe {
    Recipe { dtype, shape, op: Op::Math(math) }
}

/// Numbers in the order of their bits, along a dimension, of a value of two dimensions at the most.
pub(super) fn plain(bits: u32, axis: usize) -> Packing {
    Packing { bits, axis, order: Order::Plain, more: 0, less: 0 }
}

/// Packed numbers, in F32.
pub(super) fn fields(of: &Recipe, packing: Packing, shape: [u64; 2]) -> Recipe {
    step(Dtype::F32, shape.to_vec(), Math::Fields { of: Arc::new(of.clone()), packing })
}

/// The numbers at the places of a table that packed numbers say.
pub(super) fn picked(of: &Recipe, packing: Packing, shape: &[u64], table: Recipe) -> Recipe {
    let places = step(Dtype::U8, shape.to_vec(), Math::Fields { of: Arc::new(of.clone()), packing });
    pick(places, table)
}

/// The numbers at these places of a table.
pub(super) fn pick(of: Recipe, table: Recipe) -> Recipe {
    step(Dtype::F32, of.shape.clone(), Math::Pick { of: Arc::new(of), table: Arc::new(table) })
}

/// Floating values in F32, whatever they are stored as. U8 is read as E8M0.
pub(super) fn floats(of: &Recipe) -> Recipe {
    match of.dtype {
        Dtype::F32 => of.clone(),
        Dtype::F16 | Dtype::Bf16 => cast(of.clone(), Dtype::F32),
        Dtype::U8 => numbers(of, Dtype::F8E8M0),
        dtype => numbers(of, dtype),
    }
}

/// The numbers that bytes stand for, read as a dtype.
pub(super) fn numbers(of: &Recipe, read: Dtype) -> Recipe {
    step(Dtype::F32, of.shape.clone(), Math::Numbers { of: Arc::new(of.clone()), read })
}

/// Another floating dtype.
pub(super) fn cast(of: Recipe, dtype: Dtype) -> Recipe {
    if of.dtype == dtype {
        return of;
    }
    Recipe { dtype, shape: of.shape.clone(), op: Op::Cast(Arc::new(of)) }
}

/// A value that is repeated to a shape, each element as often as it must be; where that does not come out even, the
/// last ones less often.
pub(super) fn spread(of: Recipe, shape: &[u64], by: Vec<u64>) -> Recipe {
    if of.shape == shape {
        return of;
    }
    step(of.dtype, shape.to_vec(), Math::Spread { of: Arc::new(of), by })
}

/// One number for all elements of a shape.
pub(super) fn everywhere(of: &Recipe, shape: &[u64]) -> Recipe {
    let one = reshaped(of.clone(), vec![1; shape.len()]);
    spread(one, shape, shape.iter().map(|&size| size.max(1)).collect())
}

/// Rows by their numbers.
pub(super) fn take(of: Recipe, index: &Recipe) -> Recipe {
    let columns = of.shape.last().copied().unwrap_or(0);
    let shape = vec![index.elements(), columns];
    step(of.dtype, shape, Math::Take { of: Arc::new(of), index: Arc::new(index.clone()) })
}

/// Two values element by element, in the dtype and shape of the first.
pub(super) fn with(left: Recipe, how: Arithmetic, right: Recipe) -> Recipe {
    let (left, right) = (Arc::new(left), Arc::new(right));
    step(left.dtype, left.shape.clone(), Math::With { how, left, right })
}

/// The same elements in another shape.
pub(super) fn reshaped(of: Recipe, shape: Vec<u64>) -> Recipe {
    if of.shape == shape {
        return of;
    }
    Recipe { dtype: of.dtype, shape, op: Op::Reshape(Arc::new(of)) }
}

/// The last two dimensions exchanged.
pub(super) fn transposed(of: Recipe) -> Recipe {
    let rank = of.shape.len();
    let (a, b) = (rank.saturating_sub(2), rank.saturating_sub(1));
    let mut shape = of.shape.clone();
    shape.swap(a, b);
    Recipe { dtype: of.dtype, shape, op: Op::Transpose(Arc::new(of), a, b) }
}

/// All but the last dimension as one.
pub(super) fn flat(of: &Recipe) -> Recipe {
    let (last, outer) = of.shape.split_last().map_or((1, [].as_slice()), |(last, outer)| (*last, outer));
    reshaped(of.clone(), vec![elements(outer).unwrap_or(u64::MAX), last])
}

/// Numbers given here.
pub(super) fn literal(values: &[f32]) -> Recipe {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let count = u64::try_from(values.len()).unwrap_or(u64::MAX);
    Recipe { dtype: Dtype::F32, shape: vec![count], op: Op::Literal(Arc::from(bytes)) }
}
