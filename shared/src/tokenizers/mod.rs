//! Tokenizer files: tiktoken ranks, SentencePiece models, tokenizer.json.

mod alphabet;
pub mod json;
mod merges;
pub mod names;
mod protobuf;
pub mod sentencepiece;
pub mod tiktoken;

pub use names::Naming;
pub use sentencepiece::Model;
pub use tiktoken::Ranks;
