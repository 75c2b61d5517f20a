//! Bytes from outside: a bounded cursor over a buffer, and positioned reads behind one small interface.

pub mod cursor;
pub mod source;

pub use cursor::{Cursor, Short};
pub use source::{FileSource, ReadAt};
