//! Tokenizer files: tiktoken ranks, SentencePiece models, tokenizer.json; and the vocabulary inside a GGUF file.

mod alphabet;
pub mod ggml;
pub mod json;
mod merges;
pub mod names;
mod protobuf;
pub mod sentencepiece;
pub mod tiktoken;

pub use ggml::Ggml;
pub use json::{Tekken, TokenizerJson};
pub use names::Naming;
pub use sentencepiece::Model;
pub use tiktoken::Ranks;

use crate::facts::{Finding, Id};

/// A tokenizer, by what its file turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Tokenizer {
    /// `tokenizer.model` since Llama 3.
    Tiktoken(Ranks),
    /// `tokenizer.model` before.
    SentencePiece(Box<Model>),
    /// `tokenizer.json`.
    Json(Box<TokenizerJson>),
    /// `tekken.json` of Mistral.
    Tekken(Box<Tekken>),
}

/// Special tokens that a summary names at most.
const NAMED: usize = 32;

/// What can be said of a tokenizer in a line or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `tiktoken`, `sentencepiece`, `tokenizer.json`, `tekken`.
    pub kind: &'static str,
    /// Ids there are, special ones included: the rows that an embedding must have at least.
    pub ids: u64,
    /// How many of them are special.
    pub special: u64,
    /// The id that begins a text, where the file or its code names one.
    pub bos: Option<u64>,
    /// The id that ends one, likewise; of tiktoken and `tokenizer.json`, that of the base models.
    pub eos: Option<u64>,
    /// Special tokens with a name of their own, by id, the first 32; reserved ones are left out. Empty for
    /// tiktoken, whose names stand in the code of each release.
    pub named: Vec<(u32, String)>,
}

/// Reads a tokenizer file of any kind, told by its content.
///
/// # Errors
/// [`Id::TokenizerInvalid`], with the byte where it is known.
pub fn read(file: &[u8]) -> Result<Tokenizer, Finding> {
    // Fields of a SentencePiece model begin with the first piece: field 1, of the wire type for messages. A line
    // of ranks begins with base64, and no base64 begins with either of the others.
    match file.trim_ascii_start().first() {
        _ if file.first() == Some(&0x0A) => Ok(Tokenizer::SentencePiece(Box::new(Model::parse(file)?))),
        Some(b'{') => Ok(match json::parse(file)? {
            json::Parsed::Tokenizer(json) => Tokenizer::Json(json),
            json::Parsed::Tekken(tekken) => Tokenizer::Tekken(tekken),
        }),
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => {
            Ok(Tokenizer::Tiktoken(Ranks::parse(file)?))
        }
        Some(_) => Err(Finding::new(
            Id::TokenizerInvalid,
            "the file is no tokenizer: neither tiktoken ranks, nor a SentencePiece model, nor JSON",
        )
        .at(0)),
        None => Err(Finding::new(Id::TokenizerInvalid, "the file is empty").at(0)),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Tokenizer {
    /// The line or two.
    pub fn summary(&self) -> Summary {
        match self {
            Tokenizer::Tiktoken(ranks) => {
                let ranks = count(ranks.len());
                let special = u64::from(names::slots(ranks));
                Summary {
                    kind: "tiktoken",
                    ids: ranks.saturating_add(special),
                    special,
                    bos: Some(ranks),
                    eos: Some(ranks.saturating_add(1)),
                    named: Vec::new(),
                }
            }
            Tokenizer::SentencePiece(model) => {
                use sentencepiece::PieceKind::{Control, Unknown};
                let special = (0..).zip(&model.pieces).filter(|(_, piece)| matches!(piece.kind, Control | Unknown));
                let special: Vec<(u32, String)> = special.map(|(id, piece)| (id, piece.text.clone())).collect();
                Summary {
                    bos: model.bos.map(u64::from),
                    eos: model.eos.map(u64::from),
                    ..Summary::new("sentencepiece", count(model.pieces.len()), special)
                }
            }
            Tokenizer::Json(json) => {
                let special = json.added.iter().filter(|added| added.special);
                let mut special: Vec<(u32, String)> = special.map(|added| (added.id, added.content.clone())).collect();
                special.sort_unstable();
                Summary::new("tokenizer.json", json.ids(), special)
            }
            Tokenizer::Tekken(tekken) => {
                let named = (0..).zip(tekken.special.iter().cloned());
                let special = named.clone().filter(|(_, name)| !name.starts_with("<SPECIAL_")).collect();
                Summary { special: count(named.count()), ..Summary::new("tekken", tekken.ids(), special) }
            }
        }
    }
}

impl Summary {
    fn new(kind: &'static str, ids: u64, mut named: Vec<(u32, String)>) -> Summary {
        let special = count(named.len());
        named.retain(|(_, name)| !name.contains("reserved_special_token"));
        named.truncate(NAMED);
        let id = |names: [&str; 2]| {
            named.iter().find(|(_, name)| names.contains(&name.as_str())).map(|(id, _)| u64::from(*id))
        };
        let (bos, eos) = (id(["<|begin_of_text|>", "<s>"]), id(["<|end_of_text|>", "</s>"]));
        Summary { kind, ids, special, bos, eos, named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_by_its_content() {
        let ranks = Ranks::from_tokens((0..=u8::MAX).map(|byte| [byte])).unwrap();
        let tiktoken = read(&ranks.write()).unwrap().summary();
        assert_eq!((tiktoken.kind, tiktoken.ids, tiktoken.special), ("tiktoken", 512, 256));
        assert_eq!((tiktoken.bos, tiktoken.eos), (Some(256), Some(257)));
        let json = json::from_ranks(&ranks, &Naming::Llama3.names(), json::MergeForm::Pairs).unwrap();
        let json = read(&json).unwrap().summary();
        assert_eq!((json.kind, json.ids, json.special, json.named.len()), ("tokenizer.json", 512, 256, 5));
        assert_eq!((json.bos, json.eos), (Some(256), Some(257)));
        let unk = sentencepiece::Piece { text: "<unk>".into(), score: 0.0, kind: sentencepiece::PieceKind::Unknown };
        let model = Model { bos: None, eos: None, ..Model::llama(vec![unk]) };
        let model = read(&model.write()).unwrap().summary();
        assert_eq!((model.kind, model.ids, model.named), ("sentencepiece", 1, vec![(0, "<unk>".to_owned())]));
        let tekken = read(json::tests::file().to_string().as_bytes()).unwrap().summary();
        assert_eq!((tekken.kind, tekken.ids, tekken.special, tekken.named.len()), ("tekken", 280, 22, 20));
        assert_eq!((tekken.bos, tekken.eos), (Some(1), Some(2)));
    }

    #[test]
    fn what_is_no_tokenizer_is_said() {
        for file in [&b""[..], b"<html>", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04", b"\x0a"] {
            assert_eq!(read(file).unwrap_err().id, Id::TokenizerInvalid);
        }
    }
}
