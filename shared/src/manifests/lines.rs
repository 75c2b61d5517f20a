//! The lines that are digested once more to make a root.

use anyhow::Result;
use serde::Serialize;

use crate::digests::Algorithm;

/// The digest of one tensor's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLine {
    /// Stored or canonical name.
    pub name: String,
    /// In safetensors' spelling.
    pub dtype: String,
    /// In torch's order.
    pub shape: Vec<u64>,
    /// In lower-case hexadecimal.
    pub digest: String,
}

/// The digest of one file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// Relative to the checkpoint.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// In lower-case hexadecimal.
    pub digest: String,
}

/// The digest over all tensors: of the lines `["name","BF16",[2048,8192],"hex"]`, sorted by the names' UTF-8 bytes.
pub fn root(algorithm: Algorithm, tensors: &[TensorLine]) -> Result<String> {
    let mut sorted: Vec<&TensorLine> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    of_lines(algorithm, sorted.iter().map(|line| (&line.name, &line.dtype, &line.shape, &line.digest)))
}

/// The digest over all files: of the lines `["path",size,"hex"]`, sorted by the paths' UTF-8 bytes.
pub fn files_root(algorithm: Algorithm, files: &[FileLine]) -> Result<String> {
    let mut sorted: Vec<&FileLine> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    of_lines(algorithm, sorted.iter().map(|line| (&line.path, line.size, &line.digest)))
}

fn of_lines(algorithm: Algorithm, lines: impl Iterator<Item = impl Serialize>) -> Result<String> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    Ok(algorithm.of(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_the_digest_of_sorted_lines() {
        let line = |name: &str, shape: &[u64]| TensorLine {
            name: name.to_owned(),
            dtype: "BF16".to_owned(),
            shape: shape.to_vec(),
            digest: "00ff".to_owned(),
        };
        let text = b"[\"a\\n\\\"\",\"BF16\",[],\"00ff\"]\n[\"gr\xc3\xb6\xc3\x9fe\",\"BF16\",[2,3],\"00ff\"]\n";
        let made = root(Algorithm::Sha256, &[line("größe", &[2, 3]), line("a\n\"", &[])]).unwrap();
        assert_eq!(made, Algorithm::Sha256.of(text));
        let file = |path: &str| FileLine { path: path.to_owned(), size: 7, digest: "aa".to_owned() };
        let made = files_root(Algorithm::Md5, &[file("b"), file("B")]).unwrap();
        assert_eq!(made, Algorithm::Md5.of(b"[\"B\",7,\"aa\"]\n[\"b\",7,\"aa\"]\n"));
    }
}
