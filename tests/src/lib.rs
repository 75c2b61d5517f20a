//! Drives the real binaries; see `tests/`.
