//! The built tools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The four of them.
pub const TOOLS: [&str; 4] = ["ckpt-inspect", "ckpt-convert", "ckpt-verify", "ckpt-hash"];

/// The folder with the four tools: that of `CKPT_BIN`, or the one of this test's own build, where they are built once.
pub fn bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| std::env::var_os("CKPT_BIN").map_or_else(build, PathBuf::from))
}

/// A test lies in `TARGET/PROFILE/deps`, the tools in `TARGET/PROFILE`.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("a folder of the profile").to_owned();
    let target = profile.parent().expect("a target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::tree()).args(["build", "--quiet", "--locked", "--bins", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the tools cannot be built");
    profile
}

/// `PATH` with the tools in front.
pub fn path() -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin().to_owned()).chain(std::env::split_paths(&rest))).expect("a search path")
}
