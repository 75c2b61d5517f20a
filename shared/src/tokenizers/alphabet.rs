//! The characters that stand for bytes in byte-level tokenizers: GPT-2's `bytes_to_unicode`.

/// Bytes that stand for themselves, as Latin-1 characters: the printable ones.
fn printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// First character that stands for a byte which is not printable; the others follow in the order of the bytes.
const FIRST: u32 = 0x100;

/// The table in both directions.
#[derive(Debug)]
pub(super) struct Alphabet {
    /// By byte.
    chars: Vec<char>,
    /// Bytes that are not printable, by how far their character is from [`FIRST`].
    others: Vec<u8>,
}

impl Alphabet {
    pub(super) fn new() -> Alphabet {
        let mut next = (FIRST..).filter_map(char::from_u32);
        let char = |byte| if printable(byte) { char::from(byte) } else { next.next().unwrap_or_default() };
        Alphabet {
            chars: (0..=u8::MAX).map(char).collect(),
            others: (0..=u8::MAX).filter(|byte| !printable(*byte)).collect(),
        }
    }

    /// Appends the characters for some bytes.
    pub(super) fn spell(&self, bytes: &[u8], text: &mut String) {
        text.extend(bytes.iter().filter_map(|&byte| self.chars.get(usize::from(byte))));
    }

    /// The byte that a character stands for.
    fn byte(&self, char: char) -> Option<u8> {
        let number = u32::from(char);
        match u8::try_from(number) {
            Ok(byte) => printable(byte).then_some(byte),
            Err(_) => self.others.get(usize::try_from(number.checked_sub(FIRST)?).ok()?).copied(),
        }
    }

    /// The bytes of a token, unless it has a character that stands for none.
    pub(super) fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        token.chars().map(|char| self.byte(char)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_again() {
        let alphabet = Alphabet::new();
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mut text = String::new();
        alphabet.spell(&all, &mut text);
        assert_eq!(text.chars().count(), 256);
        assert_eq!(alphabet.bytes(&text), Some(all));
        let mut space = String::new();
        alphabet.spell(b" \n", &mut space);
        assert_eq!(space, "\u{120}\u{10A}");
        assert_eq!(alphabet.bytes("\u{2581}"), None);
        assert_eq!(alphabet.bytes(" "), None);
    }
}
