//! The scanning sink: what is odd about values, their figures if asked for, and the CRC-32 of stretches of files, in
//! one pass over each file.
//!
//! The work is cut into pieces of [`BLOCK`] elements that threads take in the order of the files; what they see is
//! joined in the same order as soon as it can be, so that little is kept, and the result is the same on any number of
//! threads. A stretch (a member of a zip) is cut where the values in it are, so that its CRC-32 comes from the same
//! read as theirs.

mod cut;
mod join;
mod lanes;
mod moments;
mod piece;
mod unpack;
mod zeros;

use anyhow::Result;

use self::cut::{Cut, Segment};
use self::join::Join;
use self::piece::{Pages, Scanner, Seen, page_bytes};
use super::blocks;
use super::read::Reader;
use crate::bytes::{ReadAt, to_u64, to_usize, work};
use crate::facts::{FileId, Progress, Recipe};
use crate::formats::detect;

pub use moments::{BLOCK, Moments};
pub use zeros::{LONG, ZeroRuns};

/// Bytes read at once: a part of a processor's own cache.
const CHUNK: u64 = 1 << 18;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Numbers of one odd kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odd {
    /// How many.
    pub count: u64,
    /// The first element, in row-major order, that is one.
    pub first: Option<u64>,
}

/// What a value showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Numbers looked at: two an element for complex ones; bytes where an element has less than one, and what it
    /// stands for is not known.
    pub numbers: u64,
    /// Those that are not a number.
    pub nan: Odd,
    /// Those that are infinite.
    pub infinite: Odd,
    /// Floating numbers too small to be normal, of formats in which that is unusual.
    pub subnormal: u64,
    /// All numbers are zero.
    pub zero: bool,
    /// All numbers have the same bits.
    pub constant: bool,
    /// Long runs of zero bytes, by byte of the value.
    pub runs: ZeroRuns,
    /// Figures, if they were asked for and the dtype has such: of complex numbers, those of the real parts.
    pub moments: Moments,
    /// Of complex numbers, what of all this is of the imaginary parts.
    pub imaginary: Imaginary,
}

/// What the imaginary parts of complex numbers showed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Imaginary {
    /// Those that are not a number.
    pub nan: u64,
    /// Those that are infinite.
    pub infinite: u64,
    /// Their figures, if they were asked for.
    pub moments: Moments,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scanned {
    /// Of each value asked for.
    pub values: Vec<Values>,
    /// The CRC-32 of each stretch asked for.
    pub crcs: Vec<u32>,
}

/// Scans values and stretches of files, each thing once. Announces its work to `progress`.
///
/// # Errors
/// A finding that names the file that cannot be read, or that changed while it was; a value that cannot be made.
pub fn scan(
    reader: &Reader<'_>,
    stretches: &[Stretch],
    recipes: &[&Recipe],
    moments: bool,
    jobs: usize,
    progress: &Progress,
) -> Result<Scanned> {
    let cut = Cut::new(stretches, recipes);
    progress.expect(cut.bytes());
    let join = Join::new(&cut);
    work::run(jobs, cut.pieces(), |number| -> Result<()> {
        let Some((segment, place)) = cut.piece(number) else { return Ok(()) };
        let part = match segment {
            Segment::Made { recipe, .. } => (Some(made(reader, recipe, moments, progress)?), None),
            Segment::Stored { .. } => stored(reader, segment, place, moments, progress)?,
        };
        join.add(number, part);
        Ok(())
    })?;
    reader.pool().unchanged()?;
    Ok(join.finish(recipes, stretches.len()))
}

/// A value that has to be put together.
fn made(reader: &Reader<'_>, recipe: &Recipe, moments: bool, progress: &Progress) -> Result<Seen> {
    let mut pages = Pages::new(recipe.dtype, moments);
    reader.stream(recipe, blocks::BLOCK, progress, |_, bytes| {
        pages.update(bytes);
        Ok(())
    })?;
    Ok(pages.finish())
}

/// A piece of a file, from byte `place` of its segment on.
fn stored(
    reader: &Reader<'_>,
    segment: &Segment<'_>,
    place: u64,
    moments: bool,
    progress: &Progress,
) -> Result<(Option<Seen>, Option<crc32fast::Hasher>)> {
    let Segment::Stored { stretch, piece, dtype, owner, .. } = segment else { return Ok((None, None)) };
    let pool = reader.pool();
    let unreadable =
        |error: std::io::Error, at: u64| detect::unreadable(&error).in_file(pool.name(stretch.file)).at(at);
    let source = pool.get(stretch.file).map_err(|error| unreadable(error, 0))?;
    let mut scanner = dtype.map(|dtype| Scanner::new(dtype, moments));
    let mut crc = owner.map(|_| crc32fast::Hasher::new());
    let mut left = stretch.bytes.saturating_sub(place).min(*piece);
    let mut at = stretch.offset.saturating_add(place);
    let page = to_u64(dtype.map_or(1, page_bytes));
    let chunk = CHUNK.saturating_sub(CHUNK.checked_rem(page).unwrap_or(0)).max(page);
    let mut bytes = Vec::new();
    while left > 0 {
        bytes.resize(to_usize(left.min(chunk)), 0);
        source.read_exact_at(&mut bytes, at).map_err(|error| unreadable(error, at))?;
        if let Some(scanner) = &mut scanner {
            scanner.update(&bytes);
        }
        if let Some(crc) = &mut crc {
            crc.update(&bytes);
        }
        let count = to_u64(bytes.len());
        at = at.saturating_add(count);
        left = left.saturating_sub(count);
        progress.advance(count)?;
    }
    Ok((scanner.map(Scanner::finish), crc))
}

#[cfg(test)]
mod tests;
