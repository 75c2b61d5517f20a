//! The frame of the tools, end to end: this program runs itself as a tool that reads the size of a path.
#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program")]
#![expect(clippy::indexing_slicing, reason = "JSON of a test is indexed")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use ckpt::cli::{Context, Example, Refusal, Style, Tool, Usage};
use ckpt::document::{Document, Hash, Status};
use ckpt::facts::{Finding, Id};
use serde_json::{Value, json};

/// Set for the processes that are the tool and not the test.
const AS_TOOL: &str = "CKPT_FRAME_TEST";

fn main() -> ExitCode {
    match std::env::var(AS_TOOL).as_deref() {
        Ok("gathers") => return ckpt::cli::main::<Gathering>(),
        Ok(_) => return ckpt::cli::main::<Fake>(),
        Err(_) => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            println!("frame: test");
        }
        return ExitCode::SUCCESS;
    }
    for (name, case) in CASES {
        // The name is printed before, so that a case that fails or hangs is known.
        println!("frame {name}");
        case();
    }
    ExitCode::SUCCESS
}

/// A tool whose behaviour is the name of the path it is given.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
struct Fake {
    /// Print sizes
    #[arg(long)]
    sizes: bool,
    /// Print the rules
    #[arg(long)]
    rules: bool,
    /// Refuse
    #[arg(long)]
    refuse: bool,
    /// Take documents that are not ok
    #[arg(long)]
    anyway: bool,
    /// Write to FILE
    #[arg(long)]
    output: Option<PathBuf>,
}

impl Tool for Fake {
    const NAME: &'static str = "ckpt-fake";
    const ABOUT: &'static str = "Does nothing much";
    const EXAMPLES: &'static [Example] = &[("ckpt-fake model", "the size of a model")];

    fn instead(&self, _: Style) -> anyhow::Result<Option<String>> {
        Ok(self.rules.then(|| "no rules".to_owned()))
    }

    fn prepare(&self, inputs: &[Document], _: &Context) -> anyhow::Result<()> {
        assert!(inputs.is_empty());
        if self.refuse {
            return Err(Usage("--refuse refuses".to_owned()).into());
        }
        Ok(())
    }

    fn run(&self, document: &mut Document, context: &Context) -> anyhow::Result<Status> {
        let path = document.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !context.admits(document, self.anyway || name != "gate") {
            return Ok(document.status);
        }
        match name.as_str() {
            "broken" => {
                return Err(Finding::new(Id::ZipTruncated, "cut off\nhere").in_file("w.pth").at(7).fix("mend").into());
            }
            "exists" => return Err(Refusal::new("the target exists", "--force").into()),
            "locked" => {
                return Err(anyhow::Error::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied)).context("x"));
            }
            "panics" => panic!("on purpose"),
            "warned" => drop(context.warn(&Finding::new(Id::ConfigMissing, "no config"))),
            "run" => {
                document.child(&path.join("a")).worsen(Status::Ok);
                document.child(&path.join("b")).worsen(Status::Findings);
            }
            "slow" => {
                context.progress.expect(100_000_000);
                for _ in 0..1000 {
                    context.progress.advance(100_000)?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "deaf" => std::thread::sleep(Duration::from_mins(1)),
            _ => {}
        }
        let root = std::fs::metadata(&path)?.len().to_string();
        document.hash = Some(Hash { algorithm: "size".into(), root: Some(root), ..Hash::default() }.into());
        Ok(if name == "bad" { Status::Findings } else { Status::Ok })
    }

    fn report(&self, document: &Document, style: Style) -> String {
        format!("{}\n  it is there\n\n", style.title(&document.path, document.status))
    }

    fn format(&self) -> Option<fn(&Self, &Document) -> String> {
        self.sizes.then_some(|_, document| {
            let hash = document.hash.as_ref().and_then(|hash| hash.own());
            format!("{}  {}\n", hash.and_then(|hash| hash.root.as_deref()).unwrap_or("-"), document.path)
        })
    }

    fn output(&self) -> Option<&Path> {
        self.output.as_deref()
    }
}

/// A tool that wants to know all its inputs first.
#[derive(Debug, clap::Args)]
struct Gathering {}

impl Tool for Gathering {
    const NAME: &'static str = "ckpt-gather";
    const ABOUT: &'static str = "Waits for all";
    const EXAMPLES: &'static [Example] = &[];
    const GATHERS: bool = true;

    fn prepare(&self, inputs: &[Document], _: &Context) -> anyhow::Result<()> {
        anyhow::ensure!(inputs.len() == 2, "{} inputs", inputs.len());
        Ok(())
    }

    fn run(&self, _: &mut Document, _: &Context) -> anyhow::Result<Status> {
        Ok(Status::Ok)
    }

    fn report(&self, _: &Document, _: Style) -> String {
        String::new()
    }
}

const CASES: &[(&str, fn())] = &[
    ("n_in_n_out", n_in_n_out),
    ("errors_have_a_place", errors_have_a_place),
    ("documents_flow", documents_flow),
    ("bad_streams", bad_streams),
    ("gate", gate),
    ("policy", policy),
    ("forms", forms),
    ("lists", lists),
    ("usage", usage),
    ("prints", prints),
    ("children", children),
    ("odd_names", odd_names),
    ("closed_pipe", closed_pipe),
    ("full_disk", full_disk),
    ("signals", signals),
    ("progress", progress),
    ("output_file", output_file),
    ("gathering", gathering),
];

/// A folder with one empty file for each name.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

fn tool(folder: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words).env(AS_TOOL, "1").env_remove("NO_COLOR").current_dir(folder.path()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &tempfile::TempDir, words: &[&str]) -> Output {
    tool(folder, words).output().unwrap()
}

fn feed(folder: &tempfile::TempDir, words: &[&str], stdin: &str) -> Output {
    let mut child = tool(folder, words).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn documents(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it should end by itself")
}

fn n_in_n_out() {
    let folder = folder(&["good", "bad"]);
    let output = run(&folder, &["good", "missing", "bad", "good/below"]);
    let all = documents(&output);
    let seen: Vec<_> = all.iter().map(|one| (one["path"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    assert_eq!(seen, [("good", "ok"), ("missing", "error"), ("bad", "findings"), ("good/below", "error")]);
    assert_eq!(all[0]["hash"]["root"], "4");
    assert_eq!(all[1]["error"]["id"], "path-missing");
    assert_eq!(all[3]["error"]["id"], "path-missing");
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("ckpt-fake: error: missing: there is nothing at the path [path-missing]"));
    assert_eq!(code(&run(&folder, &["good"])), 0);
    assert_eq!(code(&run(&folder, &["good", "bad"])), 1);
    assert_eq!(run(&folder, &["good", "bad", "-j1"]).stdout, run(&folder, &["good", "bad", "-j8"]).stdout);
    let quiet = run(&folder, &["-q", "missing"]);
    assert_eq!((said(&quiet), code(&quiet), documents(&quiet).len()), ("", 2, 1));
}

fn errors_have_a_place() {
    let folder = folder(&["broken", "exists", "locked", "panics"]);
    let output = run(&folder, &["broken", "exists", "locked", "panics"]);
    let all = documents(&output);
    assert_eq!(
        all[0]["error"],
        json!({"id": "zip-truncated", "file": "w.pth", "offset": 7, "tensor": null, "message": "cut off\nhere", "help": "mend"})
    );
    let ids: Vec<_> = all.iter().map(|one| one["error"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["zip-truncated", "failed", "file-unreadable", "internal"]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("broken: w.pth: byte 7: cut off"), "{}", said(&output));
}

fn documents_flow() {
    let folder = folder(&["good", "bad"]);
    let mut child = tool(&folder, &[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |document: Value| -> Value {
        writeln!(stdin, "{document}").unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    // Each answer comes before the next question is asked.
    let first = ask(json!({"schema": "ckpt/1", "path": "good", "status": "findings", "select": ["a"], "x": [1],
        "verify": {"level": "structure"}, "hash": {"root": "old"}}));
    assert_eq!(first["status"], "findings");
    assert_eq!(first["verify"], json!({"level": "structure"}));
    assert_eq!((&first["hash"]["root"], &first["x"]), (&json!("4"), &json!([1])));
    assert_eq!(first.get("select"), None);
    let second = ask(json!({"schema": "ckpt/1", "path": "good", "status": "ok"}));
    assert_eq!(second["status"], "ok");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

fn bad_streams() {
    let folder = folder(&["good"]);
    let good = r#"{"schema":"ckpt/1","path":"good","status":"ok"}"#;
    for (stdin, answers, words) in [
        ("", 0, "there is no document to read"),
        ("hello\n", 0, "line 1 is not a document"),
        (r#"{"schema":"ckpt/9","path":"a","status":"ok"}"#, 0, "unknown schema"),
        (&format!("{good}\n{{\n"), 1, "line 2 is not a document"),
    ] {
        let output = feed(&folder, &["-"], stdin);
        assert_eq!((code(&output), documents(&output).len()), (2, answers), "{stdin}");
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert_eq!(code(&run(&folder, &[])), 2, "/dev/null is an empty stream");
    let mixed = feed(&folder, &["good", "-", "missing"], good);
    assert_eq!((code(&mixed), documents(&mixed).len()), (2, 3));
}

fn gate() {
    let folder = folder(&["gate"]);
    let document = r#"{"schema":"ckpt/1","path":"gate","status":"findings","verify":{"counts":{"error":1}}}"#;
    let shut = feed(&folder, &[], document);
    assert_eq!(documents(&shut)[0], serde_json::from_str::<Value>(document).unwrap());
    assert_eq!(code(&shut), 1);
    assert!(said(&shut).contains("passed on as it is"));
    let open = feed(&folder, &["--anyway"], document);
    assert_eq!((code(&open), documents(&open)[0]["hash"]["root"].as_str()), (1, Some("4")));
}

fn policy() {
    let folder = folder(&["warned"]);
    for (words, expected, grade) in [
        (&["warned"][..], 0, "warning: warned: no config [config-missing]"),
        (&["warned", "--fail-on", "warning"], 1, "warning:"),
        (&["warned", "--severity", "config-missing=error"], 1, "error:"),
        (&["warned", "--severity", "config-missing=note", "--fail-on=warning"], 0, "note:"),
        (&["warned", "--severity", "config-missing=ignore", "--fail-on=note"], 0, ""),
    ] {
        let output = run(&folder, words);
        assert_eq!(code(&output), expected, "{words:?}");
        assert!(said(&output).contains(grade) && said(&output).is_empty() == grade.is_empty(), "{}", said(&output));
    }
}

fn forms() {
    let folder = folder(&["good", "bad"]);
    let text = |words: &[&str]| String::from_utf8(run(&folder, words).stdout).unwrap();
    assert_eq!(text(&["--text", "good", "missing", "bad"]), "good\n  it is there\n\nbad  findings\n  it is there\n");
    assert!(text(&["--text", "--color=always", "bad"]).starts_with("\x1b[1mbad\x1b[0m  \x1b[33mfindings\x1b[0m\n"));
    let pretty = text(&["--pretty", "good"]);
    assert!(pretty.starts_with("{\n  \"schema\": \"ckpt/1\",\n  \"path\": \"good\",\n"), "{pretty}");
    assert_eq!(text(&["--sizes", "good", "missing", "bad"]), "4  good\n3  bad\n");
}

fn lists() {
    let folder = folder(&["good", "two\nlines"]);
    let output = feed(&folder, &["good", "--paths-from", "-", "-0"], "two\nlines\0good\0");
    assert_eq!(
        documents(&output).iter().map(|one| one["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["good", "two\nlines", "good"]
    );
    std::fs::write(folder.path().join("list"), "good\n").unwrap();
    assert_eq!(documents(&run(&folder, &["--paths-from", "list"])).len(), 1);
    assert_eq!(code(&feed(&folder, &["--paths-from", "-"], "")), 2);
    let absent = run(&folder, &["--paths-from", "absent"]);
    assert_eq!(code(&absent), 2);
    assert!(said(&absent).contains("absent: No such file"), "{}", said(&absent));
}

fn usage() {
    let folder = folder(&["good"]);
    for words in [
        &["--no-such"][..],
        &["--severity", "no-such=note", "good"],
        &["--jobs", "0", "good"],
        &["--json", "--text", "good"],
        &["-0", "good"],
        &["-", "-"],
        &["--refuse", "good"],
    ] {
        let output = run(&folder, words);
        assert_eq!((code(&output), output.stdout.len()), (2, 0), "{words:?}");
        assert!(
            said(&output).starts_with("ckpt-fake: error: ") && !said(&output).contains("error: error"),
            "{}",
            said(&output)
        );
    }
    assert!(said(&run(&folder, &["--refuse", "good"])).contains("Usage: ckpt-fake"));
}

fn prints() {
    let folder = folder(&[]);
    for (words, text) in [
        (&["--help"][..], "Does nothing much\n\nUsage: ckpt-fake"),
        (&["--help"], "Exit codes:\n  0    yes"),
        (&["-h"], "  ckpt-fake model\n      the size of a model"),
        (&["--version"], "ckpt-fake 0."),
        (&["--schema"], "\"title\": \"ckpt/1\""),
        (&["--rules"], "no rules\n"),
        (&["--generate", "man"], ".TH ckpt-fake"),
        (&["--generate", "bash"], "complete "),
        (&["--generate", "zsh"], "#compdef ckpt-fake"),
        (&["--generate", "fish"], "complete -c ckpt-fake"),
    ] {
        let output = run(&folder, words);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains(text), "{words:?}: {stdout}");
        assert_eq!((code(&output), said(&output)), (0, ""), "{words:?}");
    }
}

fn children() {
    let folder = folder(&["run"]);
    let whole = documents(&run(&folder, &["run"]));
    assert_eq!((whole.len(), &whole[0]["status"]), (1, &json!("findings")));
    assert_eq!(whole[0]["children"][1], json!({"schema": "ckpt/1", "path": "run/b", "status": "findings"}));
    let each = run(&folder, &["run", "--each"]);
    assert_eq!(
        documents(&each).iter().map(|one| one["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["run/a", "run/b"]
    );
    assert_eq!(code(&each), 1);
}

fn odd_names() {
    let folder = folder(&[]);
    let name = OsString::from_vec(b"w\xff\x1b[31m".to_vec());
    std::fs::write(folder.path().join(&name), "12345").unwrap();
    let output = tool(&folder, &[]).arg(&name).output().unwrap();
    let document = &documents(&output)[0];
    assert_eq!((&document["path"], &document["path_base64"]), (&json!("w\\xff\\u{1b}[31m"), &json!("d/8bWzMxbQ==")));
    let again = feed(&folder, &[], std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(documents(&again)[0]["hash"]["root"], "5");
    let missing = run(&folder, &["\x1b]0;owned\x07\u{202e}"]);
    assert!(said(&missing).contains("\\u{1b}]0;owned\\u{7}\\u{202e}: there is nothing"), "{}", said(&missing));
    assert!(!said(&missing).contains('\x1b'));
}

fn closed_pipe() {
    let folder = folder(&["good", "bad"]);
    for (words, expected) in [(&["good", "bad", "good"][..], 1), (&["good"], 0), (&["--help"], 0)] {
        let mut child = tool(&folder, words).spawn().unwrap();
        drop(child.stdout.take());
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(expected), ""), "{words:?}");
    }
}

fn full_disk() {
    let folder = folder(&["good"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = tool(&folder, &["good"]).stdout(full).output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("stdout: No space left"), "{}", said(&output));
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn signals() {
    let folder = folder(&["slow", "deaf", "good"]);
    for (signal, expected) in [("-INT", 130), ("-TERM", 143)] {
        // Working, and waiting for stdin.
        for words in [&["slow"][..], &["-"]] {
            let mut child = tool(&folder, words).stdin(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(300));
            let begin = Instant::now();
            send(signal, &child);
            assert_eq!(child.wait().unwrap().code(), Some(expected), "{signal} {words:?}");
            assert!(begin.elapsed() < Duration::from_secs(2));
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "");
        }
    }
    // One that does not listen needs a second signal.
    let mut child = tool(&folder, &["deaf"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    send("-TERM", &child);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(child.try_wait().unwrap(), None);
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn progress() {
    let folder = folder(&["slow"]);
    let watch = |words: &[&str]| {
        let mut child = tool(&folder, words).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1600));
        send("-TERM", &child);
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text
    };
    assert_eq!(watch(&["slow"]), "", "stderr is no terminal");
    let text = watch(&["slow", "--progress", "always"]);
    assert!(text.starts_with("ckpt-fake: slow: ") && text.contains(" MB of 100 MB, "), "{text}");
}

fn output_file() {
    let folder = folder(&["good", "bad"]);
    let (words, path) = (["good", "--output", "out.json"], folder.path().join("out.json"));
    let output = run(&folder, &words);
    assert_eq!((code(&output), output.stdout.len()), (0, 0));
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap()["path"], "good");
    assert_eq!(code(&run(&folder, &["bad", "missing", "--output", "out.json"])), 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept, "a failed run leaves the old file");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "and nothing else");
    assert_eq!(code(&run(&folder, &["good", "--output", "no/such/out"])), 2);
}

fn gathering() {
    let folder = folder(&["a", "b"]);
    let of = |words: &[&str], stdin: &str| {
        let mut child = tool(&folder, words).env(AS_TOOL, "gathers").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let good = of(&["a", "b"], "");
    assert_eq!((code(&good), documents(&good).len()), (0, 2));
    let one = of(&["a"], "");
    assert_eq!((code(&one), documents(&one).len(), said(&one)), (2, 0, "ckpt-gather: error: 1 inputs\n"));
    let broken = of(&["a", "-"], "garbage");
    assert_eq!((code(&broken), documents(&broken).len()), (2, 0));
}
