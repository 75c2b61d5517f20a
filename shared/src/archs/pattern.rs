//! Names with a place for the layer's number.

use super::Row;

/// A name that belongs to a row.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    /// The row.
    pub row: &'static Row,
    /// The layer; 0 for a row outside the layers.
    pub layer: u64,
}

/// The layer number that makes `name` of `pattern`, 0 for a pattern without one; `None` if it does not fit.
pub(super) fn layer(pattern: &str, name: &str) -> Option<u64> {
    let Some((prefix, suffix)) = pattern.split_once("{}") else {
        return (!pattern.is_empty() && pattern == name).then_some(0);
    };
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    // "+1" and "01" parse as numbers too, and are no layer's name.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::layer;

    #[test]
    fn only_plain_numbers_are_layers() {
        assert_eq!(layer("layers.{}.wq", "layers.12.wq"), Some(12));
        for name in ["layers.012.wq", "layers.+1.wq", "layers..wq", "layers.1.wk", "layers.1.1.wq", "xlayers.1.wq"] {
            assert_eq!(layer("layers.{}.wq", name), None, "{name}");
        }
        assert_eq!(layer("norm", "norm"), Some(0));
        assert_eq!(layer("", ""), None);
    }
}
