//! Digests of files and values against plain ones, and files that change under the hand.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::bytes::{Care, Pool};
use crate::facts::{Dtype, Finding, Id, Op};

const SIZES: [usize; 4] = [0, 17, 3 << 20, (2 << 20) + 5];

fn files() -> (tempfile::TempDir, Vec<Vec<u8>>, Pool) {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = Pool::new();
    let mut contents = Vec::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let content: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> (number + 7)) as u8).collect();
        let path = folder.path().join(number.to_string());
        fs::write(&path, &content).unwrap();
        pool.add(path, number.to_string());
        contents.push(content);
    }
    (folder, contents, pool)
}

fn bytes(file: usize, offset: u64, count: u64) -> Recipe {
    Recipe::bytes(Dtype::U8, vec![count], FileId(file), offset)
}

#[test]
fn a_rate_counts_every_byte_once_however_many_threads_look_at_it() {
    let (_keep, contents, mut pool) = files();
    let value = bytes(2, 0, 3 << 20);
    for jobs in [1, 2, 3] {
        let care = Arc::new(Care::new(u64::MAX));
        pool.set_care(Some(Arc::clone(&care)));
        let all: Vec<FileId> = (0..contents.len()).map(FileId).collect();
        take(&Reader::new(&pool), &all, &[&value], Algorithm::Sha256, jobs, &Progress::default()).unwrap();
        assert_eq!(care.counted(), SIZES.iter().sum::<usize>() as u64, "{jobs} threads");
    }
}

#[test]
fn digests_are_the_same_whatever_the_number_of_threads() {
    let (_keep, contents, pool) = files();
    let swapped = {
        let of = Arc::new(Recipe::bytes(Dtype::U16, vec![1 << 20], FileId(2), 4));
        Recipe { dtype: Dtype::U16, shape: of.shape.clone(), op: Op::ByteSwap(of) }
    };
    let recipes = [
        bytes(2, 100, 2 << 20),
        bytes(1, 3, 4),
        swapped.clone(),
        bytes(2, 100, 2 << 20),
        bytes(3, 0, 2 << 20),
        bytes(2, 1 << 20, 1 << 20),
        bytes(0, 0, 0),
        swapped,
    ];
    let recipes: Vec<&Recipe> = recipes.iter().collect();
    let plain = |recipe: &Recipe| {
        let mut value = Vec::new();
        let (reader, progress) = (Reader::new(&pool), Progress::default());
        let sink = |_: &_, bytes: &[u8]| {
            value.extend_from_slice(bytes);
            Ok(())
        };
        reader.stream(recipe, 1000, &progress, sink).unwrap();
        Algorithm::Sha256.of(&value)
    };
    let wanted: Vec<String> = recipes.iter().map(|recipe| plain(recipe)).collect();
    for files in [&[][..], &[2], &[3, 1, 0, 2]] {
        let files: Vec<FileId> = files.iter().copied().map(FileId).collect();
        for jobs in [1, 2, 3, 16] {
            let progress = Progress::default();
            let taken = take(&Reader::new(&pool), &files, &recipes, Algorithm::Sha256, jobs, &progress).unwrap();
            assert_eq!(taken.values, wanted);
            let wholes: Vec<Whole> = files
                .iter()
                .map(|file| {
                    let content = &contents[file.0];
                    Whole { size: content.len() as u64, digest: Algorithm::Sha256.of(content) }
                })
                .collect();
            assert_eq!(taken.files, wholes);
            let (done, expected) = progress.seen();
            assert_eq!(done, expected, "{files:?}");
        }
    }
}

#[test]
fn a_file_that_changes_is_an_error_that_names_it() {
    let take = |pool: &Pool, jobs| {
        let files: Vec<FileId> = (0..SIZES.len()).map(FileId).collect();
        let recipe = bytes(2, 0, 3 << 20);
        let result = take(&Reader::new(pool), &files, &[&recipe], Algorithm::Md5, jobs, &Progress::default());
        let error = result.unwrap_err();
        error.downcast_ref::<Finding>().map(|finding| (finding.id, finding.file.clone())).unwrap()
    };
    let open = |path: PathBuf| fs::OpenOptions::new().write(true).open(path).unwrap();
    for jobs in [1, 2, 8] {
        let (folder, _, pool) = files();
        pool.get(FileId(2)).unwrap();
        open(folder.path().join("2")).set_len(1 << 20).unwrap();
        assert_eq!(take(&pool, jobs), (Id::FileChanged, Some("2".to_owned())));

        let (folder, _, pool) = files();
        pool.get(FileId(1)).unwrap();
        open(folder.path().join("1")).set_len(18).unwrap();
        assert_eq!(take(&pool, jobs), (Id::FileChanged, Some("1".to_owned())));

        let (folder, _, pool) = files();
        fs::remove_file(folder.path().join("0")).unwrap();
        assert_eq!(take(&pool, jobs), (Id::FileUnreadable, Some("0".to_owned())));
    }
}

#[test]
fn a_signal_stops_the_work() {
    let (_keep, _, pool) = files();
    let progress = Progress::default();
    progress.stop_flag().store(true, std::sync::atomic::Ordering::Relaxed);
    let recipe = bytes(2, 0, 3 << 20);
    let result = take(&Reader::new(&pool), &[FileId(2), FileId(3)], &[&recipe], Algorithm::Sha256, 4, &progress);
    assert!(result.unwrap_err().is::<crate::facts::Stopped>());
}
