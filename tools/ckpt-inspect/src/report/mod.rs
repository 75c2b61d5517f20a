//! The report for people: what a checkpoint is, on one screen.

mod diff;
mod files;
mod model;
mod run;
mod several;
mod tensors;
mod tree;

use ckpt::cli::style::{bytes, count, plural, short_count};
use ckpt::cli::{Cell, Role, Style, Table, figures};
use ckpt::document::{Adapter, Document, Inspect, Training, YesNo};

/// The report of a document.
pub(crate) fn of(document: &Document, style: Style) -> String {
    let mut text = style.title(&document.path, document.status);
    text.push('\n');
    let inspect = document.inspect.as_ref().and_then(|section| section.own());
    if inspect.is_some_and(|inspect| inspect.layout == "run") {
        text.push_str(&run::lines(document, style));
    } else if let Some(inspect) = inspect.filter(|_| !document.children.is_empty()) {
        text.push_str(&several::lines(document, inspect, style));
        for child in document.children.iter().filter(|child| !child.children.is_empty()) {
            text.push('\n');
            text.push_str(&of(child, style));
        }
    } else if let Some(inspect) = inspect {
        summary(&mut text, inspect, style);
        if let Some(tree) = &inspect.tree {
            section(&mut text, "Modules", &tree::lines(tree, style), style);
        }
        if let Some(tensors) = &inspect.tensors {
            section(&mut text, "Tensors", &tensors::lines(tensors, style), style);
        }
        if let Some(stats) = &inspect.stats {
            section(&mut text, "Values", &figures(stats).render(style, 4), style);
        }
        if let Some(diff) = &inspect.diff {
            section(&mut text, &format!("Differences to {}", diff.other), &diff::lines(diff, style), style);
        }
    }
    text
}

/// A heading and what stands below it.
fn section(text: &mut String, heading: &str, lines: &str, style: Style) {
    text.push('\n');
    text.push_str("  ");
    text.push_str(&style.paint(Role::Strong, heading));
    text.push('\n');
    text.push_str(lines);
}

fn summary(text: &mut String, inspect: &Inspect, style: Style) {
    text.push_str("  ");
    text.push_str(&kind(inspect));
    text.push('\n');
    let tensors = inspect.dtypes.values().map(|sum| sum.tensors).fold(0, u64::saturating_add);
    text.push_str("  ");
    text.push_str(&style.paint(Role::Strong, format!("{} parameters", short_count(inspect.parameters))));
    if inspect.parameters >= 1000 {
        text.push_str(&[" (", &count(inspect.parameters), ")"].concat());
    }
    let files = inspect.files.iter().filter(|file| file.format.is_some()).count();
    let files = plural(u64::try_from(files).unwrap_or(u64::MAX), "file");
    let held = [" in ", &plural(tensors, "tensor"), ", ", &bytes(inspect.bytes), " in ", &files, "\n"];
    text.push_str(&held.concat());
    text.push('\n');
    text.push_str(&dtypes(inspect).render(style, 2));
    let fields = fields(inspect);
    if !fields.is_empty() {
        text.push('\n');
        text.push_str(&fields.render(style, 2));
    }
    section(text, "Files", &files::lines(&inspect.files, style), style);
}

/// Family, layout and formats on one line.
fn kind(inspect: &Inspect) -> String {
    let mut parts = Vec::new();
    if let Some(family) = &inspect.family {
        let variant = family.variant.as_ref().map_or_else(String::new, |variant| format!(" {variant}"));
        parts.push(format!("{}{variant} (by {})", family.name, family.from));
    } else if let Some(adapter) = &inspect.adapter {
        parts.push(format!("an adapter ({})", adapter.kind));
    } else if let Some(model) = inspect.config.as_ref().and_then(|config| config.model_type.as_ref()) {
        parts.push(model.clone());
    } else {
        parts.push("unknown family".to_owned());
    }
    parts.push(match inspect.layout.as_str() {
        "hf" => "Hugging Face layout".to_owned(),
        "meta" => "Meta layout".to_owned(),
        "mistral" => "Mistral layout".to_owned(),
        "file" => "one file".to_owned(),
        other => other.to_owned(),
    });
    if let Some(shard) = inspect.shard {
        let of = shard.of.map_or_else(String::new, |of| format!(" of {of}"));
        parts.push(format!("shard {}{of}", shard.number));
    }
    parts.push(inspect.formats.join(", "));
    parts.retain(|part| !part.is_empty());
    ckpt::document::escape(&parts.join(" · "))
}

fn dtypes(inspect: &Inspect) -> Table {
    let mut table = Table::new();
    let head = |text: &str| Cell::new(Role::Faint, text);
    table.row([head("dtype"), head("tensors").right(), head("parameters").right(), head("bytes").right()]);
    let mut sums: Vec<_> = inspect.dtypes.iter().collect();
    sums.sort_by_key(|(name, sum)| (std::cmp::Reverse(sum.bytes), *name));
    for (name, sum) in sums {
        let parameters = if sum.parameters == 0 { "–".to_owned() } else { short_count(sum.parameters) };
        table.row([
            Cell::from(name.as_str()),
            Cell::from(count(sum.tensors)).right(),
            Cell::from(parameters).right(),
            Cell::from(bytes(sum.bytes)).right(),
        ]);
    }
    table
}

/// What stands in one line each.
fn fields(inspect: &Inspect) -> Table {
    let mut table = Table::new();
    if let Some(config) = &inspect.config {
        model::fields(&mut table, config);
    }
    if let Some(adapter) = &inspect.adapter {
        self::adapter(&mut table, adapter);
    }
    let from = inspect.tied.from.as_deref().unwrap_or_default();
    match inspect.tied.head {
        YesNo::Yes => table.field("head", format!("tied to the embedding ({from})")),
        YesNo::No => table.field("head", format!("not tied to the embedding ({from})")),
        YesNo::Unknown => {}
    }
    for names in inspect.tied.shared.iter().take(5) {
        table.field("shared", names.join(" = "));
    }
    if let Some(more) = inspect.tied.shared.len().checked_sub(5).filter(|more| *more > 0) {
        table.field("", format!("and {more} more groups"));
    }
    if let Some(tokenizer) = &inspect.tokenizer {
        let tokens = tokenizer.tokens.map_or_else(|| "unreadable".to_owned(), |tokens| plural(tokens, "token"));
        table.field("tokenizer", format!("{}, {tokens} ({})", tokenizer.kind, tokenizer.file));
    }
    if let Some(training) = &inspect.training {
        self::training(&mut table, training);
    }
    for also in &inspect.also {
        table.field("also", also.as_str());
    }
    if !inspect.missing.is_empty() {
        table.field("missing", Cell::new(Role::Caution, inspect.missing.join(", ")));
    }
    table
}

fn adapter(table: &mut Table, adapter: &Adapter) {
    let rank = adapter.rank.map(|rank| format!("rank {rank}"));
    let alpha = adapter.alpha.map_or_else(|| "alpha unknown".to_owned(), |alpha| format!("alpha {alpha}"));
    let kind = if adapter.rslora { format!("{}, rank-stabilised", adapter.kind) } else { adapter.kind.clone() };
    let parts: Vec<String> = [Some(kind), rank, Some(alpha)].into_iter().flatten().collect();
    table.field("adapter", format!("{} ({} names)", parts.join(", "), adapter.names));
    table.field("changes", format!("{} of {}", plural(adapter.modules, "module"), adapter.targets.join(", ")));
    if let Some(base) = &adapter.base {
        table.field("base", base.as_str());
    }
}

fn training(table: &mut Table, training: &Training) {
    // A script's own file has no form worth naming.
    let mut parts: Vec<String> = training.form.iter().filter(|form| *form != "file").cloned().collect();
    parts.extend(training.step.map(|step| format!("step {}", count(step))));
    parts.extend(training.epoch.map(|epoch| format!("epoch {epoch}")));
    for (held, word) in [(training.optimizer, "optimizer"), (training.scheduler, "scheduler"), (training.rng, "RNG")] {
        parts.push(if held { word.to_owned() } else { format!("no {word}") });
    }
    table.field("training", parts.join(", "));
    let found: Vec<&str> = training.found.iter().take(8).map(String::as_str).collect();
    let more = training.found.len().saturating_sub(found.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    table.field("", Cell::new(Role::Faint, format!("in {}{more}", found.join(", "))));
}
