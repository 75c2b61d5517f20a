//! What may not be read: no tool gives an answer about it, and each says what it was kept from. Root may read everything,
//! so the tools are run as nobody, with `setpriv`.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test says what went wrong by failing")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use ckpt_tests::{folder, tools};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use tempfile::TempDir;

/// The user and the group called nobody on most systems.
const NOBODY: &str = "65534";

/// What it is, the fixture, what is locked in it, and the tools that cannot do without it.
type Case = (&'static str, &'static str, &'static str, &'static [&'static [&'static str]]);

const ALL: &[&[&str]] = &[
    &["ckpt-inspect", "model"],
    &["ckpt-verify", "model"],
    &["ckpt-verify", "--deep", "model"],
    &["ckpt-hash", "model"],
    &["ckpt-convert", "model", "--to", "safetensors", "--out", "out"],
];

const CASES: &[Case] = &[
    ("a shard", "hf-tiny", "model-00002-of-00002.safetensors", ALL),
    ("a rank", "tiny-llama3/mp2", "consolidated.01.pth", ALL),
    ("the index", "hf-tiny", "model.safetensors.index.json", &[&["ckpt-verify", "model"], &["ckpt-hash", "model"]]),
    ("the config", "hf-tiny", "config.json", &[&["ckpt-verify", "model"], &["ckpt-hash", "model"]]),
    ("the tokenizer", "hf-tiny", "tokenizer.json", &[&["ckpt-verify", "model"], &["ckpt-hash", "model"]]),
    ("the folder itself", "hf-tiny", "", ALL),
];

/// A folder that everybody may enter, with the tools in it.
fn room() -> TempDir {
    let room = tempfile::tempdir().expect("a folder");
    fs::set_permissions(room.path(), Permissions::from_mode(0o777)).expect("a mode");
    for tool in tools::TOOLS {
        fs::copy(tools::bin().join(tool), room.path().join(tool)).expect("a tool");
    }
    room
}

/// A command that may not read what root may, if there is a way.
fn command(room: &Path, tool: &str) -> Option<Command> {
    let tool = room.join(tool);
    if fs::metadata("/proc/self").map_or(1, |own| own.uid()) != 0 {
        return Some(Command::new(tool));
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(tool);
    let mut probe = Command::new("setpriv");
    probe.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "true"]);
    probe.status().is_ok_and(|status| status.success()).then_some(nobody)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = |case: &'static Case| Trial::ignorable_test(case.0, move || run(case));
    libtest_mimic::run(&arguments, CASES.iter().map(trial).collect()).exit_code()
}

fn run((_, fixture, locked, commands): &Case) -> Result<Completion, Failed> {
    let room = room();
    let model = room.path().join("model");
    fs::create_dir(&model)?;
    for entry in fs::read_dir(folder().join("fixtures").join(fixture))? {
        let path = entry?.path();
        fs::copy(&path, model.join(path.file_name().expect("a name")))?;
    }
    let place = model.join(locked);
    fs::set_permissions(&place, Permissions::from_mode(0o000))?;
    for arguments in *commands {
        let (tool, rest) = arguments.split_first().expect("a tool");
        let Some(mut command) = command(room.path(), tool) else {
            return Ok(Completion::ignored_with("root may read everything, and setpriv cannot make it another"));
        };
        let output = command.args(rest).arg("--json").current_dir(room.path()).output()?;
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let named = locked.is_empty() || said.contains(*locked);
        let refused = said.contains("Permission denied") && !said.contains("panicked");
        if output.status.code() != Some(2) || document["status"] != "error" || !named || !refused {
            return Err(format!("{arguments:?}: exit {:?}\n{said}", output.status.code()).into());
        }
        if room.path().join("out").exists() {
            return Err(format!("{arguments:?}: there is a target").into());
        }
    }
    // So that what is temporary can be removed.
    fs::set_permissions(&place, Permissions::from_mode(0o755))?;
    Ok(Completion::Completed)
}
