//! Kinds of damage, by what they are done to. The first tables stand beside the test.

pub(crate) mod adapters;
pub(crate) mod files;
pub(crate) mod mistral;
pub(crate) mod neighbours;
pub(crate) mod ranks;
pub(crate) mod training;
pub(crate) mod trees;

use std::path::Path;

/// What it is, the intact tree, the damage, what must be said: `grade id file tensor`, notes left out.
pub(crate) type Case = (&'static str, &'static str, fn(&Path), &'static [&'static str]);

/// Every table of this folder.
pub(crate) const TABLES: &[&[Case]] =
    &[adapters::CASES, files::CASES, mistral::CASES, neighbours::CASES, ranks::CASES, training::CASES, trees::CASES];

pub(crate) fn write(model: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(model.join(name), bytes).unwrap();
}

pub(crate) fn make(model: &Path, name: &str) {
    std::fs::create_dir(model.join(name)).unwrap();
}

pub(crate) fn remove(model: &Path, names: &[&str]) {
    for name in names {
        std::fs::remove_file(model.join(name)).unwrap();
    }
}

pub(crate) fn rename(model: &Path, from: &str, to: &str) {
    std::fs::rename(model.join(from), model.join(to)).unwrap();
}

pub(crate) fn copy_over(from: &Path, model: &Path, name: &str) {
    std::fs::copy(from, model.join(name)).unwrap();
}

/// Replaces bytes by others of their number, wherever they stand.
pub(crate) fn replace(model: &Path, name: &str, old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let mut file = std::fs::read(model.join(name)).unwrap();
    let places: Vec<usize> =
        file.windows(old.len()).enumerate().filter(|(_, at)| at == &old).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{}", old.escape_ascii());
    for place in places {
        file[place..][..new.len()].copy_from_slice(new);
    }
    write(model, name, &file);
}

/// Cuts bytes off the end.
pub(crate) fn cut(model: &Path, name: &str, bytes: usize) {
    let file = std::fs::read(model.join(name)).unwrap();
    write(model, name, &file[..file.len().checked_sub(bytes).unwrap()]);
}
