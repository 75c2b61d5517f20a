//! Lists of digests as `sha256sum`, `md5sum` and `b3sum` write and read them: GNU lines and BSD tags.

use anyhow::Result;

use super::read::FileEntry;
use crate::digests::Algorithm;
use crate::facts::{Finding, Id};

/// One line as GNU coreutils write it, line feed included. A name with a backslash, a line feed or a carriage return
/// has those escaped, and a backslash before the digest says so.
pub fn line(path: &str, digest: &str) -> String {
    if !path.contains(['\\', '\n', '\r']) {
        return format!("{digest}  {path}\n");
    }
    let path = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("\\{digest}  {path}\n")
}

/// Reads a list. Lines that are none are findings; blank lines and comments are passed over. `untagged` is what digests
/// of its length are where the line itself does not say.
pub(super) fn read(text: &[u8], manifest: &str, untagged: Option<Algorithm>) -> (Vec<FileEntry>, Vec<Finding>) {
    let (mut entries, mut findings) = (Vec::new(), Vec::new());
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        // A list that went through Windows ends its lines in two bytes.
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(&line, untagged) {
            Ok(entry) => entries.push(entry),
            Err(why) => {
                let message = format!("line {} of the manifest {why}", number.saturating_add(1));
                findings.push(Finding::new(Id::ManifestInvalid, message).in_file(manifest));
            }
        }
    }
    (entries, findings)
}

fn entry(line: &str, untagged: Option<Algorithm>) -> Result<FileEntry, String> {
    let (escaped, line) = line.strip_prefix('\\').map_or((false, line), |rest| (true, rest));
    let (algorithm, digest, name) = match tagged(line)? {
        Some(parts) => parts,
        None => plain(line, untagged)?,
    };
    let path = if escaped { unescaped(name).ok_or("has a name with an unknown escape")? } else { name.to_owned() };
    Ok(FileEntry { path, size: None, algorithm, digest: digest.to_ascii_lowercase(), pieces: Vec::new() })
}

/// `SHA256 (name) = digest`.
fn tagged(line: &str) -> Result<Option<(Algorithm, &str, &str)>, String> {
    let Some((tag, rest)) = line.split_once(" (") else { return Ok(None) };
    let Some((name, digest)) = rest.rsplit_once(") = ") else { return Ok(None) };
    if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(None);
    }
    let algorithm = Algorithm::from_name(&tag.to_ascii_lowercase());
    let algorithm = algorithm.ok_or_else(|| format!("is made with {tag}, which is not known here"))?;
    if digest.len() != algorithm.digits() || !is_hex(digest) {
        return Err("has no whole digest".to_owned());
    }
    Ok(Some((algorithm, digest, name)))
}

/// `digest  name`, `digest *name`.
fn plain(line: &str, untagged: Option<Algorithm>) -> Result<(Algorithm, &str, &str), String> {
    let unknown = || "is not `digest  name`".to_owned();
    let (digest, rest) = line.split_once(' ').ok_or_else(unknown)?;
    let name = rest.strip_prefix([' ', '*']).ok_or_else(unknown)?;
    if !is_hex(digest) || name.is_empty() {
        return Err(unknown());
    }
    // As long as those of BLAKE2b are those of SHA-512, which is commoner.
    let usual = Algorithm::all().filter(|algorithm| *algorithm != Algorithm::Blake2b);
    let algorithm = untagged.into_iter().chain(usual).find(|algorithm| algorithm.digits() == digest.len());
    let algorithm = algorithm.ok_or_else(|| {
        let blake2b = digest.len() == Algorithm::Blake2b.digits();
        let kind = if blake2b { "BLAKE2b only with --algorithm blake2b" } else { "of no known kind" };
        format!("has a digest of {} digits, {kind}", digest.len())
    })?;
    Ok((algorithm, digest, name))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn unescaped(name: &str) -> Option<String> {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(character) = rest.next() {
        plain.push(match character {
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

    #[test]
    fn lines_of_every_kind_are_read() {
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = format!(
            "# a comment\n{MD5}  a b\r\n\n{MD5} *bin\n{}  ./Upper\nSHA256 (x (1) = y) = {sha}\n\\MD5 (a\\nb) = {MD5}\n\\{MD5}  c\\\\d",
            MD5.to_uppercase()
        );
        let (entries, findings) = read(text.as_bytes(), "m", None);
        assert_eq!(findings, []);
        let read: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.algorithm)).collect();
        let md5 = Algorithm::Md5;
        let wanted = [
            ("a b", md5),
            ("bin", md5),
            ("./Upper", md5),
            ("x (1) = y", Algorithm::Sha256),
            ("a\nb", md5),
            ("c\\d", md5),
        ];
        assert_eq!(read, wanted);
        assert!(entries.iter().all(|entry| entry.digest == MD5 || entry.digest == sha));
    }

    #[test]
    fn lines_that_are_none_are_told() {
        for line in ["hello", "0123  a", &format!("{MD5} a"), &format!("{MD5}  "), "SHA512 (a) = 00", "MD5 (a) = 00"] {
            let (entries, findings) = read(line.as_bytes(), "m", None);
            assert_eq!((entries.len(), findings.len()), (0, 1), "{line}");
        }
        assert_eq!(read(format!("\\{MD5}  a\\tb").as_bytes(), "m", None).1.len(), 1);
    }

    #[test]
    fn what_a_line_leaves_open_is_told_from_outside() {
        let text = format!("{}  a\n{MD5}  b\nSHA256 (c) = {}\n", "0".repeat(64), "0".repeat(64));
        let of =
            |untagged| read(text.as_bytes(), "m", untagged).0.iter().map(|entry| entry.algorithm).collect::<Vec<_>>();
        assert_eq!(of(None), [Algorithm::Sha256, Algorithm::Md5, Algorithm::Sha256]);
        let long = format!("{}  a\n", "0".repeat(128));
        assert_eq!(read(long.as_bytes(), "m", None).1.len(), 1);
        assert_eq!(read(long.as_bytes(), "m", Some(Algorithm::Blake2b)).0[0].algorithm, Algorithm::Blake2b);
        assert_eq!(of(Some(Algorithm::Blake3)), [Algorithm::Blake3, Algorithm::Md5, Algorithm::Sha256]);
    }

    #[test]
    fn what_is_written_is_read() {
        for name in ["plain", " lead", "a\\b", "a\nb\r", "größe", "*star"] {
            let (entries, findings) = read(line(name, MD5).as_bytes(), "m", None);
            assert_eq!((entries[0].path.as_str(), findings.len()), (name, 0));
        }
    }
}
