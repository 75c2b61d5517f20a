//! Case files: commands as a person types them, and what they must answer. `tests/README.md` tells the format.

use std::fmt::Write as _;

/// A case file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its parts in their order.
    pub parts: Vec<Part>,
}

/// A part of a case file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `# words`, or an empty line.
    Words(String),
    /// `% command`: where it fails, the case is skipped.
    Needs(String),
    /// A command and its answer.
    Step(Step),
}

/// A command and what it must answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The lines of the command.
    pub command: Vec<String>,
    /// Lines of stdout.
    pub stdout: Vec<String>,
    /// Lines of stderr.
    pub stderr: Vec<String>,
    /// The exit code.
    pub code: i32,
}

/// What a command did answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Text of stdout.
    pub stdout: String,
    /// Text of stderr.
    pub stderr: String,
    /// The exit code.
    pub code: i32,
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    /// The number of the first line that means nothing, and why.
    pub fn parse(text: &str) -> Result<Case, String> {
        let mut parts: Vec<Part> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: &str| format!("line {}: {why}: {line}", number.saturating_add(1));
            let (mark, rest) = line.split_at(line.len().min(1));
            let rest = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
            let step = match parts.last_mut() {
                Some(Part::Step(step)) => Some(step),
                _ => None,
            };
            match (mark, step) {
                ("" | "#", _) => parts.push(Part::Words(line.to_owned())),
                ("%", _) => parts.push(Part::Needs(rest)),
                ("$", _) => parts.push(Part::Step(Step { command: vec![rest], ..Step::default() })),
                (">", Some(step)) => step.command.push(rest),
                ("|", Some(step)) => step.stdout.push(rest),
                ("!", Some(step)) => step.stderr.push(rest),
                ("?", Some(step)) => step.code = rest.parse().map_err(|_| wrong("not an exit code"))?,
                (">" | "|" | "!" | "?", None) => return Err(wrong("an answer without a command")),
                _ => return Err(wrong("a line begins with one of # % $ > | ! ?")),
            }
        }
        Ok(Case { parts })
    }

    /// The text of the case file.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            // Writing to a string cannot fail.
            let _ = match part {
                Part::Words(words) => writeln!(text, "{words}"),
                Part::Needs(command) => writeln!(text, "% {command}"),
                Part::Step(step) => write!(text, "{}", step.print()),
            };
        }
        text
    }
}

impl Step {
    /// The lines that stand for it in a case file.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut put = |mark: &str, line: &str| {
            let _ = writeln!(text, "{}", format!("{mark} {line}").trim_end());
        };
        for (place, line) in self.command.iter().enumerate() {
            put(if place == 0 { "$" } else { ">" }, line);
        }
        self.stdout.iter().for_each(|line| put("|", line));
        self.stderr.iter().for_each(|line| put("!", line));
        if self.code != 0 {
            put("?", &self.code.to_string());
        }
        text
    }

    /// Whether the answer is the expected one.
    pub fn accepts(&self, answer: &Answer) -> bool {
        self.code == answer.code && accepts(&self.stdout, &answer.stdout) && accepts(&self.stderr, &answer.stderr)
    }

    /// The step with the answer as its expectation; what held already stays as it was written.
    pub fn blessed(&self, answer: &Answer) -> Step {
        let lines = |expected: &Vec<String>, text: &str| {
            if accepts(expected, text) { expected.clone() } else { text.lines().map(str::to_owned).collect() }
        };
        Step {
            command: self.command.clone(),
            stdout: lines(&self.stdout, &answer.stdout),
            stderr: lines(&self.stderr, &answer.stderr),
            code: answer.code,
        }
    }
}

/// Whether a text is as expected: `[..]` in a line is any run of characters, `[...]` alone any run of lines. White
/// space at the end of a line does not count.
pub fn accepts(expected: &[String], text: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    lines_accept(expected, &lines)
}

fn lines_accept(expected: &[String], lines: &[&str]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "[...]" => {
            (0..=lines.len()).any(|skipped| lines.get(skipped..).is_some_and(|lines| lines_accept(rest, lines)))
        }
        (Some((first, rest)), Some((line, lines))) => {
            line_accepts(first.trim_end(), line.trim_end()) && lines_accept(rest, lines)
        }
        _ => false,
    }
}

fn line_accepts(expected: &str, line: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(place, _)| place)
                .chain([rest.len()])
                .any(|place| rest.get(place..).is_some_and(|rest| line_accepts(after, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# What it shows.\n% true\n\n$ echo a \\\n>   b\n| a b\n\n$ false\n! no\n? 1\n";

    #[test]
    fn a_case_is_read_and_printed() {
        let case = Case::parse(TEXT).unwrap();
        assert_eq!(case.print(), TEXT);
        let steps: Vec<_> =
            case.parts.iter().filter_map(|part| if let Part::Step(step) = part { Some(step) } else { None }).collect();
        assert_eq!(steps[0].command, ["echo a \\", "  b"]);
        assert_eq!((steps[1].code, steps[1].stderr.as_slice()), (1, ["no".to_owned()].as_slice()));
        assert!(Case::parse("| a\n").is_err());
        assert!(Case::parse("$ a\n? x\n").is_err());
        assert!(Case::parse("a\n").unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn placeholders_stand_for_what_varies() {
        let accepts = |expected: &[&str], text: &str| {
            super::accepts(&expected.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), text)
        };
        assert!(accepts(&["a[..]c", "d"], "abbc\nd\n"));
        assert!(accepts(&["[..]b[..]"], "abc"));
        assert!(!accepts(&["a[..]c"], "abcd\n"));
        assert!(accepts(&["a", "[...]", "z"], "a\nb\nc\nz\n"));
        assert!(accepts(&["[...]"], ""));
        assert!(!accepts(&["a", "[...]", "z"], "a\nb\n"));
        assert!(!accepts(&[], "a\n"));
        assert!(!accepts(&["a"], ""));
    }

    #[test]
    fn blessing_keeps_what_held() {
        let Some(Part::Step(step)) = Case::parse("$ x\n| a[..]\n! old\n").unwrap().parts.pop() else { panic!() };
        let answer = Answer { stdout: "abc\n".into(), stderr: "new\n".into(), code: 2 };
        assert!(!step.accepts(&answer));
        let blessed = step.blessed(&answer);
        assert_eq!(blessed.print(), "$ x\n| a[..]\n! new\n? 2\n");
        assert!(blessed.accepts(&answer));
    }
}
