//! The list of tensors.

use ckpt::cli::style::{bytes, shape};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::Tensor;

/// One line a tensor.
pub(super) fn lines(tensors: &[Tensor], style: Style) -> String {
    let mut table = Table::new();
    for tensor in tensors {
        table.row([
            Cell::from(tensor.name.as_str()),
            Cell::new(Role::Faint, tensor.dtype.as_str()),
            Cell::from(shape(&tensor.shape)),
            Cell::from(bytes(tensor.bytes)).right(),
            Cell::new(Role::Faint, tensor.file.clone().unwrap_or_default()),
        ]);
    }
    table.render(style, 4)
}
