//! What one thread sees of a stretch of bytes, and how stretches are joined in their order.
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for wider vectors")]

use super::lanes::{Lane, PAGE, Page};
use super::moments::{BLOCK, Moments};
use super::zeros::ZeroRuns;
use super::{Odd, Values};
use crate::bytes::to_u64;
use crate::facts::Dtype;

/// Looks at the bytes of a value, or of a part of it that begins at a multiple of [`BLOCK`] elements.
pub(super) struct Scanner {
    /// The widest instructions of this processor.
    simd: pulp::Arch,
    dtype: Dtype,
    lane: Lane,
    /// Elements of a page, where moments are wanted.
    moments: bool,
    /// Numbers left to the end of the block.
    left: u64,
    block: Moments,
    seen: Seen,
}

/// What was seen of a stretch of bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Numbers seen.
    numbers: u64,
    nan: Odd,
    infinite: Odd,
    subnormal: u64,
    nonzero: bool,
    /// The first number, and whether all are like it.
    first: u64,
    differs: bool,
    runs: ZeroRuns,
    moments: Moments,
}

impl Scanner {
    pub(super) fn new(dtype: Dtype, moments: bool) -> Scanner {
        let left = BLOCK;
        let (simd, lane) = (pulp::Arch::new(), Lane::of(dtype));
        Scanner { simd, dtype, lane, moments, left, block: Moments::default(), seen: Seen::default() }
    }

    /// Takes in the next bytes: whole pages, unless they are the last.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for page in bytes.chunks(PAGE) {
            self.page(page);
        }
    }

    fn page(&mut self, bytes: &[u8]) {
        let seen = &mut self.seen;
        if seen.numbers == 0 {
            seen.first = self.lane.first(bytes);
        }
        let page = self.simd.dispatch(Look { lane: &self.lane, bytes, first: seen.first });
        if page.odd {
            let (before, nan, infinite) = (seen.numbers, &mut seen.nan, &mut seen.infinite);
            self.lane.odd(bytes, |place, is_infinite| {
                let kind = if is_infinite { &mut *infinite } else { &mut *nan };
                kind.add(before.saturating_add(place));
            });
        }
        seen.subnormal = seen.subnormal.saturating_add(page.subnormal);
        seen.nonzero |= page.nonzero;
        seen.differs |= page.differs;
        seen.runs.update(bytes, !page.bits);
        let numbers = to_u64(bytes.len()).checked_div(self.lane.width).unwrap_or(0);
        seen.numbers = seen.numbers.saturating_add(numbers);
        if self.moments {
            if let Some(moments) = self.simd.dispatch(Measure { dtype: self.dtype, bytes, odd: page.odd }) {
                self.block.join(&moments);
            }
            // A page never crosses a block: both are powers of two.
            self.left = self.left.saturating_sub(numbers);
            if self.left == 0 {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.seen.moments.join(&std::mem::take(&mut self.block));
        self.left = BLOCK;
    }

    pub(super) fn finish(mut self) -> Seen {
        self.close();
        self.seen
    }
}

/// The kernels as what `pulp` compiles for each set of vector instructions. A closure would do, were it always inlined.
struct Look<'a> {
    lane: &'a Lane,
    bytes: &'a [u8],
    first: u64,
}

impl pulp::WithSimd for Look<'_> {
    type Output = Page;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Page {
        self.lane.page(self.bytes, self.first)
    }
}

struct Measure<'a> {
    dtype: Dtype,
    bytes: &'a [u8],
    odd: bool,
}

impl pulp::WithSimd for Measure<'_> {
    type Output = Option<Moments>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Option<Moments> {
        Moments::of(self.dtype, self.bytes, self.odd)
    }
}

impl Seen {
    /// Takes in what was seen of the stretch that follows.
    pub(super) fn join(&mut self, next: &Seen) {
        if self.numbers == 0 {
            *self = next.clone();
            return;
        }
        self.nan.join(&next.nan, self.numbers);
        self.infinite.join(&next.infinite, self.numbers);
        self.subnormal = self.subnormal.saturating_add(next.subnormal);
        self.nonzero |= next.nonzero;
        self.differs |= next.differs || (next.numbers > 0 && next.first != self.first);
        self.runs.join(&next.runs);
        self.moments.join(&next.moments);
        self.numbers = self.numbers.saturating_add(next.numbers);
    }

    /// All of a value was seen.
    pub(super) fn finish(self, dtype: Dtype) -> Values {
        let lane = Lane::of(dtype);
        let element = |odd: Odd| Odd { first: odd.first.and_then(|number| number.checked_div(lane.numbers)), ..odd };
        Values {
            numbers: self.numbers,
            nan: element(self.nan),
            infinite: element(self.infinite),
            subnormal: self.subnormal,
            zero: self.numbers > 0 && !self.nonzero,
            constant: self.numbers > 0 && !self.differs,
            runs: self.runs.finish(),
            moments: self.moments,
        }
    }
}

impl Odd {
    fn add(&mut self, place: u64) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert(place);
    }

    fn join(&mut self, next: &Odd, before: u64) {
        self.count = self.count.saturating_add(next.count);
        self.first = self.first.or(next.first.map(|first| before.saturating_add(first)));
    }
}

/// Bytes of a block of [`BLOCK`] elements of a dtype: a whole number of pages.
pub(super) fn block_bytes(dtype: Dtype) -> u64 {
    BLOCK.saturating_mul(dtype.item_bytes().unwrap_or(1))
}

/// Cuts bytes that come in pieces of any size into whole pages.
pub(super) struct Pages {
    scanner: Scanner,
    held: Vec<u8>,
}

impl Pages {
    pub(super) fn new(scanner: Scanner) -> Pages {
        Pages { scanner, held: Vec::new() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        if !self.held.is_empty() {
            let (more, rest) = bytes.split_at(bytes.len().min(PAGE.saturating_sub(self.held.len())));
            self.held.extend_from_slice(more);
            bytes = rest;
            if self.held.len() < PAGE {
                return;
            }
            self.scanner.update(&self.held);
            self.held.clear();
        }
        let whole = bytes.len().saturating_sub(bytes.len().checked_rem(PAGE).unwrap_or(0));
        let (whole, rest) = bytes.split_at(whole);
        self.scanner.update(whole);
        self.held.extend_from_slice(rest);
    }

    pub(super) fn finish(mut self) -> Seen {
        self.scanner.update(&self.held);
        self.scanner.finish()
    }
}
