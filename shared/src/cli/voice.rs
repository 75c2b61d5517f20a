//! What is said to people on stderr, above the progress bar if there is one.

use std::io::Write;
use std::sync::Mutex;

use indicatif::ProgressBar;

use super::style::Style;
use crate::document::{Grade, escape};

/// Where warnings and errors go.
#[derive(Debug)]
pub(super) struct Voice {
    tool: &'static str,
    quiet: bool,
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
}

impl Voice {
    pub(super) fn new(tool: &'static str, quiet: bool, style: Style) -> Voice {
        Voice { tool, quiet, style, bar: Mutex::new(None) }
    }

    pub(super) fn tool(&self) -> &'static str {
        self.tool
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The bar that lines must not run into.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        if let Ok(mut place) = self.bar.lock() {
            *place = bar;
        }
    }

    /// `ckpt-hash: error: a/b: what happened`, each line escaped.
    pub(super) fn say(&self, grade: Option<Grade>, text: &str) {
        if self.quiet {
            return;
        }
        let mut line = format!("{}: ", self.tool);
        if let Some(grade) = grade {
            line.push_str(&self.style.paint(grade, format!("{}:", grade.name())));
            line.push(' ');
        }
        line.push_str(&text.trim_end().split('\n').map(escape).collect::<Vec<_>>().join("\n"));
        line.push('\n');
        // There is nowhere to tell that stderr is closed.
        let write = || drop(std::io::stderr().lock().write_all(line.as_bytes()));
        match self.bar.lock() {
            Ok(bar) => match bar.as_ref() {
                Some(bar) => bar.suspend(write),
                None => write(),
            },
            Err(_) => write(),
        }
    }
}
