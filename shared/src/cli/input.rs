//! What a tool shall look at: paths of the command line, lists of paths, documents on stdin.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::common::Common;
use crate::document::Document;
use crate::facts::limits;

/// Longest path in a list: sixteen times `PATH_MAX` of Linux (`limits.h`), which no single call accepts.
const PATH_LIMIT: u64 = 65_536;

/// One input, or why there are no more.
pub(super) type Input = Result<Document, String>;

/// What is wrong with the combination of inputs, if anything.
pub(super) fn misuse(common: &Common, stdin_is_terminal: bool) -> Option<&'static str> {
    let dashes = common.paths.iter().filter(|path| is_stdin(path)).count();
    let list_is_stdin = common.paths_from.as_deref().is_some_and(is_stdin);
    if dashes > 1 || (dashes == 1 && list_is_stdin) {
        return Some("stdin can be read only once");
    }
    if common.paths.is_empty() && common.paths_from.is_none() && stdin_is_terminal {
        return Some("no PATH was given, and stdin is a terminal and not a stream of documents");
    }
    None
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The inputs in their order, each as soon as it is known. A thread of its own waits for stdin, so that a signal
/// need not wait for the next line.
pub(super) fn open(common: &Common) -> Receiver<Input> {
    let (sender, receiver) = sync_channel(0);
    let (paths, list, null) = (common.paths.clone(), common.paths_from.clone(), common.null);
    std::thread::spawn(move || {
        if let Err(message) = send(&sender, &paths, list.as_deref(), null) {
            // Nobody listens any more if the run has ended, and then nobody needs to know.
            let _ = sender.send(Err(message));
        }
    });
    receiver
}

fn send(sender: &SyncSender<Input>, paths: &[PathBuf], list: Option<&Path>, null: bool) -> Result<(), String> {
    for path in paths {
        if is_stdin(path) {
            send_documents(sender, &mut io::stdin().lock())?;
        } else if sender.send(Ok(Document::new(path))).is_err() {
            return Ok(());
        }
    }
    match list {
        Some(list) if is_stdin(list) => send_paths(sender, &mut io::stdin().lock(), null, "stdin"),
        Some(list) => {
            let name = list.to_string_lossy();
            let file = File::open(list).map_err(|error| format!("{name}: {error}"))?;
            send_paths(sender, &mut BufReader::new(file), null, &name)
        }
        None if paths.is_empty() => send_documents(sender, &mut io::stdin().lock()),
        None => Ok(()),
    }
}

/// Sends the documents of a stream, one a line. Lines of nothing but white space are passed over.
fn send_documents(sender: &SyncSender<Input>, stream: &mut dyn BufRead) -> Result<(), String> {
    let (mut line, mut number, mut any) = (Vec::new(), 0_u64, false);
    while read(stream, b'\n', limits::JSON, &mut line).map_err(|error| format!("stdin: {error}"))? {
        number = number.saturating_add(1);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let document = Document::parse(&line).map_err(|error| {
            let help = if line.trim_ascii() == b"{" { "; write one document a line (`jq -c`)" } else { "" };
            format!("stdin: line {number} {error}{help}")
        })?;
        any = true;
        if sender.send(Ok(document)).is_err() {
            return Ok(());
        }
    }
    if any { Ok(()) } else { Err("stdin: there is no document to read".to_owned()) }
}

/// Sends the paths of a list.
fn send_paths(sender: &SyncSender<Input>, stream: &mut dyn BufRead, null: bool, name: &str) -> Result<(), String> {
    let end = if null { 0 } else { b'\n' };
    let (mut path, mut any) = (Vec::new(), false);
    while read(stream, end, PATH_LIMIT, &mut path).map_err(|error| format!("{name}: {error}"))? {
        if path.is_empty() {
            continue;
        }
        any = true;
        let document = Document::new(Path::new(&OsString::from_vec(std::mem::take(&mut path))));
        if sender.send(Ok(document)).is_err() {
            return Ok(());
        }
    }
    if any { Ok(()) } else { Err(format!("{name}: there is no path to read")) }
}

/// Reads up to the next `end`, which is left off; false at the end of the stream.
fn read(stream: &mut dyn BufRead, end: u8, limit: u64, piece: &mut Vec<u8>) -> io::Result<bool> {
    piece.clear();
    let got = stream.take(limit.saturating_add(1)).read_until(end, piece)?;
    if piece.last() == Some(&end) {
        piece.pop();
    } else if u64::try_from(got).is_ok_and(|got| got > limit) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {limit} bytes")));
    }
    Ok(got != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(send: impl FnOnce(&SyncSender<Input>) -> Result<(), String>) -> (Vec<PathBuf>, Result<(), String>) {
        let (sender, receiver) = sync_channel(100);
        let end = send(&sender);
        drop(sender);
        (receiver.iter().map(|input| input.unwrap().path()).collect(), end)
    }

    #[test]
    fn documents_are_read_line_by_line() {
        let of = |text: &str| collect(|sender| send_documents(sender, &mut text.as_bytes()));
        let a = r#"{"schema":"ckpt/1","path":"a","status":"ok"}"#;
        let b = r#"{"schema":"ckpt/1","path":"shown","path_base64":"Yg==","status":"error"}"#;
        let both = vec![PathBuf::from("a"), PathBuf::from("b")];
        assert_eq!(of(&format!("{a}\n\n{b}")), (both.clone(), Ok(())));
        assert_eq!(of(&format!("{a}\r\n{b}\n")), (both, Ok(())));

        let (before, end) = of(&format!("{a}\nhello\n{b}\n"));
        assert_eq!(before, [PathBuf::from("a")]);
        assert!(end.unwrap_err().starts_with("stdin: line 2 is not a document"));
        assert_eq!(of("").1.unwrap_err(), "stdin: there is no document to read");
        assert!(of(" \n").1.is_err());
        assert!(of("{\n  \"schema\": \"ckpt/1\"\n}\n").1.unwrap_err().contains("jq -c"));
        assert!(of(&format!("{a}{b}\n")).1.is_err());
    }

    #[test]
    fn lists_of_paths_are_cut_where_they_say() {
        let of = |text: &[u8], null| collect(|sender| send_paths(sender, &mut &text[..], null, "list"));
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(of(b"a b\n\nc", false), (paths(&["a b", "c"]), Ok(())));
        assert_eq!(of(b"a\nb\0-\0", true), (paths(&["a\nb", "-"]), Ok(())));
        assert_eq!(of(b"\n", false).1.unwrap_err(), "list: there is no path to read");
        assert!(of("x".repeat(70_000).as_bytes(), false).1.unwrap_err().contains("longer than"));
    }
}
