//! A tree of models or a cache of repositories: sums over what is inside, and the files that belong to none of it.

use std::collections::BTreeSet;

use ckpt::document::{Document, File, Inspect};
use ckpt::layouts::inside::Inside;

/// The section of a document whose children are done. `own` speaks of the files that belong to none of them.
pub(crate) fn of(inside: &Inside, document: &Document, own: Inspect) -> Inspect {
    let mut sum = Inspect { layout: inside.kind.name().to_owned(), missing: Vec::new(), ..own };
    let mut formats: BTreeSet<String> = sum.formats.iter().cloned().collect();
    for (name, child) in inside.names().iter().zip(&document.children) {
        let Some(part) = child.inspect.as_ref().and_then(|section| section.own()) else { continue };
        sum.parameters = sum.parameters.saturating_add(part.parameters);
        sum.bytes = sum.bytes.saturating_add(part.bytes);
        for (dtype, figures) in &part.dtypes {
            let held = sum.dtypes.entry(dtype.clone()).or_default();
            held.tensors = held.tensors.saturating_add(figures.tensors);
            held.parameters = held.parameters.saturating_add(figures.parameters);
            held.bytes = held.bytes.saturating_add(figures.bytes);
        }
        formats.extend(part.formats.iter().cloned());
        let snapshot = child.snapshot.as_ref().map_or_else(String::new, |snapshot| format!("{snapshot}/"));
        sum.files.extend(part.files.iter().map(|file| {
            // A model that is one file is called as the file.
            let path = if part.layout == "file" { name.clone() } else { format!("{name}/{snapshot}{}", file.path) };
            File { path, ..file.clone() }
        }));
    }
    sum.files.sort_by(|a, b| a.path.cmp(&b.path));
    sum.formats = formats.into_iter().collect();
    sum
}
