//! The file of tiktoken ranks that Meta calls `tokenizer.model` since Llama 3: a line a token, its bytes in
//! base64, a space, its rank.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::facts::{Finding, Id};

/// Tokens by rank. A token is some bytes, not always whole characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranks {
    /// All tokens, one behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

fn invalid(offset: usize, message: String) -> Finding {
    Finding::new(Id::TokenizerInvalid, message).at(u64::try_from(offset).unwrap_or(u64::MAX))
}

impl Ranks {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Id::TokenizerInvalid`] with the byte at which a line is not base64, a space and the next rank, repeats a
    /// token, or ends without all 256 single bytes being there.
    pub fn parse(file: &[u8]) -> Result<Ranks, Finding> {
        let mut ranks = Ranks::default();
        let mut offset = 0_usize;
        for line in file.split_inclusive(|&byte| byte == b'\n') {
            let start = offset;
            offset = offset.saturating_add(line.len());
            let text = line.trim_ascii_end();
            if text.is_empty() && offset == file.len() {
                break;
            }
            let rank = ranks.len();
            let space = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
            let (code, number) = text.split_at_checked(space).unwrap_or((text, &[]));
            let token = STANDARD
                .decode(code)
                .map_err(|error| invalid(start, format!("token {rank} is not base64: {error}")))?;
            if number.trim_ascii_start() != rank.to_string().as_bytes() {
                let at = start.saturating_add(space).saturating_add(1).min(offset);
                let found = String::from_utf8_lossy(number.trim_ascii_start()).escape_debug().to_string();
                return Err(invalid(at, "ranks do not count up one by one".into()).needed(rank, found));
            }
            if token.is_empty() {
                return Err(invalid(start, format!("token {rank} has no bytes")));
            }
            ranks.push(&token);
        }
        ranks.check()?;
        Ok(ranks)
    }

    /// Makes the table from tokens in the order of their ranks.
    ///
    /// # Errors
    /// As [`Ranks::parse`]: a token twice, or a single byte missing.
    pub fn from_tokens(tokens: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Ranks, Finding> {
        let mut ranks = Ranks::default();
        for token in tokens {
            ranks.push(token.as_ref());
        }
        ranks.check()?;
        Ok(ranks)
    }

    fn push(&mut self, token: &[u8]) {
        self.bytes.extend_from_slice(token);
        self.ends.push(self.bytes.len());
    }

    /// What makes a table of ranks an encoding: no token twice, and every byte a token, so that all text can be
    /// encoded.
    fn check(&self) -> Result<(), Finding> {
        let mut seen = HashSet::with_capacity(self.len());
        if let Some((rank, _)) = self.tokens().enumerate().find(|(_, token)| !seen.insert(*token)) {
            return Err(Finding::new(Id::TokenizerInvalid, format!("the token of rank {rank} occurs twice")));
        }
        let missing: Vec<String> = (0..=u8::MAX)
            .filter(|byte| !seen.contains([*byte].as_slice()))
            .map(|byte| format!("{byte:#04x}"))
            .collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(Finding::new(
                Id::TokenizerInvalid,
                format!(
                    "{} of 256 single bytes are not among the tokens, {first} first: the file is cut off",
                    missing.len()
                ),
            )
            .needed(256, 256_usize.saturating_sub(missing.len()))),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no token, which no parsed file allows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The tokens, in the order of their ranks.
    pub fn tokens(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let token = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            token
        })
    }

    /// The file, as Meta writes it.
    pub fn write(&self) -> Vec<u8> {
        let mut file = String::with_capacity(self.bytes.len().saturating_mul(3));
        for (rank, token) in self.tokens().enumerate() {
            STANDARD.encode_string(token, &mut file);
            file.push(' ');
            file.push_str(&rank.to_string());
            file.push('\n');
        }
        file.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All single bytes, from the last to the first, then some words.
    fn small() -> Ranks {
        let bytes = (0..=u8::MAX).rev().map(|byte| vec![byte]);
        let words = ["th", "the", " the", "\u{e9}"].map(|word| word.as_bytes().to_vec());
        Ranks::from_tokens(bytes.chain(words)).unwrap()
    }

    #[test]
    fn a_file_is_written_back_as_it_was() {
        let file = small().write();
        assert!(file.starts_with(b"/w== 0\n/g== 1\n"));
        let ranks = Ranks::parse(&file).unwrap();
        assert_eq!(ranks, small());
        assert_eq!(ranks.write(), file);
        assert_eq!(ranks.tokens().nth(257), Some(b"the".as_slice()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_byte() {
        let file = small().write();
        let cut = |from: &str, to: &str| {
            let text = String::from_utf8(file.clone()).unwrap();
            Ranks::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err()
        };
        assert_eq!(cut("/g== 1\n", "/g== 2\n").offset, Some(12));
        assert_eq!(cut("/g== 1\n", "!g== 1\n").offset, Some(7));
        assert_eq!(cut("/g== 1\n", "\n").offset, Some(8));
        assert_eq!(cut("/g== 1\n", "/g==\n").offset, Some(12));
        assert!(cut("/g== 1\n", "/w== 1\n").message.contains("twice"));
        assert!(Ranks::parse(b"").unwrap_err().message.contains("256 of 256"));
        assert!(Ranks::parse(&file[..700]).is_err());
    }

    proptest! {
        #[test]
        fn damage_is_found_or_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut file = small().write();
            let at = at.index(file.len());
            file[at] = byte;
            if let Ok(ranks) = Ranks::parse(&file) {
                prop_assert_eq!(ranks.len(), 260);
            }
            drop(Ranks::parse(&file[..at]));
        }
    }
}
