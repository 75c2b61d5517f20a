//! What goes to stdout, or to the file that stands for it: whole documents or nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

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
        if self.closed || text.is_empty() {
            return Ok(());
        }
        let written = match &mut self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            }
            Sink::File { file, .. } => file.write_all(text.as_bytes()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                let place = match &self.sink {
                    Sink::Stdout => "stdout".to_owned(),
                    Sink::File { path, .. } => path.display().to_string(),
                };
                Err(anyhow::Error::new(error).context(place))
            }
            Ok(()) => Ok(()),
        }
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
