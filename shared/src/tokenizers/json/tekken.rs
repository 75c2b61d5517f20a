//! `tekken.json`, the tokenizer of Mistral's models since Nemo: tiktoken's ranks behind the ids of special tokens.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::facts::{Finding, Id};
use crate::tokenizers::tiktoken::Ranks;

/// The file, as far as encodings depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tekken {
    /// The expression that cuts text into words.
    pub pattern: String,
    /// The names of the special tokens, whose ids are the first.
    pub special: Vec<String>,
    /// The tokens behind them; the file may hold more, which no id is for.
    pub ranks: Ranks,
}

/// Names of the special tokens where the file does not say them (`Tekkenizer.DEPRECATED_SPECIAL_TOKENS` of
/// `mistral_common`), up to version 7.
const NAMES: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// Special tokens that a file can reasonably have: the releases have 1000.
const MOST_SPECIAL: u64 = 1 << 16;

/// `config`.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    pattern: Option<String>,
    default_vocab_size: Option<u64>,
    default_num_special_tokens: Option<u64>,
}

/// One of `vocab`.
#[derive(Debug, Deserialize)]
pub(super) struct Token<'a> {
    rank: u64,
    #[serde(borrow)]
    token_bytes: Cow<'a, str>,
}

/// One of `special_tokens`.
#[derive(Debug, Deserialize)]
pub(super) struct Special {
    rank: u64,
    token_str: String,
}

fn invalid(message: impl Into<String>) -> Finding {
    Finding::new(Id::TokenizerInvalid, message)
}

impl Tekken {
    /// Ids that the model has.
    pub fn ids(&self) -> u64 {
        let [special, ranks] =
            [self.special.len(), self.ranks.len()].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        special.saturating_add(ranks)
    }

    /// The id of a special token.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.special.iter().position(|own| own == name).and_then(|id| u32::try_from(id).ok())
    }

    /// From the parts of the file; `None` if its `config` is not that of such a file.
    ///
    /// # Errors
    /// [`Id::TokenizerInvalid`]: ranks that do not count up, are too few or no base64, special tokens twice or with gaps.
    pub(super) fn of(
        config: Config,
        vocab: &[Token<'_>],
        special: Option<Vec<Special>>,
    ) -> Option<Result<Tekken, Finding>> {
        let (pattern, size) = (config.pattern?, config.default_vocab_size?);
        Some(Tekken::checked(pattern, size, config.default_num_special_tokens.unwrap_or(0), vocab, special))
    }

    fn checked(
        pattern: String,
        size: u64,
        slots: u64,
        vocab: &[Token<'_>],
        special: Option<Vec<Special>>,
    ) -> Result<Tekken, Finding> {
        let wanted = size.checked_sub(slots).filter(|_| slots <= MOST_SPECIAL);
        let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok()).ok_or_else(|| {
            invalid("the special tokens are more than all ids").needed(format!("at most {size}"), slots)
        })?;
        let used = vocab.get(..wanted).ok_or_else(|| {
            invalid("the file holds fewer tokens than its vocabulary has").needed(wanted, vocab.len())
        })?;
        let mut tokens = Vec::with_capacity(used.len());
        for (rank, token) in (0..).zip(used) {
            if token.rank != rank {
                return Err(invalid("ranks do not count up one by one").needed(rank, token.rank));
            }
            let bytes = STANDARD.decode(token.token_bytes.as_bytes());
            tokens.push(bytes.map_err(|error| invalid(format!("token {rank} is not base64: {error}")))?);
        }
        Ok(Tekken { pattern, special: names(slots, special)?, ranks: Ranks::from_tokens(tokens)? })
    }
}

/// The names of so many slots: those of the file or of the code, and fillers behind them.
fn names(slots: u64, special: Option<Vec<Special>>) -> Result<Vec<String>, Finding> {
    let mut names: Vec<String> = match special {
        None => NAMES.map(str::to_owned).to_vec(),
        Some(mut special) => {
            special.sort_by_key(|special| special.rank);
            if let Some((rank, found)) = (0..).zip(&special).find(|(rank, found)| found.rank != *rank) {
                return Err(invalid("special tokens do not count up one by one").needed(rank, found.rank));
            }
            special.into_iter().map(|special| special.token_str).collect()
        }
    };
    let told = u64::try_from(names.len()).unwrap_or(u64::MAX);
    if told > slots {
        return Err(invalid("there are more special tokens than ids for them").needed(slots, told));
    }
    names.extend((told..slots).map(|id| format!("<SPECIAL_{id}>")));
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(invalid(format!("two special tokens are called {name:?}"))),
        None => Ok(names),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::super::{Parsed, parse};
    use super::*;

    /// All single bytes, two words, and one more that the vocabulary does not count; 22 special tokens.
    pub(crate) fn file() -> Value {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        let words = ["th", "the", "thee"].map(|word| word.as_bytes().to_vec());
        let token = |(rank, bytes): (usize, Vec<u8>)| json!({"rank": rank, "token_bytes": STANDARD.encode(&bytes), "token_str": String::from_utf8(bytes).ok()});
        let vocab: Vec<Value> = bytes.chain(words).enumerate().map(token).collect();
        json!({"config": config(22), "vocab": vocab})
    }

    fn config(special: u64) -> Value {
        json!({"pattern": r"\p{L}+|.", "default_vocab_size": 258 + special, "default_num_special_tokens": special})
    }

    fn read(file: &Value) -> Result<Tekken, Finding> {
        match parse(file.to_string().as_bytes())? {
            Parsed::Tekken(tekken) => Ok(*tekken),
            Parsed::Tokenizer(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_are_those_of_the_vocabulary() {
        let tekken = read(&file()).unwrap();
        assert_eq!((tekken.ids(), tekken.ranks.len(), tekken.special.len()), (280, 258, 22));
        assert_eq!((tekken.id("</s>"), tekken.id("<SPECIAL_21>"), tekken.id("the")), (Some(2), Some(21), None));
        assert_eq!(tekken.ranks.tokens().last(), Some(&b"the"[..]));
        let mut named = file();
        named["special_tokens"] =
            json!([{"rank": 1, "token_str": "<b>"}, {"rank": 0, "token_str": "<a>", "is_control": true}]);
        let named = read(&named).unwrap();
        assert_eq!((named.id("<a>"), named.id("<SPECIAL_2>"), named.id("<s>")), (Some(0), Some(2), None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |path: &str, value: Value| {
            let mut file = file();
            *file.pointer_mut(path).unwrap() = value;
            read(&file).unwrap_err().message
        };
        for (path, value, word) in [
            ("/config/default_vocab_size", json!(1000), "fewer tokens"),
            ("/config/default_vocab_size", json!(10), "more than all ids"),
            ("/config", config(19), "more special tokens"),
            ("/config/default_num_special_tokens", json!(u64::MAX), "more than all ids"),
            ("/vocab/7/rank", json!(8), "count up"),
            ("/vocab/7/token_bytes", json!("!"), "base64"),
            ("/vocab/257/token_bytes", json!("dGg="), "twice"),
            ("/config/pattern", json!(null), "neither"),
        ] {
            let said = wrong(path, value);
            assert!(said.contains(word), "{path}: {said}");
        }
        let mut twice = file();
        twice["special_tokens"] = json!([{"rank": 0, "token_str": "a"}, {"rank": 1, "token_str": "a"}]);
        assert!(read(&twice).unwrap_err().message.contains("two special"));
        twice["special_tokens"] = json!([{"rank": 1, "token_str": "a"}]);
        assert!(read(&twice).unwrap_err().message.contains("count up"));
    }
}
