//! ckpt-convert.

fn main() {}
