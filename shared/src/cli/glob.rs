//! Patterns of tensor names: `*` any run of characters, dots included; `?` one; `[a-z]` one of these, `[!a-z]` none.

use std::fmt;
use std::str::{Chars, FromStr};

/// A pattern. A backslash takes the next character as it is; a name equal to the pattern always matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Run,
    Any,
    Exactly(char),
    OneOf { negated: bool, ranges: Vec<(char, char)> },
}

impl Piece {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Run => false,
            Self::Any => true,
            Self::Exactly(wanted) => *wanted == character,
            Self::OneOf { negated, ranges } => {
                *negated != ranges.iter().any(|&(low, high)| (low..=high).contains(&character))
            }
        }
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Glob, String> {
        let mut rest = text.chars();
        let mut pieces = Vec::new();
        while let Some(character) = rest.next() {
            pieces.push(match character {
                '*' => Piece::Run,
                '?' => Piece::Any,
                '[' => one_of(&mut rest)?,
                '\\' => Piece::Exactly(rest.next().ok_or("a backslash ends the pattern")?),
                other => Piece::Exactly(other),
            });
        }
        Ok(Glob { text: text.to_owned(), pieces })
    }
}

impl fmt::Display for Glob {
    /// As it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands between brackets; `]` is a member where it comes first.
fn one_of(rest: &mut Chars<'_>) -> Result<Piece, String> {
    let negated = rest.as_str().starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = match rest.next() {
            Some(']') if !ranges.is_empty() => return Ok(Piece::OneOf { negated, ranges }),
            Some('\\') => rest.next(),
            other => other,
        };
        let low = low.ok_or("a [ is not closed; write \\[ for the character itself")?;
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                *rest = ahead;
                high
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

impl Glob {
    /// Whether the pattern takes the whole name. Time is at most the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        self.text == name || self.takes(name)
    }

    fn takes(&self, name: &str) -> bool {
        let mut pieces = self.pieces.as_slice();
        let mut rest = name.chars();
        // Where the last `*` may try again with one character more. Earlier ones need not: the last one finds
        // whatever they could.
        let mut retry: Option<(&[Piece], Chars<'_>)> = None;
        loop {
            match pieces.split_first() {
                Some((Piece::Run, after)) => {
                    pieces = after;
                    retry = Some((after, rest.clone()));
                    continue;
                }
                Some((piece, after)) => {
                    let mut ahead = rest.clone();
                    if ahead.next().is_some_and(|character| piece.takes(character)) {
                        (pieces, rest) = (after, ahead);
                        continue;
                    }
                }
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            match &mut retry {
                Some((after, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    (pieces, rest) = (after, from.clone());
                }
                None => return false,
            }
        }
    }
}

/// Which names are meant: those that a pattern selects and none excludes. Without patterns, all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Patterns of what is meant; empty for everything.
    pub select: Vec<Glob>,
    /// Patterns of what is not.
    pub exclude: Vec<Glob>,
}

impl Selection {
    /// Whether it is everything.
    pub fn is_all(&self) -> bool {
        self.select.is_empty() && self.exclude.is_empty()
    }

    /// Whether something that has these names is meant.
    pub fn admits(&self, names: &[&str]) -> bool {
        let named = |glob: &Glob| names.iter().any(|name| glob.matches(name));
        (self.select.is_empty() || self.select.iter().any(named)) && !self.exclude.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_they_should() {
        for (pattern, yes, no) in [
            ("*", &["", "a.b"][..], &[][..]),
            ("layers.*.wq.weight", &["layers.0.wq.weight", "layers.0.attention.wq.weight"], &["layers.0.wq.bias"]),
            ("*.weight", &["a.weight", ".weight"], &["weight", "a.weights"]),
            ("layers.?.w", &["layers.7.w"], &["layers.17.w", "layers..w"]),
            ("w[qkv]", &["wq", "wv"], &["wo", "w", "wqk"]),
            ("w[!a-n]", &["wo"], &["wa", "w"]),
            ("a[]x]b", &["a]b", "axb"], &["ab", "ayb"]),
            ("a[x-]b", &["axb", "a-b"], &["ayb"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("a*b*c", &["abc", "aXbYbZc"], &["acb", "abcd"]),
            ("größe?", &["größe層"], &["größe"]),
            ("x[0]", &["x0", "x[0]"], &["x"]),
            ("", &[""], &["a"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            for name in yes {
                assert!(glob.matches(name), "{pattern} should take {name:?}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} should not take {name:?}");
            }
        }
        assert!("a[bc".parse::<Glob>().is_err());
        assert!("a\\".parse::<Glob>().is_err());
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let glob: Glob = "*a".repeat(200).parse().unwrap();
        assert!(!glob.matches(&format!("{}b", "a".repeat(5000))));
    }

    #[test]
    fn exclusion_wins() {
        let globs = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let selection = Selection { select: globs(&["a*", "b"]), exclude: globs(&["*x"]) };
        assert_eq!(["a1", "b", "c", "ax"].map(|name| selection.admits(&[name])), [true, true, false, false]);
        assert!(selection.admits(&["c", "b"]) && !selection.admits(&["a1", "cx"]));
        assert!(Selection::default().is_all() && Selection::default().admits(&["any"]));
    }
}
