//! What goes to stdout, or to the file that stands for it: whole documents or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::document::Document;

/// Bytes handed to the system at a time.
const PIECE: usize = 64 << 10;

/// Where answers go.
pub(super) struct Output {
    sink: Sink,
    /// The reader has gone; that is no error, and the answers still count.
    closed: bool,
}

enum Sink {
    Stdout,
    File { file: File, partial: PathBuf, path: PathBuf, kept: bool },
}

impl Output {
    /// Stdout, or a file that appears under its name when [`Output::finish`] says so.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Output> {
        let sink = match path {
            None => Sink::Stdout,
            Some(path) => {
                let name = path.file_name().with_context(|| format!("{}: is not a file name", path.display()))?;
                let mut hidden = std::ffi::OsString::from(".");
                hidden.push(name);
                hidden.push(".ckpt-partial");
                let partial = path.with_file_name(hidden);
                let file = File::create(&partial).with_context(|| partial.display().to_string())?;
                Sink::File { file, partial, path: path.to_owned(), kept: false }
            }
        };
        Ok(Output { sink, closed: false })
    }

    /// Writes one answer and hands it on at once, so that the next tool can begin. An error names where it went.
    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.write_with(|to| to.write_all(text.as_bytes()))
    }

    /// The same for a document as JSON: on one line, or on many for people. It is never held as text, for the plan of
    /// a large model is one of tens of megabytes.
    pub(super) fn write_json(&mut self, document: &Document, pretty: bool) -> anyhow::Result<()> {
        self.write_with(|to| {
            if pretty {
                serde_json::to_writer_pretty(&mut *to, document)?;
            } else {
                serde_json::to_writer(&mut *to, document)?;
            }
            to.write_all(b"\n")
        })
    }

    fn write_with(&mut self, put: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        if self.closed {
            return Ok(());
        }
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::Stdout => &mut io::stdout().lock(),
            Sink::File { file, .. } => file,
        };
        let mut to = BufWriter::with_capacity(PIECE, sink);
        let written = put(&mut to).and_then(|()| to.flush());
        // What is left of an answer that did not fit is not tried again.
        drop(to.into_parts());
        let Err(error) = written else { return Ok(()) };
        self.closed = true;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Ok(());
        }
        let place = match &self.sink {
            Sink::Stdout => "stdout".to_owned(),
            Sink::File { path, .. } => path.display().to_string(),
        };
        Err(anyhow::Error::new(error).context(place))
    }

    /// Gives the file its name.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        if let Sink::File { file, partial, path, kept } = &mut self.sink {
            file.sync_all().with_context(|| partial.display().to_string())?;
            std::fs::rename(&*partial, &*path).with_context(|| path.display().to_string())?;
            *kept = true;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Sink::File { partial, kept: false, .. } = &self.sink {
            // It may never have been made.
            let _ = std::fs::remove_file(partial);
        }
    }
}
