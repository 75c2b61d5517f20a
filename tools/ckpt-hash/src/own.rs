//! The files that this run writes, which are no part of what it digests.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ckpt::manifests::Identity;

/// `--output`, if it is there already, and the file that stdout was led into.
pub(crate) fn identities(output: Option<&Path>) -> Vec<Identity> {
    let file = output.and_then(|path| std::fs::metadata(path).ok());
    let files = [file, stdout().ok()].into_iter().flatten();
    files.filter(Metadata::is_file).map(|data| Identity::of(&data)).collect()
}

fn stdout() -> io::Result<Metadata> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata()
}
