//! Values whose stored bytes are no numbers by themselves: ggml's blocks, and floats of four bits.

use super::lanes::PAGE;
use crate::bytes::{to_u64, to_usize};
use crate::facts::Dtype;
use crate::plan::dequant;

/// Bytes of an F32, of which a page is made.
const VALUE: usize = 4;

/// How units of stored bytes become numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unpack {
    dtype: Dtype,
    /// Elements and bytes of a unit.
    elements: usize,
    bytes: usize,
}

impl Unpack {
    /// For a dtype that is packed and whose values are known.
    pub(super) fn of(dtype: Dtype) -> Option<Unpack> {
        let (elements, bytes) = dtype.block();
        dequant::knows(dtype).then(|| Unpack { dtype, elements: to_usize(elements), bytes: to_usize(bytes) })
    }

    /// Stored bytes of a page of F32. Units have 2, 32, 64, 128 or 256 elements, so that a page holds whole ones.
    pub(super) fn page(self) -> usize {
        (PAGE / VALUE).checked_div(self.elements).unwrap_or(1).saturating_mul(self.bytes)
    }

    /// Numbers that some units stand for.
    pub(super) fn count(self, units: &[u8]) -> u64 {
        to_u64(units.len().checked_div(self.bytes).unwrap_or(0).saturating_mul(self.elements))
    }

    /// Makes the F32 of some units.
    pub(super) fn numbers(self, units: &[u8], out: &mut Vec<u8>) {
        out.resize(to_usize(self.count(units)).saturating_mul(VALUE), 0);
        // Only what `dequant` knows comes here.
        let _ = dequant::dequantize(self.dtype, units, out);
    }

    /// Whether scales show that no number is other than finite. If not, that is not said.
    pub(super) fn is_finite(self, units: &[u8]) -> bool {
        dequant::is_finite(self.dtype, units)
    }
}
