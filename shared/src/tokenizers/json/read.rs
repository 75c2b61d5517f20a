//! Reading `tokenizer.json` and `tekken.json`: both are told apart by their keys, in one pass over the text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Added, Tekken, tekken};
use crate::facts::{Finding, Id};

/// A `tokenizer.json`, as far as its encodings depend on it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenizerJson {
    /// `BPE`, `Unigram`, `WordPiece`, `WordLevel`; empty in old files that do not say.
    pub model: String,
    /// Tokens of the model, by id.
    pub vocab: Vec<(u32, String)>,
    /// Pairs of ids, in the order of merging; empty but for BPE.
    pub merges: Vec<(u32, u32)>,
    /// Tokens found before the model looks at the text, in the order of the file.
    pub added: Vec<Added>,
    /// The token for what the model cannot spell.
    pub unk: Option<String>,
    /// Bytes stand for what the model cannot spell.
    pub byte_fallback: bool,
    /// Words that are tokens are taken whole.
    pub ignore_merges: bool,
    /// Something before or after the parts of a word (`continuing_subword_prefix`, `end_of_word_suffix`).
    pub affixes: bool,
    /// The step that rewrites the text, as the file says it.
    pub normalizer: Value,
    /// The step that cuts it into words.
    pub pre_tokenizer: Value,
    /// The step that puts tokens around it.
    pub post_processor: Value,
}

/// What a JSON file turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Of the tokenizers library.
    Tokenizer(Box<TokenizerJson>),
    /// Of Mistral.
    Tekken(Box<Tekken>),
}

/// The keys of both files. What is not asked for is skipped without being kept.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    model: Option<RawModel<'a>>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    config: Option<tekken::Config>,
    #[serde(borrow, default)]
    vocab: Vec<tekken::Token<'a>>,
    special_tokens: Option<Vec<tekken::Special>>,
}

#[derive(Deserialize)]
struct RawModel<'a> {
    #[serde(default)]
    r#type: String,
    #[serde(borrow)]
    vocab: RawVocab<'a>,
    #[serde(borrow, default)]
    merges: Vec<RawMerge<'a>>,
    unk_token: Option<String>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Text that is borrowed from the file where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A map from tokens to ids, or (Unigram) a list of tokens with scores.
struct RawVocab<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawVocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawVocab<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids, or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    tokens.push((token, id));
                }
                Ok(RawVocab(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                let mut ids = 0..;
                while let Some((Text(token), IgnoredAny)) = list.next_element()? {
                    tokens.push((token, ids.next().unwrap_or(u32::MAX)));
                }
                Ok(RawVocab(tokens))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `"a b"` or `["a", "b"]`.
enum RawMerge<'a> {
    Joined(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for RawMerge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawMerge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens, in a list or with a space between them")
            }

            fn visit_borrowed_str<E>(self, joined: &'de str) -> Result<Self::Value, E> {
                Ok(RawMerge::Joined(Cow::Borrowed(joined)))
            }

            fn visit_str<E>(self, joined: &str) -> Result<Self::Value, E> {
                Ok(RawMerge::Joined(Cow::Owned(joined.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut half = |length| list.next_element()?.ok_or_else(|| Error::invalid_length(length, &self));
                let (Text(left), Text(right)) = (half(0)?, half(1)?);
                match list.next_element()? {
                    None => Ok(RawMerge::Pair(left, right)),
                    Some(IgnoredAny) => Err(Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl RawMerge<'_> {
    /// The two tokens; the library as well wants exactly one space in a joined one.
    fn halves(&self) -> Option<(&str, &str)> {
        match self {
            RawMerge::Joined(joined) => joined.split_once(' ').filter(|(_, right)| !right.contains(' ')),
            RawMerge::Pair(left, right) => Some((left, right)),
        }
    }
}

const NEITHER: &str = "the JSON file is no tokenizer: it has neither `model` nor Mistral's `config`";

fn invalid(message: impl Into<String>) -> Finding {
    Finding::new(Id::TokenizerInvalid, message)
}

/// The byte at which `serde_json` stopped, from the line and column it counts.
fn offset(text: &[u8], error: &serde_json::Error) -> u64 {
    let before = error.line().saturating_sub(1);
    let lines: usize = text.split_inclusive(|&byte| byte == b'\n').take(before).map(<[u8]>::len).sum();
    u64::try_from(lines.saturating_add(error.column().saturating_sub(1))).unwrap_or(u64::MAX)
}

/// Reads the text of either file.
///
/// # Errors
/// [`Id::TokenizerInvalid`], with the byte where it is not JSON or not what a key should hold; without one for
/// a token or an id that occurs twice, or a merge of what are no tokens.
pub fn parse(text: &[u8]) -> Result<Parsed, Finding> {
    let raw: Raw<'_> =
        serde_json::from_slice(text).map_err(|error| invalid(error.to_string()).at(offset(text, &error)))?;
    match raw {
        Raw { model: Some(model), added_tokens, normalizer, pre_tokenizer, post_processor, .. } => {
            let mut tokenizer = model.resolve()?;
            tokenizer.added = added_tokens;
            tokenizer.normalizer = normalizer;
            tokenizer.pre_tokenizer = pre_tokenizer;
            tokenizer.post_processor = post_processor;
            Ok(Parsed::Tokenizer(Box::new(tokenizer)))
        }
        Raw { config: Some(config), vocab, special_tokens, .. } => match Tekken::of(config, &vocab, special_tokens) {
            Some(tekken) => Ok(Parsed::Tekken(Box::new(tekken?))),
            None => Err(invalid(NEITHER)),
        },
        Raw { .. } => Err(invalid(NEITHER)),
    }
}

impl RawModel<'_> {
    fn resolve(self) -> Result<TokenizerJson, Finding> {
        let RawVocab(vocab) = self.vocab;
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(vocab.len());
        for (token, id) in &vocab {
            if ids.insert(token, *id).is_some() {
                return Err(invalid(format!("the token {token:?} stands twice in the vocabulary")));
            }
        }
        let mut merges = Vec::with_capacity(self.merges.len());
        for (number, merge) in self.merges.iter().enumerate() {
            let pair = merge.halves().and_then(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?)));
            merges.push(pair.ok_or_else(|| invalid(format!("merge {number} is not of two tokens of the vocabulary")))?);
        }
        let mut vocab: Vec<(u32, String)> = vocab.into_iter().map(|(token, id)| (id, token.into_owned())).collect();
        vocab.sort_unstable();
        if let Some([(id, ..), _]) = vocab.array_windows().find(|[(left, _), (right, _)]| left == right) {
            return Err(invalid(format!("two tokens have the id {id}")));
        }
        Ok(TokenizerJson {
            model: self.r#type,
            vocab,
            merges,
            unk: self.unk_token,
            byte_fallback: self.byte_fallback.unwrap_or_default(),
            ignore_merges: self.ignore_merges.unwrap_or_default(),
            affixes: [self.continuing_subword_prefix, self.end_of_word_suffix]
                .iter()
                .flatten()
                .any(|affix| !affix.is_empty()),
            ..TokenizerJson::default()
        })
    }
}

impl TokenizerJson {
    /// One more than the largest id: the rows that an embedding must have at least.
    pub fn ids(&self) -> u64 {
        let model = self.vocab.last().map(|(id, _)| *id);
        let added = self.added.iter().map(|added| added.id).max();
        model.max(added).map_or(0, |id| u64::from(id).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"added_tokens":[{"id":4,"content":"<s>","special":true}],"normalizer":null,
        "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":3,"é":2},"merges":["a b"],"extra":[1]}}"#;

    fn read(text: &str) -> TokenizerJson {
        match parse(text.as_bytes()) {
            Ok(Parsed::Tokenizer(tokenizer)) => *tokenizer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_spellings_of_a_merge_are_read() {
        let strings = read(SMALL);
        assert_eq!(strings.merges, [(0, 1)]);
        assert_eq!(strings.vocab[2], (2, "é".to_owned()));
        assert_eq!(strings.ids(), 5);
        assert!(strings.added[0].special && !strings.added[0].normalized);
        assert_eq!(read(&SMALL.replace(r#""a b""#, r#"["a","b"]"#)), strings);
    }

    #[test]
    fn other_kinds_are_counted() {
        let unigram = read(r#"{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5]]}}"#);
        assert_eq!((unigram.model.as_str(), unigram.ids()), ("Unigram", 2));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |from: &str, to: &str| parse(SMALL.replace(from, to).as_bytes()).unwrap_err();
        assert!(wrong(r#""a b""#, r#""a c""#).message.contains("merge 0"));
        assert!(wrong(r#""a b""#, r#""a b c""#).message.contains("merge 0"));
        assert!(wrong(r#""é":2"#, r#""é":3"#).message.contains("id 3"));
        assert!(wrong(r#""é":2"#, r#""a":2"#).message.contains("twice"));
        assert_eq!(wrong(r#""id":4"#, r#""id":-4"#).offset, Some(24));
        assert!(parse(b"{}").unwrap_err().message.contains("neither"));
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_cut_file_never_panics() {
        for end in 0..SMALL.len() {
            assert!(parse(&SMALL.as_bytes()[..end]).is_err());
        }
    }
}
