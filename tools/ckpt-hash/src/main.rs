//! ckpt-hash.

fn main() {}
