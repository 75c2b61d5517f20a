//! The report of a conversion for people.

use ckpt::cli::{Role, Style, Table, style};
use ckpt::document::{Document, Inferred};

/// The target, what it was made from, what was inferred, written and lost; of a tree, then each of its models.
pub(crate) fn report(document: &Document, style: Style) -> String {
    let mut text = style.title(&document.path, document.status);
    text.push('\n');
    let Some(convert) = document.convert.as_ref().and_then(|section| section.own()) else {
        text.push_str("  not converted\n");
        return text;
    };
    let mut head = Table::new();
    head.field("to", convert.to.clone());
    head.field("from", convert.source.path.clone());
    text.push_str(&head.render(style, 2));
    section(&mut text, style, "inferred", &convert.inferred, |row: &Inferred| {
        format!("{} = {}  ({})", row.key, row.value, row.from)
    });
    section(&mut text, style, "written", &convert.written, |row| format!("{}  {}", row.path, style::bytes(row.size)));
    if let Some(plan) = &convert.plan {
        section(&mut text, style, "would be written", plan, |row| {
            let size = row.size.map_or_else(|| "size unknown".to_owned(), style::bytes);
            format!("{}  {size}  {}", row.path, style::plural(ckpt::bytes::to_u64(row.tensors.len()), "tensor"))
        });
    }
    section(&mut text, style, "lost", &convert.lost, Clone::clone);
    for child in &document.children {
        text.push_str(&report(child, style));
    }
    text
}

fn section<T>(text: &mut String, style: Style, title: &str, rows: &[T], line: impl Fn(&T) -> String) {
    if rows.is_empty() {
        return;
    }
    let lines = rows.iter().map(|row| format!("    {}\n", style.paint(Role::Plain, line(row))));
    text.extend(std::iter::once(format!("  {}\n", style.paint(Role::Faint, title))).chain(lines));
}
