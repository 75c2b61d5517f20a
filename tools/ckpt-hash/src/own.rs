//! The files that this run writes, which are no part of what it digests.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use ckpt::manifests::Identity;

/// `--output` and `--cache`, if they are there already, and the file that stdout was led into.
pub(crate) fn identities(named: [&Option<PathBuf>; 2]) -> Vec<Identity> {
    let named = named.into_iter().flatten().filter_map(|path| std::fs::metadata(path).ok());
    let files = named.chain(stdout().ok());
    files.filter(Metadata::is_file).map(|data| Identity::of(&data)).collect()
}

fn stdout() -> io::Result<Metadata> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata()
}
