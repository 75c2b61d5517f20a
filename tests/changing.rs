//! Files that become shorter or longer, are written to, replaced or removed while a tool reads them: an error that says
//! so and names the file, never a digest, a verdict or a target.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ckpt_tests::tools;
use serde_json::Value;

/// Bytes of the weights: enough for a tool to be caught reading them. They are a hole, and take no room.
const BYTES: u64 = 192 << 20;
/// Bytes that a tool has read when it is stopped: far more than headers are.
const READ: u64 = 8 << 20;

/// What is done to the file, and what the finding says.
type Act = (&'static str, fn(&Path), &'static str);

const ACTS: &[Act] = &[
    ("cut", |path| open(path).set_len(BYTES / 2).expect("cut"), "became shorter"),
    ("appended to", |path| open(path).set_len(BYTES * 2).expect("longer"), "became longer"),
    ("written to", |path| open(path).write_all_at(b"x", BYTES / 3).expect("written"), "was written to"),
    ("removed", |path| fs::remove_file(path).expect("removed"), "went away"),
    (
        "replaced",
        |path| {
            let other = path.with_extension("other");
            weights(&other);
            fs::rename(other, path).expect("renamed");
        },
        "was replaced",
    ),
];

const TOOLS: &[&[&str]] = &[
    &["ckpt-inspect", "--stats", "model"],
    &["ckpt-verify", "--deep", "model"],
    &["ckpt-verify", "model", "--against", "other"],
    &["ckpt-hash", "model"],
    &["ckpt-convert", "model", "--to", "safetensors", "--out", "out"],
];

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).expect("the file")
}

/// One tensor of zeros.
fn weights(path: &Path) {
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{BYTES}]}}}}"#, BYTES / 4);
    let mut file = File::create(path).expect("a file");
    file.write_all(&u64::try_from(header.len()).expect("a length").to_le_bytes()).expect("written");
    file.write_all(header.as_bytes()).expect("written");
    let start = u64::try_from(header.len()).expect("a length").saturating_add(8);
    file.set_len(BYTES.saturating_add(start)).expect("a hole");
}

/// Sends a signal.
fn signal(child: &Child, name: &str) {
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status();
    assert!(done.expect("a shell").success());
}

/// Bytes that a process has read so far.
fn read_by(child: &Child) -> u64 {
    let told = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    let count = told.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Starts a tool, stops it amid the weights, lets `act` happen and the tool go on. None if it was too fast.
fn interrupted(folder: &Path, arguments: &[&str], act: impl Fn()) -> Option<(i32, String, String)> {
    let (tool, rest) = arguments.split_first().expect("a tool");
    let mut child = Command::new(tools::bin().join(tool))
        .args(rest)
        .args(["--json", "--jobs", "1"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let began = Instant::now();
    while read_by(&child) < READ && began.elapsed() < Duration::from_mins(1) {
        if child.try_wait().expect("a state").is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    signal(&child, "STOP");
    // What is not over when it stands still is caught.
    let caught = child.try_wait().expect("a state").is_none() && read_by(&child) < BYTES;
    act();
    signal(&child, "CONT");
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    let code = child.wait().expect("an end").code().unwrap_or(-1);
    caught.then_some((code, stdout, stderr))
}

#[test]
fn a_file_that_changes_is_an_error_in_every_tool() {
    if !Path::new("/proc/self/io").exists() {
        // Without it nobody can tell how far a tool has come.
        return;
    }
    let mut wrong = Vec::new();
    for arguments in TOOLS {
        for (what, act, says) in ACTS {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["model", "other"] {
                fs::create_dir(folder.path().join(name)).expect("a folder");
                weights(&folder.path().join(name).join("w.safetensors"));
            }
            let file = folder.path().join("model/w.safetensors");
            let Some((code, stdout, stderr)) = interrupted(folder.path(), arguments, || act(&file)) else {
                wrong.push(format!("{arguments:?}: too fast to be caught"));
                continue;
            };
            let document: Value = serde_json::from_str(&stdout).unwrap_or_default();
            let error = &document["error"];
            let fits = code == 2
                && document["status"] == "error"
                && error["id"] == "file-changed"
                && error["file"] == "w.safetensors"
                && error["message"].as_str().is_some_and(|message| message.contains(says))
                && document["hash"].is_null()
                && !folder.path().join("out").exists()
                && !stderr.contains("panicked");
            if !fits {
                wrong.push(format!("{what}: {arguments:?}: exit {code}\n{stdout}{stderr}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
