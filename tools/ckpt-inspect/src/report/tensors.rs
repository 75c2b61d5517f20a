//! The list of tensors.

use ckpt::cli::style::{bytes, shape};
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::Tensor;

/// One line a tensor; the file only where not all of them are in one.
pub(super) fn lines(tensors: &[Tensor], style: Style) -> String {
    let mut table = Table::new();
    let first = tensors.first().and_then(|first| first.file.as_ref());
    let one_file = tensors.iter().all(|tensor| tensor.file.as_ref() == first);
    for tensor in tensors {
        let file = tensor.file.as_ref().filter(|_| !one_file);
        let cells = [
            Cell::from(tensor.name.as_str()),
            Cell::new(Role::Faint, tensor.dtype.as_str()),
            Cell::from(shape(&tensor.shape)),
            Cell::from(bytes(tensor.bytes)).right(),
        ];
        table.row(cells.into_iter().chain(file.map(|file| Cell::new(Role::Faint, file.as_str()))));
    }
    table.render(style, 4)
}
