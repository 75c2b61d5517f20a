//! A path on disk to a checkpoint and back.
