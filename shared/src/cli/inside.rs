//! Checkpoints inside one path (the steps of a run, the models of a tree), each answered for in a child of the path's
//! document.

use std::path::Path;

use anyhow::Result;

use super::context::Context;
use super::failure;
use crate::document::{Document, Grade, Status};
use crate::layouts::hub;

/// Answers for every path in turn, in a child of `document`. One that cannot be told keeps its error, and the others
/// are looked at all the same. The worst child counts for the document.
///
/// # Errors
/// Only [`Stopped`](crate::facts::Stopped).
pub fn inside<'a>(
    document: &mut Document,
    paths: impl IntoIterator<Item = &'a Path>,
    context: &Context,
    mut answer: impl FnMut(&mut Document) -> Result<Status>,
) -> Result<()> {
    for path in paths {
        let child = document.child(path);
        child.snapshot = snapshot(path);
        match answer(child) {
            Ok(status) => child.worsen(status),
            Err(error) if failure::is_stopped(&error) => return Err(error),
            Err(error) => {
                let error = failure::record(&error);
                context.voice.say(Some(Grade::Error), &failure::words(&child.path, &error));
                child.error = Some(error);
                child.worsen(Status::Error);
            }
        }
        let status = child.status;
        document.worsen(status);
    }
    Ok(())
}

/// The snapshot that a path stands for, if it is a repository in the hub's cache.
pub(super) fn snapshot(path: &Path) -> Option<String> {
    hub::snapshot(path)?.ok().map(|chosen| chosen.name)
}
