//! Strings of a GGUF header: a length of 64 bits and the bytes.

use crate::facts::{Finding, Id, limits};
use crate::formats::window::Window;

/// What is said of a file that ends too soon.
pub(super) const SHORT: (Id, &str) = (Id::GgufTruncated, "the file ends inside its header");

/// Takes the bytes of a string.
pub(super) fn string<'w>(window: &'w mut Window<'_>) -> Result<&'w [u8], Finding> {
    let place = window.at();
    let length = window.u64()?;
    if length > window.left() {
        let message = "a string of the header goes on beyond the end of the file";
        let finding = Finding::new(Id::GgufTruncated, message).at(place);
        return Err(finding.needed(format!("{length} bytes"), window.left()));
    }
    if length > limits::GGUF_STRING {
        let message = "a string of the header is longer than any real one";
        let most = format!("at most {} bytes", limits::GGUF_STRING);
        return Err(Finding::new(Id::TooLarge, message).at(place).needed(most, length));
    }
    window.take(length)
}

/// Passes over a string.
pub(super) fn skip_string(window: &mut Window<'_>) -> Result<(), Finding> {
    let length = window.u64()?;
    window.skip(length)
}
