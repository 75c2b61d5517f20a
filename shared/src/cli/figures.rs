//! The table of figures of values, for people: one line a tensor.

use super::style::{Cell, Role, Table};
use crate::document::Stats;

/// A heading, and a row for every tensor, two for one of complex numbers. Zeros, NaN and Inf are said where there are some.
pub fn figures(stats: &[Stats]) -> Table {
    let mut table = Table::new();
    let heading = ["", "min", "max", "mean", "std", "norm"].map(|text| Cell::new(Role::Faint, text));
    let [name, rest @ ..] = heading;
    table.row(std::iter::once(name).chain(rest.map(Cell::right)));
    for row in stats {
        let imaginary = row.imaginary.iter().map(|figures| (format!("{} (imaginary)", row.name), figures));
        for (name, row) in std::iter::once((row.name.clone(), &row.figures)).chain(imaginary) {
            let cells =
                [row.min, row.max, row.mean, row.std, row.norm].map(|figure| Cell::from(number(figure)).right());
            let odd = [(row.zeros, "zeros"), (row.nan, "NaN"), (row.inf, "Inf")];
            let odd: Vec<String> =
                odd.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            let role = if row.nan > 0 || row.inf > 0 { Role::Bad } else { Role::Faint };
            let first = std::iter::once(Cell::from(name.as_str()));
            table.row(first.chain(cells).chain(std::iter::once(Cell::new(role, odd.join(", ")))));
        }
    }
    table
}

/// Five digits, with an exponent where the number would be long without one.
fn number(figure: Option<f64>) -> String {
    let Some(figure) = figure else { return "-".to_owned() };
    let size = figure.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&size) {
        format!("{figure:.5}").chars().take(8).collect::<String>().trim_end_matches('.').to_owned()
    } else {
        format!("{figure:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_stay_short() {
        let shown = [0.0, 1.0, -0.5, 12345.678, 0.001, 1e-9, -2.5e7].map(|figure| number(Some(figure)));
        assert_eq!(shown, ["0", "1.00000", "-0.50000", "12345.67", "0.00100", "1.000e-9", "-2.500e7"]);
        assert_eq!(number(None), "-");
    }
}
