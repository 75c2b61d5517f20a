//! What one thread sees of a stretch of bytes, and how stretches are joined in their order.
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for wider vectors")]

use super::lanes::{Lane, PAGE, Page};
use super::moments::{BLOCK, Moments};
use super::unpack::Unpack;
use super::zeros::ZeroRuns;
use super::{Imaginary, Odd, Values};
use crate::bytes::{to_u64, to_usize};
use crate::facts::Dtype;
use crate::facts::dtype::Kind;

/// Looks at the bytes of a value, or of a part of it that begins at a multiple of [`BLOCK`] elements.
pub(super) struct Scanner {
    /// The widest instructions of this processor.
    simd: pulp::Arch,
    /// Of the numbers that are looked at.
    dtype: Dtype,
    lane: Lane,
    /// How stored bytes become those numbers, where they are none by themselves; and room for a page of them.
    unpack: Option<Unpack>,
    made: Vec<u8>,
    /// Bytes of an element, where it is two numbers.
    pair: Option<usize>,
    moments: bool,
    /// Numbers left to the end of the block.
    left: u64,
    block: [Moments; 2],
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
    /// The first element, and whether all are like it.
    first: [u8; 16],
    differs: bool,
    runs: ZeroRuns,
    moments: Moments,
    imaginary: Imaginary,
}

impl Scanner {
    pub(super) fn new(stored: Dtype, moments: bool) -> Scanner {
        let unpack = Unpack::of(stored);
        let dtype = if unpack.is_some() { Dtype::F32 } else { stored };
        let pair = (stored.kind() == Kind::Complex).then(|| to_usize(stored.item_bytes().unwrap_or(1)));
        let (simd, lane, made) = (pulp::Arch::new(), Lane::of(dtype), Vec::new());
        let (left, block, seen) = (BLOCK, [Moments::default(); 2], Seen::default());
        Scanner { simd, dtype, lane, unpack, made, pair, moments, left, block, seen }
    }

    /// Takes in the next bytes: whole pages of [`page_bytes`], unless they are the last.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let Some(unpack) = self.unpack else { return bytes.chunks(PAGE).for_each(|page| self.page(page)) };
        for page in bytes.chunks(unpack.page()) {
            self.packed(unpack, page);
        }
    }

    /// Looks at the numbers that a page stands for. Where it can only tell of numbers that are not finite, its scales
    /// are enough to say that there are none.
    fn packed(&mut self, unpack: Unpack, page: &[u8]) {
        if self.moments || !self.seen.nonzero || !self.seen.differs || !unpack.is_finite(page) {
            let mut made = std::mem::take(&mut self.made);
            unpack.numbers(page, &mut made);
            self.numbers(&made);
            self.made = made;
        } else {
            self.seen.numbers = self.seen.numbers.saturating_add(unpack.count(page));
        }
        self.seen.runs.update(page, page.iter().all(|byte| *byte == 0));
    }

    fn page(&mut self, bytes: &[u8]) {
        let zero = self.numbers(bytes);
        self.seen.runs.update(bytes, zero);
    }

    /// Looks at a page of numbers, and says whether all of its bits are zero.
    fn numbers(&mut self, bytes: &[u8]) -> bool {
        let seen = &mut self.seen;
        if seen.numbers == 0 {
            for (to, from) in seen.first.iter_mut().zip(bytes.iter().take(self.pair.unwrap_or(8))) {
                *to = *from;
            }
        }
        let first = self.lane.first(&seen.first);
        let page = self.simd.dispatch(Look { lane: &self.lane, bytes, first });
        if page.odd {
            let (before, nan, infinite, imaginary) =
                (seen.numbers, &mut seen.nan, &mut seen.infinite, &mut seen.imaginary);
            self.lane.odd(bytes, |place, is_infinite| {
                let kind = if is_infinite { &mut *infinite } else { &mut *nan };
                kind.add(before.saturating_add(place));
                if self.pair.is_some() && !place.is_multiple_of(2) {
                    imaginary.add(is_infinite);
                }
            });
        }
        seen.subnormal = seen.subnormal.saturating_add(page.subnormal);
        seen.nonzero |= page.nonzero;
        seen.differs |= match self.pair {
            Some(item) => bytes.chunks_exact(item).any(|element| !seen.first.starts_with(element)),
            None => page.differs,
        };
        let numbers = to_u64(bytes.len()).checked_div(self.lane.width).unwrap_or(0);
        seen.numbers = seen.numbers.saturating_add(numbers);
        if self.moments {
            self.measure(bytes, page.odd);
            // A page never crosses a block: both are powers of two.
            self.left = self.left.saturating_sub(numbers);
            if self.left == 0 {
                self.close();
            }
        }
        !page.bits
    }

    fn measure(&mut self, bytes: &[u8], odd: bool) {
        let Some(item) = self.pair else {
            if let Some(moments) = self.simd.dispatch(Measure { dtype: self.dtype, bytes, odd }) {
                self.block[0].join(&moments);
            }
            return;
        };
        for (part, block) in self.block.iter_mut().enumerate() {
            let half = item >> 1;
            let part: Vec<u8> = bytes.chunks_exact(half).skip(part).step_by(2).flatten().copied().collect();
            let dtype = self.dtype.component();
            if let Some(moments) = self.simd.dispatch(Measure { dtype, bytes: &part, odd }) {
                block.join(&moments);
            }
        }
    }

    fn close(&mut self) {
        let [real, imaginary] = std::mem::take(&mut self.block);
        self.seen.moments.join(&real);
        self.seen.imaginary.moments.join(&imaginary);
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
        self.imaginary.join(&next.imaginary);
        self.numbers = self.numbers.saturating_add(next.numbers);
    }

    /// All of a value was seen.
    pub(super) fn finish(self, dtype: Dtype) -> Values {
        let each = Lane::of(dtype).numbers;
        let element = |odd: Odd| Odd { first: odd.first.and_then(|number| number.checked_div(each)), ..odd };
        Values {
            numbers: self.numbers,
            nan: element(self.nan),
            infinite: element(self.infinite),
            subnormal: self.subnormal,
            zero: self.numbers > 0 && !self.nonzero,
            constant: self.numbers > 0 && !self.differs,
            runs: self.runs.finish(),
            moments: self.moments,
            imaginary: self.imaginary,
        }
    }
}

impl Imaginary {
    fn add(&mut self, infinite: bool) {
        let count = if infinite { &mut self.infinite } else { &mut self.nan };
        *count = count.saturating_add(1);
    }

    fn join(&mut self, next: &Imaginary) {
        self.nan = self.nan.saturating_add(next.nan);
        self.infinite = self.infinite.saturating_add(next.infinite);
        self.moments.join(&next.moments);
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

/// Bytes of a block of [`BLOCK`] elements of a dtype: a whole number of pages. Bytes that are no numbers count one each.
pub(super) fn block_bytes(dtype: Dtype) -> u64 {
    match Unpack::of(dtype) {
        Some(_) => dtype.bytes_of(BLOCK).unwrap_or(BLOCK),
        None => BLOCK.saturating_mul(dtype.item_bytes().unwrap_or(1)),
    }
}

/// Bytes of a page of a dtype.
pub(super) fn page_bytes(dtype: Dtype) -> usize {
    Unpack::of(dtype).map_or(PAGE, Unpack::page)
}

/// Cuts bytes that come in pieces of any size into whole pages.
pub(super) struct Pages {
    scanner: Scanner,
    page: usize,
    held: Vec<u8>,
}

impl Pages {
    pub(super) fn new(dtype: Dtype, moments: bool) -> Pages {
        Pages { scanner: Scanner::new(dtype, moments), page: page_bytes(dtype), held: Vec::new() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        if !self.held.is_empty() {
            let (more, rest) = bytes.split_at(bytes.len().min(self.page.saturating_sub(self.held.len())));
            self.held.extend_from_slice(more);
            bytes = rest;
            if self.held.len() < self.page {
                return;
            }
            self.scanner.update(&self.held);
            self.held.clear();
        }
        let whole = bytes.len().saturating_sub(bytes.len().checked_rem(self.page).unwrap_or(0));
        let (whole, rest) = bytes.split_at(whole);
        self.scanner.update(whole);
        self.held.extend_from_slice(rest);
    }

    pub(super) fn finish(mut self) -> Seen {
        self.scanner.update(&self.held);
        self.scanner.finish()
    }
}
