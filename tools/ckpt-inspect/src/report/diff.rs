//! The differences to another checkpoint.

use ckpt::cli::style::shape;
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::{Diff, Geometry, Tensor};
use serde_json::Value;

/// Lines of one kind at most; JSON has all of them.
const LINES: usize = 40;

/// One line a difference: `-` only here, `+` only there, `~` in both.
pub(super) fn lines(diff: &Diff, style: Style) -> String {
    if diff.is_empty() {
        return format!("    {}\n", style.paint(Role::Good, "none"));
    }
    let mut table = Table::new();
    let own = |tensor: &Tensor| format!("{} {}", tensor.dtype, shape(&tensor.shape));
    let geometry = |geometry: &Geometry| format!("{} {}", geometry.dtype, shape(&geometry.shape));
    some(&mut table, &diff.only_here, |tensor| {
        [Cell::new(Role::Bad, "-"), Cell::from(tensor.name.as_str()), Cell::new(Role::Faint, own(tensor))]
    });
    some(&mut table, &diff.only_there, |tensor| {
        [Cell::new(Role::Good, "+"), Cell::from(tensor.name.as_str()), Cell::new(Role::Faint, own(tensor))]
    });
    some(&mut table, &diff.changed, |change| {
        let both = format!("{} → {}", geometry(&change.here), geometry(&change.there));
        [Cell::new(Role::Caution, "~"), Cell::from(change.name.as_str()), Cell::from(both)]
    });
    some(&mut table, &diff.config, |change| {
        let value = |value: &Value| if value.is_null() { "not set".to_owned() } else { value.to_string() };
        let both = format!("{} → {}", value(&change.here), value(&change.there));
        [Cell::new(Role::Caution, "~"), Cell::new(Role::Faint, change.key.as_str()), Cell::from(both)]
    });
    table.render(style, 4)
}

/// The first of a kind, and how many more there are.
fn some<T>(table: &mut Table, all: &[T], row: impl Fn(&T) -> [Cell; 3]) {
    for item in all.iter().take(LINES) {
        table.row(row(item));
    }
    if let Some(more) = all.len().checked_sub(LINES).filter(|more| *more > 0) {
        table.row([Cell::from(""), Cell::new(Role::Faint, format!("and {more} more"))]);
    }
}
