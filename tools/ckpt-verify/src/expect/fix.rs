//! Commands that mend: what to type so that an expectation passes, with the paths at hand.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ckpt::archs;

use crate::case::Case;

/// A command, and the checkpoint that it makes. That one is then ready, not the one it was made from.
pub(super) struct Fix {
    pub(super) command: String,
    pub(super) target: PathBuf,
}

/// One conversion, or two: from what is at hand to a kind, under a name beside it. None if there is nothing that
/// could be converted: the checkpoint is damaged, or its family is not known.
pub(super) fn convert(case: &Case<'_>, kinds: &[(&str, &str)]) -> Option<Fix> {
    if case.checkpoint.damage().is_some() || case.family.is_none() {
        return None;
    }
    // Mistral's own form is a neighbour of Meta's, and its models have no place there.
    let mistral = case.family.is_some_and(|(arch, _)| archs::mistral::is_own(arch));
    if mistral && kinds.iter().any(|(kind, _)| *kind != "hf") {
        return None;
    }
    let mut source = case.checkpoint.path.clone();
    let mut commands = Vec::new();
    for (kind, options) in kinds {
        let target = beside(&case.checkpoint.path, kind);
        commands.push(format!("ckpt-convert {} --to {kind}{options} --out {}", quoted(&source), quoted(&target)));
        source = target;
    }
    Some(Fix { command: commands.join(" && "), target: source })
}

/// `runs/7` becomes `runs/7-hub`; the `original` of a download is called after what it lies in.
fn beside(path: &Path, kind: &str) -> PathBuf {
    // `.`, `..` and `/` have no name of their own.
    let named = if path.file_name().is_some() {
        path.to_owned()
    } else {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    };
    let inside = named.file_name() == Some(OsStr::new("original"));
    let whole = named.parent().filter(|parent| inside && parent.file_name().is_some()).unwrap_or(&named);
    let mut name = whole.file_name().unwrap_or(OsStr::new("model")).to_owned();
    name.push(format!("-{kind}"));
    whole.with_file_name(name)
}

/// A path as a shell reads it back.
pub(super) fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let dash = if bytes.starts_with(b"-") { "./" } else { "" };
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => format!("'{dash}{}'", text.replace('\'', "'\\''")),
        // Dollar quotes (POSIX 2024, bash, zsh) say bytes by their octal numbers.
        _ => {
            let octal: Vec<String> = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("$'{dash}{}'", octal.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_lie_beside_what_they_are_made_of() {
        for (path, target) in [
            ("runs/7", "runs/7-hub"),
            ("runs/7/", "runs/7-hub"),
            ("7", "7-hub"),
            ("a/Llama/original", "a/Llama-hub"),
            ("original", "original-hub"),
            ("/original", "/original-hub"),
        ] {
            assert_eq!(beside(Path::new(path), "hub"), Path::new(target), "{path}");
        }
        let here = beside(Path::new("."), "hub");
        assert!(here.is_absolute() && here.to_str().unwrap().ends_with("ckpt-verify-hub"), "{here:?}");
    }

    #[test]
    fn a_shell_reads_the_path_back() {
        use std::os::unix::ffi::OsStrExt;
        for name in [&b"a b"[..], b"it's", b"-x", b"$(id)`id`\\", b"line\nfeed", b"\xff\xfe'"] {
            let path = Path::new(OsStr::from_bytes(name));
            let script = format!("printf %s {}", quoted(path));
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            let read = output.stdout.strip_prefix(b"./").unwrap_or(&output.stdout);
            assert_eq!(read, name, "{script}");
        }
    }
}
