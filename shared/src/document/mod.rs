//! The document the tools exchange: one checkpoint, one line of JSON.
