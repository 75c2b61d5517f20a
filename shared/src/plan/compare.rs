//! The comparing sink: where two values first differ.

use anyhow::Result;

use super::blocks::{BLOCK, Blocks};
use super::read::Reader;
use crate::bytes::{to_u64, to_usize};
use crate::facts::{Progress, Recipe};

/// The first element, in row-major order, at which two values of one dtype and shape differ in a bit; `None` if they
/// are equal. A dtype of less than a byte an element is counted in bytes.
///
/// # Errors
/// Those of reading either value.
pub fn first_difference(
    a: (&Reader<'_>, &Recipe),
    b: (&Reader<'_>, &Recipe),
    progress: &Progress,
) -> Result<Option<u64>> {
    let item = a.1.dtype.item_bytes().unwrap_or(1);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for block in Blocks::new(a.1, BLOCK).iter() {
        left.resize(to_usize(block.bytes), 0);
        right.resize(to_usize(block.bytes), 0);
        a.0.block(a.1, &block, &mut left)?;
        b.0.block(b.1, &block, &mut right)?;
        progress.advance(block.bytes.saturating_mul(2))?;
        if left != right {
            let byte = left.iter().zip(&right).position(|(a, b)| a != b).map_or(0, to_u64);
            return Ok(block.offset.saturating_add(byte).checked_div(item));
        }
    }
    Ok(None)
}
