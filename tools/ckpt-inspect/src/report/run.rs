//! The steps of a run, one line each.

use ckpt::cli::style::{bytes, count, plural, short_count};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::{Document, Status, escape};

/// The lines of a run.
pub(super) fn lines(document: &Document, style: Style) -> String {
    let own = |child: &Document| child.inspect.as_ref().and_then(|section| section.own().map(|step| step.bytes));
    let held = document.children.iter().filter_map(own).fold(0, u64::saturating_add);
    let steps = u64::try_from(document.children.len()).unwrap_or(u64::MAX);
    let mut text = format!("  a run of {}, {} of weights\n\n", plural(steps, "step"), bytes(held));
    let mut table = Table::new();
    let heads = ["", "step", "epoch", "parameters", "bytes", "training state", "lacks"];
    table.row(heads.map(|head| Cell::new(Role::Faint, head)));
    for child in &document.children {
        table.row(step(document, child));
    }
    text.push_str(&table.render(style, 2));
    text
}

fn step(document: &Document, child: &Document) -> [Cell; 7] {
    let own = child.path.strip_prefix(&document.path).unwrap_or(&child.path).trim_start_matches('/');
    let name = Cell::from(escape(own));
    let inspect = child.inspect.as_ref().and_then(|section| section.own());
    let none = || Cell::from("");
    let Some(inspect) = inspect.filter(|_| child.status != Status::Error) else {
        let why = child.error.as_ref().map_or("", |error| error.message.as_str());
        return [name, none(), none(), none(), none(), none(), Cell::new(Role::Bad, escape(why))];
    };
    let training = inspect.training.as_ref();
    let number = training.and_then(|training| training.step).map_or_else(String::new, count);
    let epoch = training.and_then(|training| training.epoch).map_or_else(String::new, |epoch| epoch.to_string());
    let held = training.map_or_else(String::new, |training| {
        let parts = [(training.optimizer, "optimizer"), (training.scheduler, "scheduler"), (training.rng, "RNG")];
        parts.iter().filter(|(held, _)| *held).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    });
    [
        name,
        Cell::from(number).right(),
        Cell::from(epoch).right(),
        Cell::from(short_count(inspect.parameters)).right(),
        Cell::from(bytes(inspect.bytes)).right(),
        Cell::from(if held.is_empty() { "none".to_owned() } else { held }),
        Cell::new(Role::Caution, escape(&inspect.missing.join(", "))),
    ]
}
