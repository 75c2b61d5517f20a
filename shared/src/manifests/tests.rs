//! Manifests of real folders, taken, written, read and checked.
