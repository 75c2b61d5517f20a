//! Exhaustive damage: every small fixture cut at every length and with every byte changed. Never a panic; always a table
//! whose recipes stay within the file, or a finding that says what is wrong.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ckpt::digests::Algorithm;
use ckpt::facts::{FileId, Finding, Progress, check};
use ckpt::plan::digest;
use ckpt::plan::read::Reader;
use ckpt::{formats, layouts, tokenizers};

/// Larger files are of the same formats as these.
const SMALL: usize = 12_000;
/// What bytes are changed with, in turn: the lowest bit, the sign, all of it.
const CHANGES: [u8; 3] = [0x01, 0x80, 0xff];
/// One in so many is also written out and opened as a checkpoint, and its values read.
const SAMPLE: usize = 509;

/// One way to damage a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut(usize),
    Change(usize, u8),
}

impl Damage {
    fn of(self, file: &[u8]) -> Vec<u8> {
        let mut copy = file.to_vec();
        match self {
            Self::Cut(length) => copy.truncate(length),
            Self::Change(place, mask) => copy.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= mask),
        }
        copy
    }
}

/// Every damage of a file, each `stride`-th place.
fn damages(length: usize, stride: usize) -> Vec<Damage> {
    let places = || (0..length).step_by(stride);
    let changes = places().zip(CHANGES.into_iter().cycle()).map(|(place, mask)| Damage::Change(place, mask));
    places().map(Damage::Cut).chain(changes).collect()
}

fn fixtures(keep: impl Fn(&str, usize) -> bool) -> Vec<(PathBuf, Vec<u8>)> {
    ckpt_tests::files(&ckpt_tests::folder().join("fixtures"))
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).expect("a fixture")))
        .filter(|(path, file)| keep(&path.to_string_lossy(), file.len()))
        .collect()
}

/// Runs `look` on every damaged copy, on all processors, and says which one made it panic.
fn damage_all(files: &[(PathBuf, Vec<u8>)], stride: usize, look: impl Fn(&[u8], usize) + Sync) -> usize {
    let work: Vec<(usize, Damage)> = files
        .iter()
        .enumerate()
        .flat_map(|(place, (_, file))| damages(file.len(), stride).into_iter().map(move |damage| (place, damage)))
        .collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((place, damage)) = work.get(number) else { break };
                    let (path, file) = files.get(*place).expect("a file");
                    let copy = damage.of(file);
                    let seen = catch_unwind(AssertUnwindSafe(|| look(&copy, number)));
                    assert!(seen.is_ok(), "{}: {damage:?}", path.display());
                }
            });
        }
    });
    work.len()
}

/// A finding says something, and its place lies within the file.
fn is_useful(finding: &Finding, size: usize) {
    assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{finding}");
    let within = finding.offset.is_none_or(|offset| usize::try_from(offset).is_ok_and(|offset| offset <= size));
    assert!(within, "{finding}: the file has {size} bytes");
}

#[test]
fn weight_files() {
    // A model of each family is one more file of safetensors or GGUF.
    let files = fixtures(|path, length| length <= SMALL && !path.ends_with(".json") && !path.contains("/families/"));
    assert!(files.len() > 80, "{} files", files.len());
    let folder = tempfile::tempdir().expect("a folder");
    let tables = AtomicUsize::new(0);
    let all = damage_all(&files, 1, |copy, number| {
        match formats::open(&copy.to_vec(), FileId(0)) {
            Ok((_, container)) => {
                tables.fetch_add(1, Ordering::Relaxed);
                let size = |_| u64::try_from(copy.len()).unwrap_or(u64::MAX);
                for tensor in &container.tensors {
                    let _ = check::check(&tensor.recipe, &size);
                }
            }
            Err(finding) => is_useful(&finding, copy.len()),
        }
        if number.is_multiple_of(SAMPLE) {
            read_through(&folder.path().join(format!("{number}.bin")), copy);
        }
    });
    let tables = tables.into_inner();
    // Most bytes of a file are data, so most changes leave it readable; most cuts do not.
    assert!(all > 300_000 && tables > all / 10 && tables < all, "{tables} of {all} were read");
}

/// Opens a damaged file as a checkpoint and reads every value of its table.
fn read_through(path: &Path, copy: &[u8]) {
    std::fs::write(path, copy).expect("a copy");
    let checkpoint = layouts::open(path, None, 1).expect("the path is there");
    assert!(!checkpoint.tensors.is_empty() || !checkpoint.findings.is_empty());
    let reader = Reader::new(&checkpoint.pool);
    for tensor in &checkpoint.tensors {
        // What has no data says so; nothing else may fail in a table that was checked.
        let _ = digest::values(&reader, &[&tensor.recipe], Algorithm::Sha256, 1, &Progress::default());
    }
    std::fs::remove_file(path).expect("it was there");
}

#[test]
fn tokenizers_of_all_kinds() {
    let files = fixtures(|path, _| path.ends_with("tokenizer.model") || path.ends_with("tokenizer.json"));
    assert!(files.len() >= 5, "{} files", files.len());
    damage_all(&files, 211, |copy, _| {
        if let Err(finding) = tokenizers::read(copy) {
            is_useful(&finding, copy.len());
        }
    });
}

#[test]
fn small_files_beside_the_weights() {
    for (folder, name) in [
        ("hf-tiny", "config.json"),
        ("hf-tiny", "model.safetensors.index.json"),
        ("tiny-llama2/mp2", "params.json"),
        ("distcp/threads", ".metadata"),
        ("distcp/each-rank", "__1.metadata"),
        ("safetensors/sharded", "model.safetensors.index.json"),
    ] {
        let source = ckpt_tests::folder().join("fixtures").join(folder);
        let room = tempfile::tempdir().expect("a folder");
        for path in ckpt_tests::files(&source) {
            let link = room.path().join(path.file_name().expect("a name"));
            std::os::unix::fs::symlink(path, link).expect("a link");
        }
        let path = room.path().join(name);
        let file = std::fs::read(&path).expect("a file");
        for (number, damage) in damages(file.len(), 5).into_iter().enumerate() {
            std::fs::remove_file(&path).expect("it was there");
            std::fs::write(&path, damage.of(&file)).expect("a copy");
            let seen = catch_unwind(|| layouts::open(room.path(), None, 1).expect("the path is there"));
            let checkpoint = seen.unwrap_or_else(|_| panic!("{folder}/{name}: {damage:?} (number {number})"));
            assert!(!checkpoint.tensors.is_empty() || !checkpoint.findings.is_empty(), "{folder}/{name}: {damage:?}");
        }
    }
}
