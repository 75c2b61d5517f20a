//! The tree of modules.

use ckpt::cli::style::{count, shape, short_count};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::TreeNode;

/// One line a module or tensor, those inside it below and further in.
pub(super) fn lines(root: &TreeNode, style: Style) -> String {
    let mut table = Table::new();
    let head = |text: &str| Cell::new(Role::Faint, text);
    table.row([head("module"), head("parameters").right(), head("tensors").right()]);
    for child in &root.children {
        node(&mut table, child, "", 0);
    }
    table.render(style, 4)
}

/// A node and what is in it. A module that holds nothing but one other is written before it on one line.
fn node(table: &mut Table, at: &TreeNode, before: &str, depth: usize) {
    let name = if before.is_empty() { at.name.clone() } else { format!("{before}.{}", at.name) };
    if let ([only], None) = (at.children.as_slice(), &at.tensor) {
        node(table, only, &name, depth);
        return;
    }
    let geometry = at.tensor.as_ref();
    let geometry = geometry.map(|tensor| Cell::from(format!("{} {}", tensor.dtype, shape(&tensor.shape))));
    let parameters = if at.parameters == 0 { "–".to_owned() } else { short_count(at.parameters) };
    let cells = [
        Cell::from(format!("{}{name}", "  ".repeat(depth))),
        Cell::from(parameters).right(),
        Cell::new(Role::Faint, count(at.tensors)).right(),
    ];
    table.row(cells.into_iter().chain(geometry));
    for child in &at.children {
        node(table, child, "", depth.saturating_add(1));
    }
}
