//! ckpt-inspect.

fn main() {}
