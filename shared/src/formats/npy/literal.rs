//! The few literals of Python in which numpy writes the header of an array: texts, numbers, truth values, sequences and
//! a dictionary.

/// Sequences within sequences: a record of records of arrays has four.
const DEEP: usize = 32;

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A text between quotes of either kind.
    Text(String),
    /// A number that is no fraction and not negative.
    Number(u64),
    /// `True` or `False`.
    Truth(bool),
    /// A tuple or a list.
    Sequence(Vec<Literal>),
    /// A dictionary.
    Dictionary(Vec<(Literal, Literal)>),
}

impl Literal {
    /// The literal that a text is, with nothing but spaces around it.
    pub(super) fn parse(text: &str) -> Option<Literal> {
        let mut parser = Parser { rest: text, depth: 0 };
        let literal = parser.literal()?;
        parser.rest.trim().is_empty().then_some(literal)
    }

    /// The value of a key, if this is a dictionary that has it; the last one, as Python takes it.
    pub(super) fn get(&self, key: &str) -> Option<&Literal> {
        let Literal::Dictionary(items) = self else { return None };
        items.iter().rev().find(|item| matches!(&item.0, Literal::Text(text) if text == key)).map(|item| &item.1)
    }

    /// The numbers of a sequence of numbers.
    pub(super) fn numbers(&self) -> Option<Vec<u64>> {
        let Literal::Sequence(items) = self else { return None };
        let number = |item: &Literal| if let Literal::Number(number) = item { Some(*number) } else { None };
        items.iter().map(number).collect()
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    /// Takes one character, if it comes next.
    fn take(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn literal(&mut self) -> Option<Literal> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '{' => self.within(Parser::dictionary),
            '(' => self.within(|parser| parser.sequence('(', ')')),
            '[' => self.within(|parser| parser.sequence('[', ']')),
            'T' | 'F' => self.truth(),
            '0'..='9' => self.number(),
            _ => self.text(),
        }
    }

    fn within(&mut self, part: impl FnOnce(&mut Self) -> Option<Literal>) -> Option<Literal> {
        self.depth = self.depth.checked_add(1).filter(|&depth| depth <= DEEP)?;
        let literal = part(self)?;
        self.depth = self.depth.saturating_sub(1);
        Some(literal)
    }

    fn dictionary(&mut self) -> Option<Literal> {
        self.take('{');
        let mut items = Vec::new();
        while !self.take('}') {
            let key = self.literal()?;
            let value = if self.take(':') { self.literal()? } else { return None };
            items.push((key, value));
            if !self.take(',') && !self.rest.starts_with('}') {
                return None;
            }
        }
        Some(Literal::Dictionary(items))
    }

    fn sequence(&mut self, open: char, close: char) -> Option<Literal> {
        self.take(open);
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.literal()?);
            if !self.take(',') && !self.rest.starts_with(close) {
                return None;
            }
        }
        Some(Literal::Sequence(items))
    }

    fn truth(&mut self) -> Option<Literal> {
        let (rest, value) = match self.rest.strip_prefix("True") {
            Some(rest) => (rest, true),
            None => (self.rest.strip_prefix("False")?, false),
        };
        self.rest = rest;
        Some(Literal::Truth(value))
    }

    fn number(&mut self) -> Option<Literal> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        // Python 2 wrote long numbers with an L.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().ok().map(Literal::Number)
    }

    /// A text. The names of fields alone could have escapes, and no field is read.
    fn text(&mut self) -> Option<Literal> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.rest.strip_prefix(quote)?.split_once(quote)?;
        self.rest = rest;
        Some(Literal::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_numpy_are_read() {
        let header = Literal::parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4L), }  \n").unwrap();
        assert_eq!(header.get("descr"), Some(&Literal::Text("<f4".into())));
        assert_eq!(header.get("fortran_order"), Some(&Literal::Truth(false)));
        assert_eq!(header.get("shape").and_then(Literal::numbers), Some(vec![3, 4]));
        let record = Literal::parse("{'descr': [('a', '<f4'), (\"b\", '|S3', (2,))]}").unwrap();
        assert!(matches!(record.get("descr"), Some(Literal::Sequence(fields)) if fields.len() == 2));
        assert_eq!(Literal::parse("()").and_then(|shape| shape.numbers()), Some(vec![]));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "{", "(1,,2)", "(1 2)", "{'a' 1}", "(-1,)", "'a", "1 2", "99999999999999999999", "None"] {
            assert_eq!(Literal::parse(text), None, "{text}");
        }
        assert_eq!(Literal::parse(&"(".repeat(100_000)), None);
    }
}
