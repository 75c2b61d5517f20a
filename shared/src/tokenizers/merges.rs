//! Merges of a byte-pair encoding, from the tokens alone: every way to cut a token into two tokens.

use std::collections::HashMap;

use crate::facts::{Finding, Id, limits};

/// Ids by token.
#[derive(Debug)]
pub(super) struct Index<'a>(HashMap<&'a [u8], u32>);

impl<'a> Index<'a> {
    /// Numbers the tokens from 0. A token that occurs again keeps its first number.
    ///
    /// # Errors
    /// A finding for a token that is longer than any can be.
    pub(super) fn new(tokens: impl Iterator<Item = &'a [u8]>) -> Result<Index<'a>, Finding> {
        let mut ids = HashMap::new();
        for (id, token) in (0..).zip(tokens) {
            if token.len() > limits::TOKEN {
                let finding = Finding::new(Id::TooLarge, format!("the token of id {id} is longer than a token can be"));
                return Err(finding.needed(format!("at most {} bytes", limits::TOKEN), token.len()));
            }
            ids.entry(token).or_insert(id);
        }
        Ok(Index(ids))
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &[u8]) -> Option<u32> {
        self.0.get(token).copied()
    }

    /// Pairs of ids whose tokens make this one, in the order of the ids. Halves that are not whole characters
    /// are looked up like all others; where tokens are text they are not found.
    pub(super) fn splits(&self, token: &[u8]) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = (1..token.len())
            .filter_map(|cut| {
                let (left, right) = token.split_at_checked(cut)?;
                Some((self.id(left)?, self.id(right)?))
            })
            .collect();
        pairs.sort_unstable();
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_stand_in_the_order_of_the_ids() {
        let tokens: [&[u8]; 7] = [b"c", b"b", b"a", b"bc", b"ab", b"abc", b"xbc"];
        let index = Index::new(tokens.into_iter()).unwrap();
        assert_eq!(index.splits(b"abc"), [(2, 3), (4, 0)]);
        assert_eq!(index.splits(b"xbc"), []);
        assert_eq!(index.splits(b""), []);
    }

    #[test]
    fn no_token_is_cut_without_end() {
        let long = vec![b'a'; limits::TOKEN + 1];
        assert_eq!(Index::new(std::iter::once(long.as_slice())).unwrap_err().id, Id::TooLarge);
    }
}
