//! sparse-hole: weight files with ranges that were never written.

use ckpt::bytes::holes;
use ckpt::facts::{Finding, Id};

use super::explain;
use crate::case::Case;

explain! {
    /// Asks the file system for holes in weight files: ranges that no block of the disk stands for. A file system that
    /// knows of no holes is asked in vain; one that compresses may have made holes of zeros.
    ///
    /// A hole reads as zeros: the file's size was set, and its content never came. It is what a download, or a save that
    /// reserves its space, leaves when it is killed.
    ///
    /// Download or save the file again.
    SparseHole;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let pool = &case.checkpoint.pool;
    for shard in &case.checkpoint.shards {
        let Ok(source) = pool.get(shard.file) else { continue };
        let (mut first, mut count, mut bytes) = (None, 0u64, 0u64);
        let listed = holes::each(&source, |start, len| {
            first.get_or_insert((start, len));
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(len);
            true
        });
        let (Ok(()), Some((start, len))) = (listed, first) else { continue };
        let more = if count > 1 { format!("; {count} holes have {bytes} bytes together") } else { String::new() };
        let message = format!("{len} bytes were never written{more}");
        let finding = Finding::new(Id::SparseHole, message).in_file(shard.name.clone()).at(start);
        findings.push(finding.needed("data", format!("a hole of {len} bytes")));
    }
}
