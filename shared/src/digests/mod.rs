//! Digest algorithms behind one small type.
