//! The answer in other words than JSON: a report for people, a list for `sha256sum`.

use std::path::Path;

use ckpt::cli::style::{bytes, plural};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::digests::Algorithm;
use ckpt::document::{Audit, Check, Document, FileDigest, Hash};
use ckpt::facts::Id;
use ckpt::manifests::{self, FileLine, oms};

/// The report for a terminal.
pub(crate) fn text(document: &Document, style: Style) -> String {
    let mut text = style.title(&document.path, document.status);
    text.push('\n');
    if let Some(hash) = document.hash.as_ref().and_then(|section| section.own()) {
        text.push_str(&match &hash.check {
            Some(check) => checked(check, &hash.notes, style),
            None => taken(hash, style),
        });
        if let Some(audit) = &hash.audit {
            text.push_str(&audited(audit, style));
        }
    }
    for child in &document.children {
        text.push_str(&self::text(child, style));
    }
    text
}

fn taken(hash: &Hash, style: Style) -> String {
    let mut table = Table::new();
    let mut root = |label: &str, root: &Option<String>, of: String| {
        if let Some(root) = root {
            table.row([
                Cell::new(Role::Faint, label),
                Cell::new(Role::Strong, format!("{}:{root}", hash.algorithm)),
                Cell::new(Role::Faint, of),
            ]);
        }
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let tensors = hash.tensors.as_ref().map(|tensors| plural(count(tensors.len()), "tensor"));
    let names = format!("{} names", hash.names);
    root("tensors", &hash.root, tensors.map_or(names.clone(), |tensors| format!("{tensors}, {names}")));
    let files = hash.files.as_ref().map(|files| {
        let size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        format!("{}, {}", plural(count(files.len()), "file"), bytes(size))
    });
    root("files", &hash.files_root, files.unwrap_or_default());
    if !hash.left_out.is_empty() {
        table.field("left out", hash.left_out.join(", "));
    }
    if !hash.excluded.is_empty() {
        table.field("excluded", hash.excluded.join(", "));
    }
    for note in &hash.notes {
        table.field("note", note.as_str());
    }
    for shared in hash.shared.iter().flatten() {
        let what = format!("{}, {}", plural(shared.tensors, "tensor"), bytes(shared.bytes));
        table.field("shared", format!("{what} with {}", shared.path));
    }
    let mut text = table.render(style, 2);
    let mut listed = Table::new();
    for file in hash.files.iter().flatten() {
        let size = Cell::from(bytes(file.size)).right();
        listed.row([Cell::new(Role::Faint, file.digest.as_str()), size, Cell::from(file.path.as_str())]);
    }
    if !listed.is_empty() {
        text.push('\n');
        text.push_str(&listed.render(style, 2));
    }
    text
}

fn audited(audit: &Audit, style: Style) -> String {
    let mut table = Table::new();
    let (new, again, kept) = (audit.new, audit.again, audit.kept);
    table.field("read", format!("{}, and {again} again; {kept} known", plural(new, "new file")));
    for finding in &audit.findings {
        table.row([
            Cell::new(finding.severity, finding.id.as_str()),
            Cell::new(Role::Strong, finding.file.as_deref().unwrap_or("")),
            Cell::new(Role::Faint, finding.message.as_str()),
        ]);
    }
    table.render(style, 2)
}

fn checked(check: &Check, notes: &[String], style: Style) -> String {
    let mut table = Table::new();
    let number = |label: &str, number: u64, role: Role| {
        let role = if number == 0 { Role::Faint } else { role };
        [Cell::new(Role::Faint, label), Cell::new(role, number.to_string()).right()]
    };
    table.row(number("unchanged", check.unchanged, Role::Good));
    table.row(number("changed", check.changed, Role::Bad));
    table.row(number("missing", check.missing, Role::Bad));
    table.row(number("added", check.added, Role::Bad));
    table.row(number("moved", check.moved, Role::Bad));
    let mut text = table.render(style, 2);
    if !notes.is_empty() {
        let mut table = Table::new();
        for note in notes {
            table.field("note", note.as_str());
        }
        text.push_str(&table.render(style, 2));
    }
    let mut listed = Table::new();
    for finding in &check.findings {
        let what = finding.tensor.as_deref().or(finding.file.as_deref()).unwrap_or("");
        let word = match Id::from_name(&finding.id) {
            Some(Id::ManifestChanged) => "changed",
            Some(Id::ManifestMissing) => "missing",
            Some(Id::ManifestAdded) => "added",
            Some(Id::ManifestMoved) => "moved",
            _ => finding.severity.name(),
        };
        let kind = if finding.tensor.is_some() { "tensor" } else { "" };
        listed.row([
            Cell::new(finding.severity, word),
            Cell::new(Role::Faint, kind),
            Cell::new(Role::Strong, what),
            Cell::new(Role::Faint, finding.message.as_str()),
        ]);
    }
    if !listed.is_empty() {
        text.push('\n');
        text.push_str(&listed.render(style, 2));
    }
    text
}

/// The digests of files as `sha256sum` and `md5sum` list them.
pub(crate) fn sums(document: &Document) -> String {
    let hash = document.hash.as_ref().and_then(|section| section.own());
    let files = hash.iter().filter_map(|hash| hash.files.as_ref()).flatten();
    files.map(|file| manifests::line(&file.path, &file.digest)).collect()
}

/// The unsigned statement of OpenSSF Model Signing.
pub(crate) fn statement(document: &Document) -> String {
    let Some(hash) = document.hash.as_ref().and_then(|section| section.own()) else { return String::new() };
    let path = document.path();
    let line = |file: &FileDigest| FileLine { path: file.path.clone(), size: file.size, digest: file.digest.clone() };
    let files: Vec<FileLine> = hash.files.iter().flatten().map(line).collect();
    // A name of `.` or `..` says nothing.
    let named = path.canonicalize().unwrap_or_else(|_| path.clone());
    let name = named.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    let algorithm = Algorithm::from_name(&hash.algorithm).unwrap_or_default();
    let links = files.iter().any(|file| is_linked(&path, &file.path));
    format!("{:#}\n", oms::write(&name, algorithm, &files, &hash.excluded, links))
}

/// Whether the way to a file below `root` leads over a symbolic link.
fn is_linked(root: &Path, name: &str) -> bool {
    let mut way = root.to_owned();
    root.is_dir()
        && name.split('/').any(|part| {
            way.push(part);
            way.is_symlink()
        })
}
