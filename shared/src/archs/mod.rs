//! Names and shapes of model families, one table a family.

pub mod llama;
