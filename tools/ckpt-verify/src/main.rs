//! ckpt-verify.

fn main() {}
