//! Runs `tests/cases/**/*.case`, each a test of its own. `BLESS=1` writes what the tools answer into the files.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use ckpt_tests::case::{Case, Part};
use ckpt_tests::room::Room;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = ckpt_tests::folder().join("cases");
    let trials = ckpt_tests::files(&folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .map(|path| {
            let name = path.strip_prefix(&folder).expect("below the cases").with_extension("");
            Trial::ignorable_test(name.to_string_lossy(), move || run(&path))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs the case of one file.
fn run(path: &Path) -> Result<Completion, Failed> {
    let text = std::fs::read_to_string(path)?;
    let mut case = Case::parse(&text)?;
    let bless = std::env::var_os("BLESS").is_some();
    let room = Room::new(&text);
    let mut answers = Vec::new();
    let mut wrong = String::new();
    for part in &mut case.parts {
        match part {
            Part::Words(_) => {}
            Part::Needs(command) => {
                if room.run(command).code != 0 {
                    return Ok(Completion::ignored_with(format!("here fails: {command}")));
                }
            }
            Part::Step(step) => {
                let answer = room.run(&step.command.join("\n"));
                if bless {
                    *step = step.blessed(&answer);
                } else if !step.accepts(&answer) {
                    let is = step.blessed(&answer);
                    writeln!(wrong, "expected\n{}but it is\n{}", step.print(), is.print())?;
                }
                answers.push(answer);
            }
        }
    }
    if bless && case.print() != text {
        std::fs::write(path, case.print())?;
    }
    room.check_documents(&answers)?;
    if wrong.is_empty() { Ok(Completion::Completed) } else { Err(wrong.into()) }
}
