//! What rules say of themselves: `--rules`, `--explain`, and the page of rules.

use anyhow::Result;
use ckpt::cli::{Cell, Role, Style, Table, Usage};
use ckpt::document::Grade;
use ckpt::facts::Id;

use crate::options::Options;
use crate::rules;

/// Headings over a rule's paragraphs, in their order.
const HEADINGS: [&str; 3] = ["What it does", "Why it is bad", "What helps"];

/// The text that was asked for instead of a check.
pub(crate) fn instead(options: &Options, style: Style) -> Result<Option<String>> {
    if let Some(name) = &options.explain {
        let Some(id) = Id::from_name(name) else {
            return Err(Usage(format!("there is no rule {name:?}; --rules lists them")).into());
        };
        return Ok(Some(explanation(id, style)));
    }
    Ok(options.rules.then(|| table(style)))
}

/// Every rule on one line.
fn table(style: Style) -> String {
    let mut table = Table::new();
    for id in Id::ALL {
        let severity = id.severity();
        let role = Grade::of(severity).map_or(Role::Plain, Role::from);
        table.row([
            Cell::new(Role::Strong, id.name()),
            Cell::new(role, severity.name()),
            Cell::new(Role::Faint, id.level().name()),
            Cell::from(id.meaning()),
        ]);
    }
    table.render(style, 0)
}

/// A rule's paragraphs, under their headings.
fn paragraphs(id: Id) -> Vec<(&'static str, String)> {
    let lines = rules::texts().find(|(other, _)| *other == id).map_or(&[][..], |(_, lines)| lines);
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| {
        let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    });
    HEADINGS.into_iter().zip(paragraphs).collect()
}

/// One rule, at length.
fn explanation(id: Id, style: Style) -> String {
    let severity = id.severity();
    let role = Grade::of(severity).map_or(Role::Plain, Role::from);
    let title = [
        style.paint(Role::Strong, id.name()),
        style.paint(role, severity.name()),
        style.paint(Role::Faint, id.level().name()),
    ];
    let mut lines = vec![title.join("  "), style.paint(Role::Plain, id.meaning())];
    for (heading, paragraph) in paragraphs(id) {
        lines.extend([String::new(), style.paint(Role::Faint, heading)]);
        lines.extend(wrapped(&paragraph, 98).iter().map(|line| style.paint(Role::Plain, format!("  {line}"))));
    }
    lines.join("\n")
}

/// Words in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count().saturating_add(word.chars().count()) < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The page `RULES.md`.
    fn page() -> String {
        let mut page = vec![String::from(
            "# The rules of ckpt-verify\n\nMade from the rules' own documentation; `BLESS=1 cargo test -p ckpt-verify` writes it anew.\n\
             An id never changes its meaning. `--severity ID=ignore|note|warning|error` regrades a rule; some findings of a rule \
             are milder than its usual grade and say so below.\n\n\
             | rule | grade | level | it speaks when |\n|---|---|---|---|",
        )];
        for id in Id::ALL {
            let (name, severity, level) = (id.name(), id.severity().name(), id.level().name());
            page.push(format!("| [{name}](#{name}) | {severity} | {level} | {} |", id.meaning()));
        }
        for id in Id::ALL {
            page.push(format!("\n## {}\n\n{}: {}.", id.name(), id.severity().name(), id.meaning()));
            page.extend(paragraphs(*id).iter().map(|(heading, text)| format!("\n**{heading}.** {text}")));
        }
        page.push(String::new());
        page.join("\n")
    }

    #[test]
    fn every_rule_is_explained_once_and_says_why() {
        for id in Id::ALL {
            let count = rules::texts().filter(|(other, _)| other == id).count();
            assert_eq!(count, 1, "{} is explained {count} times", id.name());
            let said = paragraphs(*id);
            assert!((2..=3).contains(&said.len()), "{} has {} paragraphs", id.name(), said.len());
            assert!(said.iter().all(|(_, text)| text.ends_with('.')), "{}: sentences end", id.name());
        }
    }

    #[test]
    fn the_page_of_rules_is_true() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RULES.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == page(), "RULES.md is not what the rules say; BLESS=1 writes it anew");
    }
}
