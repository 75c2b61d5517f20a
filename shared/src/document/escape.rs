//! Untrusted names made safe to show: nothing that moves a cursor, reorders text or hides.

/// The text with every character that could deceive a reader or a terminal escaped as Rust writes it (`\n`,
/// `\u{202e}`). Other characters of any script stay as they are.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// The same of bytes that should be UTF-8; those that are not become `\xff`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        safe.push_str(&escape(chunk.valid()));
        for byte in chunk.invalid() {
            safe.push_str("\\x");
            safe.extend([byte >> 4, byte & 15].iter().filter_map(|&digit| char::from_digit(digit.into(), 16)));
        }
    }
    safe
}

/// Control characters; the marks that set, embed, override or isolate a direction (Unicode Standard Annex 9,
/// section 2); line and paragraph separators; characters of no width; tags.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_escaped_and_the_rest_stays() {
        assert_eq!(escape("layers.0.größe.層"), "layers.0.größe.層");
        assert_eq!(escape("a\x1b[2Jb\n\u{7f}"), "a\\u{1b}[2Jb\\n\\u{7f}");
        assert_eq!(escape("safe\u{202e}nib.rotinom"), "safe\\u{202e}nib.rotinom");
        assert_eq!(escape("a\u{200b}b\u{feff}\u{9b}31m"), "a\\u{200b}b\\u{feff}\\u{9b}31m");
    }

    #[test]
    fn bytes_that_are_not_text_show_their_value() {
        assert_eq!(escape_bytes(b"run-\xff\xfe/\xc3\xa4\t"), "run-\\xff\\xfe/ä\\t");
    }
}
