//! The dense Llama family: Llama 1, 2, Code Llama, 3, 3.1, 3.2 (text), 3.3 and the Guards made of them.

pub mod facts;
pub mod ffn;
pub mod infer;

pub use facts::{Generation, ModelFacts, RopeScaling};
pub use infer::{Inference, Inferred};
