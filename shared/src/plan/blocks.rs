//! Cuts a value into row-major contiguous blocks of a bounded size.

use crate::facts::{Math, Op, Recipe};

/// Bytes a block has at the most, unless one row of a rotary head needs more. Two workers hold two blocks and as
/// much scratch, which keeps a conversion well below 100 MB.
pub const BLOCK: u64 = 4 << 20;

/// A box of a value: first index and size in each dimension, and where its bytes stand in the row-major value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// First index in each dimension.
    pub start: Vec<u64>,
    /// Elements in each dimension.
    pub size: Vec<u64>,
    /// First byte within the value.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// How a value is cut: every block is `rows` steps of dimension `axis` (the last one fewer), whole in the
/// dimensions after it and one index in those before.
#[derive(Debug, Clone)]
pub struct Blocks {
    shape: Vec<u64>,
    axis: usize,
    rows: u64,
    /// Bytes of one step of `axis`.
    step: u64,
    /// Blocks along `axis`.
    along: u64,
    count: u64,
}

impl Blocks {
    /// Cuts `recipe` into blocks of about `limit` bytes. A value of less than a byte an element is cut as the one
    /// row of bytes it is.
    pub fn new(recipe: &Recipe, limit: u64) -> Blocks {
        let limit = if in_one_go(recipe) { limit } else { limit.div_ceil(STEPS) };
        let (shape, item) = match recipe.dtype.item_bytes() {
            Some(item) => (recipe.shape.clone(), item),
            None => (vec![recipe.len_bytes()], 1),
        };
        // The first dimension whose steps are small enough to be counted in.
        let mut step = item.saturating_mul(shape.iter().fold(1, |a, &b| a.saturating_mul(b.max(1))));
        let mut axis = 0;
        for (index, &size) in shape.iter().enumerate() {
            axis = index;
            step = step.checked_div(size.max(1)).unwrap_or(1);
            if step <= limit {
                break;
            }
        }
        let size = shape.get(axis).copied().unwrap_or(1);
        let mut rows = limit.checked_div(step.max(1)).unwrap_or(1).max(1);
        let granule = match recipe.dtype.item_bytes() {
            // Bytes are counted, and blocks are not cut.
            None => heads(recipe).filter(|bytes| *bytes <= limit).unwrap_or(recipe.dtype.block().1),
            Some(_) if axis == 0 => granule(recipe),
            Some(_) => 1,
        };
        rows = rows.checked_div(granule).unwrap_or(rows).max(1).saturating_mul(granule).min(size.max(1));
        let along = size.div_ceil(rows);
        let before = shape.iter().take(axis).fold(1u64, |a, &b| a.saturating_mul(b));
        let empty = recipe.elements() == 0;
        Blocks { shape, axis, rows, step, along, count: if empty { 0 } else { along.saturating_mul(before) } }
    }

    /// Number of blocks; none for a value without elements.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The block of that number, below [`Blocks::count`], in row-major order.
    pub fn get(&self, number: u64) -> Block {
        let mut start = vec![0; self.shape.len()];
        let mut size = self.shape.clone();
        let first = number.checked_rem(self.along).unwrap_or(0).saturating_mul(self.rows);
        let mut outer = number.checked_div(self.along).unwrap_or(0);
        let whole = self.shape.get(self.axis).copied().unwrap_or(1);
        let rows = whole.saturating_sub(first).min(self.rows);
        let lead = outer.saturating_mul(whole).saturating_add(first);
        for axis in (0..self.axis).rev() {
            let extent = self.shape.get(axis).copied().unwrap_or(1).max(1);
            if let (Some(at), Some(one)) = (start.get_mut(axis), size.get_mut(axis)) {
                *at = outer.checked_rem(extent).unwrap_or(0);
                *one = 1;
            }
            outer = outer.checked_div(extent).unwrap_or(0);
        }
        if let (Some(at), Some(count)) = (start.get_mut(self.axis), size.get_mut(self.axis)) {
            *at = first;
            *count = rows;
        }
        Block { start, size, offset: lead.saturating_mul(self.step), bytes: rows.saturating_mul(self.step) }
    }

    /// All blocks in row-major order.
    pub fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        (0..self.count).map(|number| self.get(number))
    }
}

/// So many times smaller are blocks of values that are computed step by step: what each step leaves to the next should
/// still be in the processor's cache.
const STEPS: u64 = 4;

/// Whether a value is moved as it stands, or made of parts that are read again for each block: of an adapter, or of
/// rows whose columns are wanted.
fn in_one_go(recipe: &Recipe) -> bool {
    fn any(recipe: &Recipe, is: fn(&Op) -> bool) -> bool {
        is(&recipe.op) || recipe.op.operands().into_iter().any(|of| any(of, is))
    }
    let computed = |op: &Op| matches!(op, Op::Cast(_) | Op::Math(_) | Op::Dequant(_) | Op::Quant(_));
    !any(recipe, computed) || any(recipe, |op| matches!(op, Op::Transpose(..) | Op::Math(Math::Merge(_))))
}

/// Bytes of the blocks of rows that are cheapest made together; none where rows are not whole blocks.
fn heads(recipe: &Recipe) -> Option<u64> {
    let Op::Quant(of) = &recipe.op else { return None };
    let columns = of.shape.iter().skip(1).try_fold(1u64, |product, size| product.checked_mul(*size))?;
    let (elements, bytes) = recipe.dtype.block();
    let row = columns.checked_div(elements).filter(|_| columns.is_multiple_of(elements))?.checked_mul(bytes)?;
    row.checked_mul(granule(of)).filter(|bytes| *bytes > 0)
}

/// Rows that are cheapest made together: a whole head where a rotary gather is inside, so that no row is read twice.
fn granule(recipe: &Recipe) -> u64 {
    match &recipe.op {
        Op::Rows { head_dim, .. } => (*head_dim).max(1),
        Op::Math(Math::Merge(low)) => granule(&low.base),
        Op::Cast(of) | Op::ByteSwap(of) | Op::Neg(of) | Op::Conj(of) => granule(of),
        _ => 1,
    }
}
