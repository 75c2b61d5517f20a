//! Cuts what is to be scanned into pieces, in the order of the files.

use std::collections::BTreeMap;

use super::Stretch;
use super::piece::block_bytes;
use crate::bytes::to_usize;
use crate::facts::{Dtype, FileId, Recipe};

/// Bytes of a piece of which only the CRC-32 is wanted.
const PLAIN: u64 = 4 << 20;

/// Bytes that stand together, or a value that has to be made: what is read by pieces of one kind.
#[derive(Debug)]
pub(super) enum Segment<'a> {
    /// In a file.
    Stored {
        /// Where.
        stretch: Stretch,
        /// Bytes of a piece.
        piece: u64,
        /// What its numbers are, if it is a value.
        dtype: Option<Dtype>,
        /// Which value, by its place among the distinct ones.
        value: Option<usize>,
        /// The stretch whose CRC-32 it is part of, by its place among those asked for.
        owner: Option<usize>,
    },
    /// Put together from elsewhere.
    Made {
        /// How.
        recipe: &'a Recipe,
        /// Which value, by its place among the distinct ones.
        value: usize,
    },
}

/// The segments, and who asked for what.
pub(super) struct Cut<'a> {
    segments: Vec<Segment<'a>>,
    /// Number of the first piece of each segment.
    firsts: Vec<usize>,
    pieces: usize,
    /// For each value asked for, its place among the distinct ones.
    pub(super) askers: Vec<usize>,
    pub(super) values: usize,
}

/// A value in a file.
type Span = (Stretch, Dtype);

impl<'a> Cut<'a> {
    pub(super) fn new(stretches: &[Stretch], recipes: &[&'a Recipe]) -> Cut<'a> {
        let mut cut = Cut { segments: Vec::new(), firsts: Vec::new(), pieces: 0, askers: Vec::new(), values: 0 };
        let mut spans: BTreeMap<Span, usize> = BTreeMap::new();
        let mut made: Vec<Segment<'a>> = Vec::new();
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        for &recipe in recipes {
            let next = cut.values;
            let place = if let Some((file, offset)) = recipe.contiguous() {
                let stretch = Stretch { file, offset, bytes: recipe.len_bytes() };
                *spans.entry((stretch, recipe.dtype)).or_insert(next)
            } else {
                let place = *copies.entry(format!("{recipe:?}")).or_insert(next);
                if place == next {
                    made.push(Segment::Made { recipe, value: next });
                }
                place
            };
            cut.values = cut.values.max(place.saturating_add(1));
            cut.askers.push(place);
        }
        cut.stored(stretches, spans);
        for segment in made {
            cut.push(segment, 1);
        }
        cut
    }

    /// Files in their order: stretches cut where values are, and values outside of them.
    fn stored(&mut self, stretches: &[Stretch], spans: BTreeMap<Span, usize>) {
        let mut owners: Vec<(Stretch, usize)> = stretches.iter().copied().zip(0..).collect();
        owners.sort();
        let mut spans = spans.into_iter().peekable();
        for (stretch, owner) in owners {
            let before = |span: &Span| (span.0.file, span.0.offset) < (stretch.file, stretch.offset);
            while let Some((span, value)) = spans.next_if(|(span, _)| before(span)) {
                self.value(span, value, None);
            }
            let end = stretch.offset.saturating_add(stretch.bytes);
            let mut at = stretch.offset;
            // Values that begin inside. One that overlaps the one before it, or reaches out, is read on its own.
            let mut apart = Vec::new();
            while let Some((span, value)) =
                spans.next_if(|(span, _)| span.0.file == stretch.file && span.0.offset < end)
            {
                let last = span.0.offset.saturating_add(span.0.bytes);
                if span.0.offset < at || last > end || span.0.bytes == 0 {
                    apart.push((span, value));
                    continue;
                }
                self.plain(stretch.file, at, span.0.offset, owner);
                self.value(span, value, Some(owner));
                at = last;
            }
            self.plain(stretch.file, at, end, owner);
            for (span, value) in apart {
                self.value(span, value, None);
            }
        }
        for (span, value) in spans {
            self.value(span, value, None);
        }
    }

    fn value(&mut self, (stretch, dtype): Span, value: usize, owner: Option<usize>) {
        let piece = block_bytes(dtype);
        self.stretch(Segment::Stored { stretch, piece, dtype: Some(dtype), value: Some(value), owner });
    }

    fn plain(&mut self, file: FileId, from: u64, to: u64, owner: usize) {
        let stretch = Stretch { file, offset: from, bytes: to.saturating_sub(from) };
        self.stretch(Segment::Stored { stretch, piece: PLAIN, dtype: None, value: None, owner: Some(owner) });
    }

    fn stretch(&mut self, segment: Segment<'a>) {
        if let Segment::Stored { stretch, piece, .. } = &segment {
            let pieces = to_usize(stretch.bytes.div_ceil(*piece));
            self.push(segment, pieces);
        }
    }

    fn push(&mut self, segment: Segment<'a>, pieces: usize) {
        if pieces > 0 {
            self.segments.push(segment);
            self.firsts.push(self.pieces);
            self.pieces = self.pieces.saturating_add(pieces);
        }
    }

    /// Number of pieces.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// Bytes to be read.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |segment: &Segment<'_>| match segment {
            Segment::Stored { stretch, .. } => stretch.bytes,
            Segment::Made { recipe, .. } => recipe.len_bytes(),
        };
        self.segments.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// The segment of the piece of that number, and the byte of it at which the piece begins.
    pub(super) fn piece(&self, number: usize) -> Option<(&Segment<'a>, u64)> {
        let index = self.firsts.partition_point(|first| *first <= number).checked_sub(1)?;
        let (segment, first) = (self.segments.get(index)?, self.firsts.get(index)?);
        let place = match segment {
            Segment::Stored { piece, .. } => piece.saturating_mul(crate::bytes::to_u64(number.saturating_sub(*first))),
            Segment::Made { .. } => 0,
        };
        Some((segment, place))
    }
}

impl Segment<'_> {
    /// The value and the stretch that a piece of it belongs to.
    pub(super) fn owners(&self) -> (Option<usize>, Option<usize>) {
        match self {
            Segment::Stored { value, owner, .. } => (*value, *owner),
            Segment::Made { value, .. } => (Some(*value), None),
        }
    }
}
