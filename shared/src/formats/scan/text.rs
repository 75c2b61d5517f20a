//! Bytes as they are, and the bytes that their letters spell in hexadecimal or base64.

/// What bytes may mean: themselves, and what they spell.
pub(super) fn spelt(bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = bytes.trim_ascii();
    let mut all = vec![bytes.to_vec()];
    all.extend(hexadecimal(text));
    all.extend(base64(text));
    all
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?)).collect()
}

/// Of the usual or the URL alphabet, with line ends and padding or without.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for letter in text.iter().filter(|letter| !letter.is_ascii_whitespace() && **letter != b'=') {
        let base = match letter {
            b'A'..=b'Z' => letter.checked_sub(b'A'),
            b'a'..=b'z' => letter.checked_sub(b'a')?.checked_add(26),
            b'0'..=b'9' => letter.checked_sub(b'0')?.checked_add(52),
            b'+' | b'-' => Some(62),
            b'/' | b'_' => Some(63),
            _ => None,
        };
        bits = ((bits << 6) | u32::from(base?)) & 0xffff;
        held = held.saturating_add(6);
        if held >= 8 {
            held = held.saturating_sub(8);
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_spell_bytes() {
        assert_eq!(hexadecimal(b"8004fF"), Some(vec![0x80, 4, 0xff]));
        assert_eq!(hexadecimal(b"800"), None);
        assert_eq!(base64(b"gARO\nLg=="), Some(vec![0x80, 4, b'N', b'.']));
        assert_eq!(base64(b"a b!"), None);
    }
}
