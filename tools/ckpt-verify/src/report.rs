//! The report for people: every finding with its place and what mends it, the worst last, and a line that sums up.

use ckpt::cli::style::plural;
use ckpt::cli::{Cell, Role, Style, Table, figures};
use ckpt::document::{Compared, Counts, Document, FindingRecord, Grade, Verify};

/// The report on one document.
pub(crate) fn report(document: &Document, style: Style) -> String {
    let mut text = style.title(&document.path, document.status);
    text.push('\n');
    let Some(verify) = document.verify.as_ref().and_then(|section| section.own()) else { return text };
    for grade in [Grade::Note, Grade::Warning, Grade::Error] {
        for finding in verify.findings.iter().filter(|finding| finding.severity == grade) {
            text.push_str(&one(finding, style));
        }
    }
    if let Some(stats) = &verify.stats {
        text.push_str(&figures(stats).render(style, 2));
    }
    if let Some(compared) = verify.compared.as_deref().filter(|compared| !compared.is_empty()) {
        text.push_str(&distances(compared).render(style, 2));
    }
    if document.children.is_empty() {
        text.push_str(&sum(verify, style));
    }
    for child in &document.children {
        text.push('\n');
        text.push_str(&report(child, style));
    }
    text
}

/// One finding: grade and rule, then place and words, what was needed and found, and the command.
fn one(finding: &FindingRecord, style: Style) -> String {
    let grade = style.paint(finding.severity, format!("{:<7}", finding.severity.name()));
    let offset = finding.offset.map(|offset| format!("byte {offset}"));
    let place: Vec<String> = [finding.file.clone(), offset, finding.tensor.clone()].into_iter().flatten().collect();
    let title = [grade, style.paint(Role::Strong, &finding.id), style.paint(Role::Plain, place.join(" "))];
    let mut lines = vec![format!("  {}", title.join("  ")).trim_end().to_owned()];
    let mut below = |role, text: &str| lines.push(format!("           {}", style.paint(role, text)));
    below(Role::Plain, &finding.message);
    if let (Some(needed), Some(found)) = (&finding.needed, &finding.found) {
        below(Role::Faint, &format!("needed {needed}, found {found}"));
    }
    if let Some(fix) = &finding.fix {
        below(Role::Command, fix);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn sum(verify: &Verify, style: Style) -> String {
    let expect = verify.expect.as_ref().map(|expect| format!("ready for {expect}"));
    let against = verify.against.as_ref().map(|other| format!("against {other}"));
    let manifest = verify.manifest.as_ref().map(|manifest| format!("manifest {manifest}"));
    let asked: Vec<String> =
        [Some(format!("{} level", verify.level)), expect, against, manifest].into_iter().flatten().collect();
    let Counts { error, warning, note } = verify.counts;
    let counts = [(error, "error", Role::Bad), (warning, "warning", Role::Caution), (note, "note", Role::Plain)];
    let said: Vec<String> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, noun, role)| style.paint(role, plural(count, noun)))
        .collect();
    let said = if said.is_empty() { style.paint(Role::Good, "nothing found") } else { said.join(", ") };
    format!("  {said} {}\n", style.paint(Role::Faint, format!("({})", asked.join(", "))))
}

/// How far the tensors are apart that differ.
fn distances(compared: &[Compared]) -> Table {
    let mut table = Table::new();
    let heading = ["", "difference", "relative", "cosine"].map(|text| Cell::new(Role::Faint, text));
    table.row(heading);
    for row in compared {
        let figure = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3e}"));
        let cosine = row.cosine.map_or_else(|| "-".to_owned(), |cosine| format!("{cosine:.6}"));
        let cells = [row.name.clone(), figure(row.max_abs), figure(row.max_rel), cosine];
        let role = if row.first.is_some() { Role::Bad } else { Role::Plain };
        table.row(cells.map(|text| Cell::new(role, text)));
    }
    table
}
