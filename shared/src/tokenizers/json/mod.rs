//! `tokenizer.json` of Hugging Face's tokenizers library: written from Meta's two kinds of files and from Mistral's, read,
//! and turned back into Meta's.

mod read;
mod tekken;
mod to_ranks;
mod to_sentencepiece;
mod write;

use serde::{Deserialize, Serialize};

use super::sentencepiece::{Model, PieceKind};

pub use read::{Parsed, TokenizerJson, parse};
pub use tekken::Tekken;
pub use to_ranks::{MetaRanks, to_ranks};
pub use to_sentencepiece::to_sentencepiece;
pub use write::{MergeForm, from_ranks, from_ranks_cut, from_sentencepiece, from_tekken};
pub(super) use write::{byte_pairs, from_pieces};

/// The expression by which Llama 3 cuts text into words before it looks for tokens (`pat_str`).
pub const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The expression by which Llama 4 cuts text into words (`O200K_PATTERN`).
pub const LLAMA4_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[cfg(test)]
pub(in crate::tokenizers) use tekken::tests;

/// The character by which SentencePiece writes a space.
const SPACE: &str = "\u{2581}";

/// A token that is found in text before the model looks at it.
#[expect(clippy::struct_excessive_bools, reason = "the fields are those of the file")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Not inside a word.
    #[serde(default)]
    pub single_word: bool,
    /// Takes the spaces before it along.
    #[serde(default)]
    pub lstrip: bool,
    /// Takes the spaces after it along.
    #[serde(default)]
    pub rstrip: bool,
    /// Looked for in normalized text.
    #[serde(default)]
    pub normalized: bool,
    /// Left out when text is made of tokens.
    #[serde(default)]
    pub special: bool,
}

impl Added {
    /// A token that means something to the model and not to readers.
    pub fn special(id: u32, content: &str) -> Added {
        Added {
            id,
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    /// Those of a SentencePiece model, sorted by id.
    pub fn of_model(model: &Model) -> Vec<Added> {
        (0..)
            .zip(&model.pieces)
            .filter(|(_, piece)| piece.kind.is_added())
            .map(|(id, piece)| Added {
                special: piece.kind != PieceKind::UserDefined,
                ..Added::special(id, &piece.text)
            })
            .collect()
    }
}
