//! The run of a tool: documents in, documents out, the worst answer as exit code.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use super::command::{self, Line};
use super::common::{Common, colors_are_welcome};
use super::context::{Context, Now};
use super::meter::Meter;
use super::output::Output;
use super::signal::Signals;
use super::style::Style;
use super::voice::Voice;
use super::{Tool, failure, input};
use crate::document::{Document, ErrorRecord, Grade, SCHEMA, Status, schema};
use crate::facts::Progress;

/// Could not tell.
const TROUBLE: u8 = 2;

/// Runs a tool on the process's own arguments and streams.
pub fn main<T: Tool>() -> ExitCode {
    let words = std::env::args_os();
    let on_terminal = std::io::stderr().is_terminal();
    let plain = Voice::new(T::NAME, false, Style::new(on_terminal && colors_are_welcome()));
    let code = match command::read::<T>(words) {
        Line::Print(text) => print(&plain, &text),
        Line::Wrong(message) => {
            plain.say(Some(Grade::Error), &message);
            TROUBLE
        }
        Line::Run(line) => {
            let (tool, mut common) = *line;
            if common.paths.is_empty() && common.paths_from.is_none() {
                common.paths = tool.paths();
            }
            let voice = Voice::new(T::NAME, common.quiet, Style::new(common.colors(on_terminal)));
            start(&tool, &common, Arc::new(voice))
        }
    };
    ExitCode::from(code)
}

/// Prints something that is no answer.
fn print(voice: &Voice, text: &str) -> u8 {
    let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    match Output::open(None).and_then(|mut output| output.write(&line)) {
        Ok(()) => 0,
        Err(error) => {
            voice.say(Some(Grade::Error), &format!("{error:#}"));
            TROUBLE
        }
    }
}

/// Prints what was asked for instead of an answer, or goes to work.
fn start<T: Tool>(tool: &T, common: &Common, voice: Arc<Voice>) -> u8 {
    let style = Style::new(common.colors(std::io::stdout().is_terminal()));
    let instead = if common.schema {
        serde_json::to_string_pretty(&schema()).map(Some).map_err(anyhow::Error::from)
    } else if let Some(kind) = common.generate {
        command::generate::<T>(kind).map(Some).map_err(anyhow::Error::from)
    } else {
        tool.instead(style)
    };
    match instead {
        Ok(Some(text)) => return print(&voice, &text),
        Ok(None) => {}
        Err(error) => return trouble::<T>(&voice, &error),
    }
    if let Some(message) = input::misuse(common, std::io::stdin().is_terminal()) {
        voice.say(Some(Grade::Error), &command::misuse::<T>(message));
        return TROUBLE;
    }
    let progress = Progress::default();
    let signals = match Signals::listen(&progress) {
        Ok(signals) => signals,
        Err(error) => return trouble::<T>(&voice, &error.into()),
    };
    let context = Context {
        jobs: common.jobs(),
        progress,
        policy: common.policy(),
        from: common.from,
        weights: common.weights.into(),
        voice,
        now: Mutex::new(Now::default()),
    };
    let mut frame = Frame { tool, common, context, signals, style, worst: 0, written: 0 };
    match frame.work() {
        Ok(code) => code,
        Err(error) => trouble::<T>(&frame.context.voice, &error),
    }
}

/// Says why there is no answer.
fn trouble<T: Tool>(voice: &Voice, error: &anyhow::Error) -> u8 {
    let text = failure::usage(error).map_or_else(|| format!("{error:#}"), |usage| command::misuse::<T>(&usage.0));
    voice.say(Some(Grade::Error), &text);
    TROUBLE
}

struct Frame<'a, T> {
    tool: &'a T,
    common: &'a Common,
    context: Context,
    signals: Signals,
    style: Style,
    worst: u8,
    written: u64,
}

impl<T: Tool> Frame<'_, T> {
    /// Every document in turn. The code is that of a signal if one came, else of the worst document.
    fn work(&mut self) -> anyhow::Result<u8> {
        let inputs = input::open(self.common);
        let gathered = if T::GATHERS {
            let mut gathered = Vec::new();
            while let Some(document) = self.next(&inputs)? {
                gathered.push(document);
            }
            gathered
        } else {
            Vec::new()
        };
        if let Some(code) = self.signals.code() {
            return Ok(code);
        }
        self.tool.prepare(&gathered, &self.context)?;
        let mut output = Output::open(self.tool.output())?;
        let mut gathered = gathered.into_iter();
        loop {
            let next = if T::GATHERS { Ok(gathered.next()) } else { self.next(&inputs) };
            let next = next.unwrap_or_else(|error| {
                self.worst = trouble::<T>(&self.context.voice, &error);
                None
            });
            let Some(mut document) = next else { break };
            let answered = self.answer(&mut document);
            if let (None, Some(code)) = (answered, self.signals.code()) {
                return Ok(code);
            }
            self.worst = self.worst.max(document.status.code());
            self.tell(document, answered.is_some(), &mut output)?;
        }
        if let Some(code) = self.signals.code() {
            return Ok(code);
        }
        if self.worst != TROUBLE {
            output.finish()?;
        }
        Ok(self.worst)
    }

    /// The next input; none if there are no more, or if a signal came first.
    fn next(&self, inputs: &std::sync::mpsc::Receiver<input::Input>) -> anyhow::Result<Option<Document>> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        while self.signals.code().is_none() {
            match inputs.recv_timeout(std::time::Duration::from_millis(50)) {
                Ok(document) => return document.map(Some).map_err(anyhow::Error::msg),
                Err(Disconnected) => return Ok(None),
                Err(Timeout) => {}
            }
        }
        Ok(None)
    }

    /// Lets the tool look at one document. Its status and its `error` are set; none if it could not tell.
    fn answer(&self, document: &mut Document) -> Option<()> {
        let shown = document.path.clone();
        self.context.turn_to(&shown);
        let error = match self.try_answer(document)? {
            Ok(()) => return Some(()),
            Err(error) => error,
        };
        self.context.voice.say(Some(Grade::Error), &failure::words(&shown, &error));
        document.error = Some(error);
        document.worsen(Status::Error);
        None
    }

    /// The same, its error still to be told; none if a signal stopped it.
    fn try_answer(&self, document: &mut Document) -> Option<Result<(), ErrorRecord>> {
        let path = document.path();
        if let Err(error) = std::fs::metadata(&path) {
            return Some(Err(failure::of_path(&error)));
        }
        document.snapshot = super::inside::snapshot(&path);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let meter = Meter::start(&self.context.progress, &name, &self.context.voice, self.common.progress);
        let run = catch_unwind(AssertUnwindSafe(|| self.tool.run(document, &self.context)));
        drop(meter);
        Some(match run {
            Ok(Ok(status)) => {
                let inside = document.children.iter().map(|child| child.status).max().unwrap_or(Status::Ok);
                document.worsen(status.max(self.context.warned()).max(inside));
                Ok(())
            }
            Ok(Err(error)) if failure::is_stopped(&error) || self.signals.code().is_some() => return None,
            Ok(Err(error)) => Err(failure::record(&error)),
            Err(_) => Err(failure::internal()),
        })
    }

    /// Writes what stands for a document.
    fn tell(&mut self, document: Document, answered: bool, output: &mut Output) -> anyhow::Result<()> {
        let documents = if self.common.each { leaves(document) } else { vec![document] };
        let people = self.common.text || (std::io::stdout().is_terminal() && self.tool.output().is_none());
        for document in &documents {
            self.written = self.written.saturating_add(1);
            if let Some(format) = self.tool.format() {
                if answered {
                    output.write(&format(self.tool, document))?;
                }
            } else if people && !self.common.json && !self.common.pretty {
                if answered || self.tool.tells(document) {
                    let between = if self.written > 1 { "\n" } else { "" };
                    let report = self.tool.report(document, self.style);
                    output.write(&format!("{between}{}\n", report.trim_end_matches('\n')))?;
                }
            } else {
                debug_assert_eq!(document.schema, SCHEMA);
                output.write_json(document, self.common.pretty)?;
            }
        }
        Ok(())
    }
}

/// The documents inside a document that have none inside, in their order; itself if it has none.
fn leaves(mut document: Document) -> Vec<Document> {
    match std::mem::take(&mut document.children) {
        children if children.is_empty() => vec![document],
        children => children.into_iter().flat_map(leaves).collect(),
    }
}
