//! The digests of earlier runs: the file they are kept in, and what the document says of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ckpt::cli::Context;
use ckpt::document::{Audit, Counts, Document, Status};
use ckpt::facts::limits;
use ckpt::plan::digest::{Again, Cache};

/// A cache and its file.
#[derive(Debug)]
pub(crate) struct Kept {
    file: PathBuf,
    cache: Cache,
}

impl Kept {
    /// Reads the cache. One that is not there is empty; one that cannot be used is not, which people are told.
    pub(crate) fn open(file: &Path, subset: Option<(u64, u64)>, max_seconds: Option<u64>, context: &Context) -> Kept {
        let until = max_seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        let cache = Cache::new(Again { subset, until });
        if let Err(why) = read(file).and_then(|text| text.map_or(Ok(()), |text| cache.read(&text))) {
            context.say(&format!("the cache {} is not used: {why}", file.display()));
        }
        Kept { file: file.to_owned(), cache }
    }

    /// The digests.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Ends one checkpoint: its audit goes into the document, what was learned into the file.
    pub(crate) fn close(&self, document: &mut Document, context: &Context) -> Status {
        let audit = self.cache.audit();
        let gone = self.cache.forget_gone(&document.path());
        if (audit.new > 0 || audit.again > 0 || gone > 0)
            && let Err(error) = self.write()
        {
            context.say(&format!("the digests are not kept: {error:#}"));
        }
        let findings = context.policy.records(&audit.rotten);
        let status = context.policy.status(&findings);
        if let Some(hash) = document.hash.as_mut().and_then(|section| section.own_mut()) {
            let counts = Counts::of(&findings);
            let (new, again, kept, put_off) = (audit.new, audit.again, audit.kept, audit.put_off);
            hash.audit = Some(Audit { new, again, kept, put_off, counts, findings });
        }
        status
    }

    /// Writes the file whole or not at all.
    fn write(&self) -> Result<()> {
        let name = self.file.file_name().context("the cache has no name")?.to_string_lossy();
        // A name that no tool takes for a part of a checkpoint.
        let partial = self.file.with_file_name(format!(".{name}.{}.ckpt-partial", std::process::id()));
        let write = || -> Result<()> {
            let mut file = std::fs::File::create(&partial)?;
            file.write_all(self.cache.text()?.as_bytes())?;
            file.sync_all()?;
            Ok(std::fs::rename(&partial, &self.file)?)
        };
        write().inspect_err(|_| drop(std::fs::remove_file(&partial))).with_context(|| self.file.display().to_string())
    }
}

/// The text of the file, if there is one.
fn read(file: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(data) if data.len() > limits::JSON => return Err("it is larger than one can be".to_owned()),
        _ => {}
    }
    std::fs::read_to_string(file).map(Some).map_err(|error| error.to_string())
}
