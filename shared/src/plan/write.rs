//! The writing sink: values at known places of new files, many blocks at once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::blocks::{BLOCK, Block, Blocks};
use super::read::Reader;
use crate::bytes::{to_u64, to_usize, work};
use crate::facts::{Progress, Recipe};

/// Bytes of one write: Linux takes pieces of this size into its cache at half the cost of megabytes (seen on ext4 with
/// 6.x kernels, and `cp` uses the same).
const WRITE: usize = 128 << 10;

/// Bytes that stand at a place of a file.
pub type Piece = (u64, Vec<u8>);

/// Makes what a file holds besides its values once the CRC-32 of each value is known.
pub type Finish = Box<dyn Fn(&[u32]) -> Vec<Piece> + Send + Sync>;

/// A file that is about to be written: everything is known but the values and their checksums.
pub struct Output {
    /// Path below the target folder.
    pub name: String,
    /// Size in bytes when done.
    pub size: u64,
    /// Headers, known beforehand.
    pub head: Vec<Piece>,
    /// Values and the byte each begins at.
    pub values: Vec<(u64, Recipe)>,
    /// What follows once the values' checksums are known; `None` for a format without checksums.
    pub finish: Option<Finish>,
}

/// Writes a file below `folder`, which exists, and syncs it; that of the folder is the caller's.
///
/// # Errors
/// Those of reading the values and of writing; nothing is removed here.
pub fn write(folder: &Path, output: &Output, reader: &Reader<'_>, jobs: usize, progress: &Progress) -> Result<()> {
    let path = folder.join(&output.name);
    let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let put = |bytes: &[u8], offset: u64| {
        let mut place = offset;
        bytes.chunks(WRITE).try_for_each(|piece| {
            file.write_all_at(piece, place).with_context(|| format!("cannot write {}", path.display()))?;
            place = place.saturating_add(to_u64(piece.len()));
            anyhow::Ok(())
        })
    };
    for (offset, bytes) in &output.head {
        put(bytes, *offset)?;
    }
    let blocks: Vec<Blocks> = output.values.iter().map(|(_, recipe)| Blocks::new(recipe, BLOCK)).collect();
    // First block of each value in the numbering of all blocks.
    let mut firsts = Vec::with_capacity(blocks.len());
    let mut total = 0usize;
    for blocks in &blocks {
        firsts.push(total);
        total = total.saturating_add(to_usize(blocks.count()));
    }
    let sums: Vec<Mutex<Vec<Option<crc32fast::Hasher>>>> = blocks
        .iter()
        .map(|blocks| {
            Mutex::new(if output.finish.is_some() { vec![None; to_usize(blocks.count())] } else { Vec::new() })
        })
        .collect();
    work::run(jobs, total, |number| {
        // The last value whose first block is not after this one; values without blocks share a first.
        let value = firsts.partition_point(|&first| first <= number).saturating_sub(1);
        let (Some((place, recipe)), Some(blocks), Some(first)) =
            (output.values.get(value), blocks.get(value), firsts.get(value))
        else {
            return anyhow::Ok(());
        };
        let within = number.saturating_sub(*first);
        let block = blocks.get(to_u64(within));
        let bytes = make(reader, recipe, &block)?;
        put(&bytes, place.saturating_add(block.offset))?;
        if output.finish.is_some() {
            let mut sum = crc32fast::Hasher::new();
            sum.update(&bytes);
            if let Some(sums) = sums.get(value) {
                let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = sums.get_mut(within) {
                    *slot = Some(sum);
                }
            }
        }
        Ok(progress.advance(block.bytes)?)
    })?;
    if let Some(finish) = &output.finish {
        let sums: Vec<u32> = sums.into_iter().map(joined).collect();
        for (offset, bytes) in finish(&sums) {
            put(&bytes, offset)?;
        }
    }
    // What is renamed afterwards must be on the disk, or a crash leaves a file of zeros under the good name.
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))
}

fn make(reader: &Reader<'_>, recipe: &Recipe, block: &Block) -> Result<Vec<u8>> {
    let mut bytes = vec![0; to_usize(block.bytes)];
    reader.block(recipe, block, &mut bytes)?;
    Ok(bytes)
}

/// The checksum of a value from those of its blocks.
fn joined(sums: Mutex<Vec<Option<crc32fast::Hasher>>>) -> u32 {
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut whole = crc32fast::Hasher::new();
    for sum in sums.iter().flatten() {
        whole.combine(sum);
    }
    whole.finalize()
}
