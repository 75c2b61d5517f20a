//! ckpt-convert.

#[allow(dead_code, unused_imports, reason = "the commands that use it are not written yet")]
mod metadata;

fn main() {}
