//! The files, shards of one set on one line.

use ckpt::cli::style::bytes;
use ckpt::cli::{Cell, Role, Style, Table};
use ckpt::document::File;
use ckpt::layouts::names;

/// Lines at most; the rest is counted.
const LINES: usize = 24;

/// One line: a file, or the shards of a set.
struct Line {
    path: String,
    size: u64,
    format: Option<String>,
    files: u64,
    /// What shards of one set have in common: the name with its number taken out.
    set: Option<String>,
}

/// The list.
pub(super) fn lines(files: &[File], style: Style) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for file in files {
        let set = set(&file.path);
        match lines.last_mut().filter(|last| set.is_some() && last.set == set && last.format == file.format) {
            Some(last) => {
                last.size = last.size.saturating_add(file.size);
                last.files = last.files.saturating_add(1);
            }
            None => lines.push(Line {
                path: file.path.clone(),
                size: file.size,
                format: file.format.clone(),
                files: 1,
                set,
            }),
        }
    }
    let mut table = Table::new();
    for line in lines.iter().take(LINES) {
        let path = match &line.set {
            Some(set) if line.files > 1 => format!("{set}  ({} files)", line.files),
            _ => line.path.clone(),
        };
        let format = line.format.as_ref().map(|format| Cell::new(Role::Faint, format.as_str()));
        table.row([Cell::from(bytes(line.size)).right(), Cell::from(path)].into_iter().chain(format));
    }
    if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
        table.row([Cell::from(""), Cell::new(Role::Faint, format!("and {more} more"))]);
    }
    table.render(style, 4)
}

/// The name of a shard with `*` where its number stands.
fn set(path: &str) -> Option<String> {
    let own = path.rsplit('/').next().unwrap_or(path);
    let at = if names::shard_number(path).is_some() {
        path.rfind("-of-")?
    } else if names::meta_rank(own).is_some() && own != "consolidated.pth" {
        path.rfind(".pth")?
    } else {
        return None;
    };
    let (before, after) = path.split_at_checked(at)?;
    let stem = before.trim_end_matches(|character: char| character.is_ascii_digit());
    Some(format!("{stem}*{after}"))
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn shards_of_a_set_have_one_name() {
        assert_eq!(set("a/model-00002-of-000062.safetensors").unwrap(), "a/model-*-of-000062.safetensors");
        assert_eq!(set("original/consolidated.07.pth").unwrap(), "original/consolidated.*.pth");
        assert_eq!(set("consolidated.pth"), None);
        assert_eq!(set("config.json"), None);
    }
}
