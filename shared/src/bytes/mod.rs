//! Bytes from outside: a bounded cursor over a buffer, positioned reads behind one small interface, and threads to
//! do them on.

pub mod care;
pub mod cursor;
pub mod holes;
pub mod part;
pub mod pool;
pub mod source;
pub mod work;

pub use care::Care;
pub use cursor::{Cursor, Short};
pub use part::Part;
pub use pool::Pool;
pub use source::{FileSource, ReadAt};

/// A size in memory from a size in a file. Saturates where memory is smaller, so that the allocation that follows is
/// refused instead of cut short.
pub fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A size in a file from a size in memory.
pub fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
