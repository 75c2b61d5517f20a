//! How reports look: colours, aligned columns, sizes and counts that people can read.

use crate::document::{Grade, Status, escape};

/// Colours or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    color: bool,
}

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// What one reads.
    #[default]
    Plain,
    /// What one looks for: a title, the answer.
    Strong,
    /// What one skips: labels, units, origins.
    Faint,
    /// It is well.
    Good,
    /// Look at this.
    Caution,
    /// It is not well.
    Bad,
    /// Something to type: a command that mends.
    Command,
}

impl Role {
    /// Parameters of "select graphic rendition" (ECMA-48, 8.3.117), out of the eight colours every terminal themes.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Caution => "33",
            Self::Bad => "31",
            Self::Command => "36",
        }
    }
}

impl From<Status> for Role {
    fn from(status: Status) -> Role {
        match status {
            Status::Ok => Self::Good,
            Status::Findings => Self::Caution,
            Status::Error => Self::Bad,
        }
    }
}

impl From<Grade> for Role {
    fn from(grade: Grade) -> Role {
        match grade {
            Grade::Note => Self::Faint,
            Grade::Warning => Self::Caution,
            Grade::Error => Self::Bad,
        }
    }
}

impl Style {
    /// With colours or without.
    pub fn new(color: bool) -> Style {
        Style { color }
    }

    /// The text in the colour of its role, with what could deceive a terminal escaped.
    pub fn paint(self, role: impl Into<Role>, text: impl AsRef<str>) -> String {
        let (role, text) = (role.into(), escape(text.as_ref()));
        if self.color && role != Role::Plain { format!("\x1b[{}m{text}\x1b[0m", role.code()) } else { text }
    }

    /// The first line of a report: the path, and the status if it is not ok.
    pub fn title(self, path: &str, status: Status) -> String {
        let path = self.paint(Role::Strong, path);
        if status == Status::Ok { path } else { format!("{path}  {}", self.paint(status, status.name())) }
    }
}

/// One cell of a [`Table`].
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    role: Role,
    right: bool,
}

impl Cell {
    /// Text in a role's colour.
    pub fn new(role: impl Into<Role>, text: impl Into<String>) -> Cell {
        Cell { text: escape(&text.into()), role: role.into(), right: false }
    }

    /// Pushed to the right edge of its column, as numbers are.
    pub fn right(mut self) -> Cell {
        self.right = true;
        self
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(Role::Plain, text)
    }
}

/// Rows whose columns are aligned, two spaces apart.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        Table::default()
    }

    /// Adds a row; rows may have different lengths.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a faint label and what it stands for.
    pub fn field(&mut self, label: &str, value: impl Into<Cell>) {
        self.row([Cell::new(Role::Faint, label), value.into()]);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as lines that end with a line feed, each behind `indent` spaces and without spaces at its end.
    pub fn render(&self, style: Style, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let mut lines = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width.saturating_sub(cell.text.chars().count()));
                let (before, after) = if cell.right { (space.as_str(), "") } else { ("", space.as_str()) };
                line.push_str(if place == 0 { "" } else { "  " });
                line.push_str(before);
                line.push_str(&style.paint(cell.role, &cell.text));
                line.push_str(after);
            }
            lines.push_str(line.trim_end_matches(' '));
            lines.push('\n');
        }
        lines
    }
}

/// A number of bytes in three digits and powers of 1000: `2.47 GB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A number of things in three digits: `1.24 B` for 1,235,814,400, as models are called.
pub fn short_count(count: u64) -> String {
    scaled(count, &["", " K", " M", " B", " T", " Q", " Qi"])
}

/// Three digits and a unit, rounded to nearest.
fn scaled(number: u64, units: &[&str]) -> String {
    let mut divisor = 1_u64;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or("");
    // 999.5 of a unit would round to four digits, so it is one of the next.
    while u128::from(number).saturating_mul(2) >= u128::from(divisor).saturating_mul(1999) {
        let (Some(next), Some(larger)) = (units.next(), divisor.checked_mul(1000)) else { break };
        (unit, divisor) = (next, larger);
    }
    if divisor == 1 {
        return format!("{number}{unit}");
    }
    let hundredths = |digits: u128| {
        let (number, divisor) = (u128::from(number).saturating_mul(digits), u128::from(divisor));
        number.saturating_add(divisor.checked_div(2).unwrap_or(0)).checked_div(divisor).unwrap_or(0)
    };
    let (two, one) = (hundredths(100), hundredths(10));
    if two < 1000 {
        format!("{}.{:02}{unit}", two / 100, two % 100)
    } else if one < 1000 {
        format!("{}.{}{unit}", one / 10, one % 10)
    } else {
        format!("{}{unit}", hundredths(1))
    }
}

/// A count with its digits in groups of three, a narrow no-break space between them.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len().saturating_mul(2));
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(place);
        if place != 0 && left % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A shape as people write it: `2048 × 8192`; `scalar` for none.
pub fn shape(shape: &[u64]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

/// A number and its noun: `1 tensor`, `2 tensors`.
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1005, "1.01 kB"),
            (9994, "9.99 kB"),
            (9996, "10.0 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (2_471_645_608, "2.47 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
        assert_eq!(short_count(1_235_814_400), "1.24 B");
        assert_eq!(short_count(12), "12");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_235_814_400].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}235\u{202f}814\u{202f}400"]
        );
        assert_eq!(plural(1, "tensor"), "1 tensor");
        assert_eq!(plural(0, "tensor"), "0 tensors");
        assert_eq!(shape(&[2, 3]), "2 × 3");
    }

    #[test]
    fn columns_are_aligned_whatever_the_colour() {
        let mut table = Table::new();
        table.row([Cell::new(Role::Faint, "a"), Cell::from("9").right(), Cell::from("x")]);
        table.row([Cell::from("größe"), Cell::from("100").right()]);
        table.field("b\x1b[2J", "");
        assert_eq!(table.render(Style::new(false), 2), "  a             9  x\n  größe       100\n  b\\u{1b}[2J\n");
        assert!(table.render(Style::new(true), 2).starts_with("  \x1b[2ma\x1b[0m             9  x\n"));
        assert_eq!(Style::new(true).title("p", Status::Findings), "\x1b[1mp\x1b[0m  \x1b[33mfindings\x1b[0m");
    }
}
