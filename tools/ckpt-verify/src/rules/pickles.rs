//! pickle-dangerous and its kin: what the pickles of a checkpoint would do, whichever files hold them.

use std::collections::BTreeMap;

use ckpt::bytes::work;
use ckpt::facts::{FileId, Finding, Id, Severity};
use ckpt::formats::{Format, detect, scan};
use ckpt::layouts::Layout;

use super::explain;
use crate::case::Case;

explain! {
    /// Reads every opcode of every pickle in every file of the checkpoint, found by content: weights, optimizer and other
    /// training state, `training_args.bin`, `.metadata`, numpy's arrays of objects, members of zips and tars, pickles after
    /// pickles and inside of their bytes. Nothing runs. A name is denied unless it is known to only build data: the allow
    /// list of `torch.load(weights_only=True)`, and what numpy, argparse, datetime, Lightning and others put into
    /// checkpoints. Classes that nobody knows are a note (`pickle-unknown-class`); functions that are called, most of
    /// Python's library, and names with tricks in them are this error.
    ///
    /// Loading the file can run whatever its maker chose, as the user who loads it.
    ///
    /// Do not load it. Get the weights as safetensors, or look at the place that is named: `python -m pickletools` prints
    /// opcodes without running them.
    PickleDangerous;
    /// Compares the frames of a pickle with its opcodes: an opcode may not reach over a frame's end, and the last one ends
    /// the last frame.
    ///
    /// CPython's unpickler drops what is left of a frame and reads on behind it; a scanner that reads straight on sees
    /// another program than the one that runs. No pickler writes such frames.
    ///
    /// Do not load it.
    PickleSmuggled;
    /// Looks behind the end of a pickle in files that hold only one. torch's old format, which holds five, is known. What
    /// follows is judged as well.
    ///
    /// Most loaders never see it, some read on. It is how a second program is hidden, or what is left of a longer file.
    PickleTrailing;
    /// A pickle is cut off, or has an opcode after which no unpickler goes on. What was seen up to there is judged.
    ///
    /// What comes before the place runs even if loading fails later; what would come after it is not known.
    ///
    /// Copy or save the file again.
    PickleIncomplete;
    /// Looks for containers that hold each other so often that they stand for more than a hundred million values, for
    /// objects without number, for sizes that no memory holds, and for archives that unpack to more than a gigabyte of
    /// what is not tensors.
    ///
    /// A file of a few kilobytes stops the machine that loads it, prints it or compares it.
    ///
    /// Do not load it.
    PickleBomb;
    /// Names archives that are not looked into: 7z and rar (warnings), other packed files (notes), encrypted members.
    ///
    /// What is in them was not judged.
    ///
    /// Unpack them and check what comes out.
    PickleUnscanned;
    /// In a checkpoint that transformers load, looks for weights in `pytorch_model.bin` and its shards.
    ///
    /// Loading them means to trust whoever wrote them; safetensors cannot hold a program.
    ///
    /// `ckpt-convert --to safetensors` writes them as safetensors.
    PickledWeights;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let checkpoint = case.checkpoint;
    let files: Vec<FileId> = (0..checkpoint.files.len()).map(FileId).collect();
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let look = |file: &FileId| -> Result<Vec<Finding>, std::convert::Infallible> {
        Ok(match checkpoint.pool.get(*file) {
            Ok(source) => scan::scan(&*source),
            Err(error) => vec![detect::unreadable(&error)],
        })
    };
    let Ok(seen) = work::map(jobs, &files, look);
    let mut told: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in &checkpoint.findings {
        told.entry(finding.file.as_deref().unwrap_or_default()).or_default().push(finding);
    }
    for (file, seen) in files.into_iter().zip(seen) {
        let name = checkpoint.pool.name(file);
        let before = told.get(name).map(Vec::as_slice).unwrap_or_default();
        findings
            .extend(seen.into_iter().filter(|finding| is_news(finding, before)).map(|finding| finding.in_file(name)));
    }
    if checkpoint.layout == Layout::Hf
        && let Some(shard) =
            checkpoint.shards.iter().find(|shard| matches!(shard.format, Format::Torch | Format::TorchLegacy))
    {
        let message = "the weights are pickled; safetensors would hold them without a program";
        findings.push(Finding::new(Id::PickledWeights, message).in_file(shard.name.clone()));
    }
}

/// Whether a reader has not said as much of the file.
fn is_news(finding: &Finding, before: &[&Finding]) -> bool {
    let said = |id: Id| before.iter().any(|told| told.id == id);
    let damaged = || before.iter().any(|told| told.severity == Severity::Error) || said(Id::PickleInvalid);
    match finding.id {
        Id::PickleDangerous | Id::PickleSmuggled | Id::PickleBomb => true,
        Id::PickleUnknownClass => !said(Id::PickleUnknownClass),
        _ => !damaged(),
    }
}
