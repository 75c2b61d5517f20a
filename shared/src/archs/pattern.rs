//! Names with places for the numbers of a layer and of an expert.

use super::row::{Naming, Row};

/// A name that belongs to a row.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    /// The row.
    pub row: &'static Row,
    /// The layer; 0 for a row outside the layers.
    pub layer: u64,
    /// The expert; 0 for a row that is no expert's.
    pub expert: u64,
}

impl Match {
    /// The name in a scheme; `None` if the scheme has no name for it.
    pub fn named(&self, naming: Naming) -> Option<String> {
        let pattern = self.row.name(naming);
        let name = || pattern.replacen("{}", &self.layer.to_string(), 1).replacen("{e}", &self.expert.to_string(), 1);
        (!pattern.is_empty()).then(name)
    }

    /// The name in older GGUF files, in which every expert has tensors of its own.
    pub fn apart(&self) -> Option<String> {
        let pattern = self.row.apart()?;
        Some(pattern.replacen("{}", &self.layer.to_string(), 1).replacen("{e}", &self.expert.to_string(), 1))
    }
}

/// The numbers of layer and expert that make `name` of `pattern`, 0 where it has no place for one; `None` if it does
/// not fit.
pub(super) fn numbers(pattern: &str, name: &str) -> Option<(u64, u64)> {
    if pattern.is_empty() {
        return None;
    }
    let (mut pattern, mut name) = (pattern, name);
    let (mut layer, mut expert) = (0, 0);
    while let Some((literal, rest)) = pattern.split_once('{') {
        name = name.strip_prefix(literal)?;
        let end = name.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len());
        let (digits, after) = name.split_at_checked(end)?;
        // "01" parses as a number too, and is no layer's name.
        let number = if digits == "0" || !digits.starts_with('0') { digits.parse().ok()? } else { return None };
        if let Some(rest) = rest.strip_prefix('}') {
            (layer, pattern) = (number, rest);
        } else {
            (expert, pattern) = (number, rest.strip_prefix("e}")?);
        }
        name = after;
    }
    (pattern == name).then_some((layer, expert))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn only_plain_numbers_are_layers() {
        assert_eq!(numbers("layers.{}.wq", "layers.12.wq"), Some((12, 0)));
        for name in ["layers.012.wq", "layers.+1.wq", "layers..wq", "layers.1.wk", "layers.1.1.wq", "xlayers.1.wq"] {
            assert_eq!(numbers("layers.{}.wq", name), None, "{name}");
        }
        assert_eq!(numbers("norm", "norm"), Some((0, 0)));
        assert_eq!(numbers("", ""), None);
    }

    #[test]
    fn experts_have_a_number_of_their_own() {
        let pattern = "layers.{}.experts.{e}.w1";
        assert_eq!(numbers(pattern, "layers.3.experts.17.w1"), Some((3, 17)));
        for name in ["layers.3.experts.w1", "layers.3.experts.1", "layers.3.experts.1.w12", "layers.3"] {
            assert_eq!(numbers(pattern, name), None, "{name}");
        }
    }
}
