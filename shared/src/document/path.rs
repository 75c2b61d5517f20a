//! A path as text, and as bytes where text cannot hold it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The fields `path` and `path_base64` of a path.
pub(super) fn to_fields(path: &Path) -> (String, Option<String>) {
    if let Some(text) = path.to_str() {
        return (text.to_owned(), None);
    }
    let bytes = path.as_os_str().as_bytes();
    (super::escape_bytes(bytes), Some(STANDARD.encode(bytes)))
}

/// The path of a field `path_base64`.
pub(super) fn from_base64(text: &str) -> Result<PathBuf, base64::DecodeError> {
    STANDARD.decode(text).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}
