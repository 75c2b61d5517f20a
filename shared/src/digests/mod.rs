//! Digest algorithms behind one small type.

use std::fmt;

use blake2::Blake2b512;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Algorithm {
    /// SHA-256, the default.
    #[default]
    Sha256,
    /// BLAKE3, several times as fast, with 256 bits.
    Blake3,
    /// BLAKE2b with 512 bits, as `b2sum` takes it.
    Blake2b,
    /// MD5, as Meta's `checklist.chk` uses it. It protects against accidents only.
    Md5,
    /// SHA-1. It protects against accidents only.
    Sha1,
    /// SHA-1 the way git names a file: over `blob LENGTH`, a NUL, and the content. Hugging Face names small files so.
    GitBlob,
}

/// Algorithm, name, hexadecimal digits.
const ROWS: &[(Algorithm, &str, usize)] = &[
    (Algorithm::Sha256, "sha256", 64),
    (Algorithm::Blake3, "blake3", 64),
    (Algorithm::Blake2b, "blake2b", 128),
    (Algorithm::Md5, "md5", 32),
    (Algorithm::Sha1, "sha1", 40),
    (Algorithm::GitBlob, "git-blob", 40),
];

impl Algorithm {
    /// Every algorithm. Of two with digests of one length, the commoner comes first.
    pub fn all() -> impl Iterator<Item = Algorithm> {
        ROWS.iter().map(|row| row.0)
    }

    /// The name used in documents and on the command line.
    pub fn name(self) -> &'static str {
        ROWS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Hexadecimal digits of a digest.
    pub fn digits(self) -> usize {
        ROWS.iter().find(|row| row.0 == self).map_or(0, |row| row.2)
    }

    /// A fresh hasher for a content of `bytes` bytes: git's digests begin with the length.
    pub fn hasher(self, bytes: u64) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Blake3 => Hasher::Blake3(Box::default()),
            Self::Blake2b => Hasher::Blake2b(Box::default()),
            Self::Md5 => Hasher::Md5(Md5::new()),
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::GitBlob => Hasher::Sha1(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
        }
    }

    /// The digest of a buffer, in lower-case hexadecimal.
    pub fn of(self, bytes: &[u8]) -> String {
        let mut hasher = self.hasher(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        hasher.update(bytes);
        hasher.finish()
    }
}

/// A digest in the making.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// BLAKE3, whose state is large.
    Blake3(Box<blake3::Hasher>),
    /// BLAKE2b, whose state is large too.
    Blake2b(Box<Blake2b512>),
    /// MD5.
    Md5(Md5),
    /// SHA-1, git's too.
    Sha1(Sha1),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256",
            Self::Blake3(_) => "Blake3",
            Self::Blake2b(_) => "Blake2b",
            Self::Md5(_) => "Md5",
            Self::Sha1(_) => "Sha1",
        })
    }
}

impl Hasher {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
            Self::Blake2b(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
        }
    }

    /// The digest, in lower-case hexadecimal.
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Blake3(hasher) => hex(hasher.finalize().as_bytes()),
            Self::Blake2b(hasher) => hex(&hasher.finalize()),
            Self::Md5(hasher) => hex(&hasher.finalize()),
            Self::Sha1(hasher) => hex(&hasher.finalize()),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-2 appendix B.1, the test vectors of BLAKE3, RFC 7693 appendix A, RFC 1321 appendix A.5, FIPS 180-2
        // appendix A.1, and `printf abc | git hash-object --stdin`.
        for (algorithm, digest) in [
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Algorithm::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
            (
                Algorithm::Blake2b,
                "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
            ),
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::GitBlob, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"),
        ] {
            assert_eq!(algorithm.of(b"abc"), digest);
            assert_eq!(digest.len(), algorithm.digits());
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
    }
}
