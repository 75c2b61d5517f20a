//! The models of a tree or the repositories of a cache, one line each, and what they come to.

use ckpt::cli::style::{bytes, plural, short_count};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::{Document, Inspect, Status, escape};

/// The lines of a document whose children are several models.
pub(super) fn lines(document: &Document, inspect: &Inspect, style: Style) -> String {
    let models = u64::try_from(document.children.len()).unwrap_or(u64::MAX);
    let (kind, noun) = if inspect.layout == "cache" { ("a cache", "repository") } else { ("a tree", "model") };
    let count =
        if noun == "repository" && models != 1 { format!("{models} repositories") } else { plural(models, noun) };
    let class = inspect.config.as_ref().and_then(|config| config.architecture.as_deref());
    let class = class.map_or_else(String::new, |class| format!("{}: ", escape(class)));
    let held = [short_count(inspect.parameters), " parameters, ".to_owned(), bytes(inspect.bytes)].concat();
    let mut text = format!("  {class}{kind} of {count}, {held}\n\n");
    let mut table = Table::new();
    table.row(["", "kind", "parameters", "bytes", "dtypes", "lacks"].map(|head| Cell::new(Role::Faint, head)));
    for child in &document.children {
        table.row(line(document, child));
    }
    text.push_str(&table.render(style, 2));
    text
}

fn line(document: &Document, child: &Document) -> [Cell; 6] {
    let own = child.path.strip_prefix(&document.path).unwrap_or(&child.path).trim_start_matches('/');
    let own = document.snapshot.as_deref().and_then(|snapshot| own.strip_prefix(snapshot)).unwrap_or(own);
    let name = Cell::from(escape(own.trim_start_matches('/')));
    let inspect = child.inspect.as_ref().and_then(|section| section.own());
    let none = || Cell::from("");
    let Some(inspect) = inspect.filter(|_| child.status != Status::Error) else {
        let why = child.error.as_ref().map_or("", |error| error.message.as_str());
        return [name, none(), none(), none(), none(), Cell::new(Role::Bad, escape(why))];
    };
    let config = inspect.config.as_ref();
    let class = config.and_then(|config| config.architecture.as_ref().or(config.model_type.as_ref()));
    let family = || inspect.family.as_ref().map(|family| &family.name);
    let class = class.or_else(family).map_or_else(|| inspect.layout.clone(), Clone::clone);
    let dtypes: Vec<&str> = inspect.dtypes.keys().map(String::as_str).collect();
    [
        name,
        Cell::from(escape(&class)),
        Cell::from(short_count(inspect.parameters)).right(),
        Cell::from(bytes(inspect.bytes)).right(),
        Cell::from(dtypes.join(", ")),
        Cell::new(Role::Caution, escape(&inspect.missing.join(", "))),
    ]
}
