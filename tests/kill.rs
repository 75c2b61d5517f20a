//! Conversions killed at every single call that changes the disk: a target is there whole or not at all, the source
//! stays as it was, and beginning again is all that is ever needed. `strace` does the killing.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use ckpt_tests::room::Room;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Calls that change the disk, or let go of what keeps others off it. Not every machine has all of them.
const CALLS: &str = "?mkdir,?mkdirat,?write,?pwrite64,?copy_file_range,?sendfile,?ftruncate,?fsync,?fdatasync,?rename,\
                     ?renameat,?renameat2,?link,?linkat,?symlink,?symlinkat,?unlink,?unlinkat,?rmdir,?flock";

/// A conversion.
struct Scene {
    name: &'static str,
    source: &'static str,
    /// What makes the target that stands there before; empty if there is none.
    before: &'static str,
    arguments: &'static str,
    /// Where it goes, which is the source for `--in-place`.
    target: &'static str,
}

const SCENES: &[Scene] = &[
    Scene {
        name: "meta-to-hf",
        source: "tiny-llama3/mp1",
        before: "",
        arguments: "--to hf --max-shard-size 150kB --out out",
        target: "out",
    },
    Scene { name: "hf-to-meta", source: "hf-tiny", before: "", arguments: "--to meta --mp 2 --out out", target: "out" },
    Scene { name: "hub", source: "tiny-llama3/mp1", before: "", arguments: "--to hub --out out", target: "out" },
    Scene {
        name: "replace",
        source: "tiny-llama3/mp1",
        before: "ckpt-convert -q hf-tiny --to safetensors --out out",
        arguments: "--to torch --force --out out",
        target: "out",
    },
    Scene {
        name: "one-file",
        source: "tiny-llama3/mp1",
        before: "ckpt-convert -q tiny-llama3/mp2 --to safetensors --exclude 'layers.*' --out out.safetensors",
        arguments: "--to safetensors --verify --force --out out.safetensors",
        target: "out.safetensors",
    },
    Scene {
        name: "tree",
        source: "tiny-llama3",
        before: "",
        arguments: "--to safetensors --max-shard-size 200kB --out out",
        target: "out",
    },
    Scene {
        name: "in-place",
        source: "tiny-llama3/mp1",
        before: "",
        arguments: "--to hf --in-place",
        target: "tiny-llama3/mp1",
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = |scene: &'static Scene| Trial::ignorable_test(scene.name, move || run(scene));
    libtest_mimic::run(&arguments, SCENES.iter().map(trial).collect()).exit_code()
}

/// Every file at a path and its bytes.
type Content = BTreeMap<String, Vec<u8>>;

/// What lies at a path; none if nothing does.
fn content(path: &Path) -> Option<Content> {
    if path.is_file() {
        return Some(Content::from([(String::new(), std::fs::read(path).expect("a file"))]));
    }
    path.is_dir().then(|| {
        let name = |file: &Path| file.strip_prefix(path).expect("below it").to_string_lossy().into_owned();
        let files = ckpt_tests::files(path);
        files.iter().map(|file| (name(file), std::fs::read(file).expect("a file"))).collect()
    })
}

/// How often each call is made, by the thread that makes it most often.
fn calls(log: &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        // A call in two pieces is counted where it begins.
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if !call.is_empty() && call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let count = counts.entry((thread, call)).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let known: &mut usize = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    most
}

fn run(scene: &Scene) -> Result<Completion, Failed> {
    let room = Room::new("hf-tiny tiny-llama3");
    let command = format!("ckpt-convert -q --jobs 1 {} {}", scene.source, scene.arguments);
    let can = room.run("strace -f -o probe -e trace=?write -e inject=?write:signal=KILL:when=1 echo x; test $? = 137");
    if can.code != 0 {
        return Ok(Completion::ignored_with("strace is not here, or may not trace"));
    }
    let (source, target) = (room.folder().join(scene.source), room.folder().join(scene.target));
    let in_place = scene.source == scene.target;
    let restore = format!("rm -rf .*.ckpt-partial {0} && cp -r aside/source {1}", scene.target, scene.source);
    let restore = if in_place { restore } else { format!("rm -rf .*.ckpt-partial {}", scene.target) };
    let restore =
        if scene.before.is_empty() { restore } else { format!("{restore} && cp -r aside/before {}", scene.target) };
    // How it is before, how it should be after, and which calls lie between.
    must(&room, &format!("mkdir aside && cp -r {} aside/source", scene.source))?;
    if !scene.before.is_empty() {
        must(&room, &format!("{} && cp -r {} aside/before", scene.before, scene.target))?;
    }
    let sound = content(&source);
    let before = content(&target);
    must(&room, &format!("strace -f -o log -e trace={CALLS} {command}"))?;
    let after = content(&target);
    let calls = calls(&std::fs::read_to_string(room.folder().join("log"))?);
    let total: usize = calls.values().sum();
    if total < 12 || !calls.contains_key("fsync") {
        return Err(format!("strace saw only {calls:?}").into());
    }
    let mut killings = 0usize;
    for (call, count) in calls {
        for number in 1..=count {
            must(&room, &restore)?;
            let kill = format!("strace -f -o log -e trace={call} -e inject={call}:signal=KILL:when={number} {command}");
            let killed = room.run(&kill);
            killings = killings.saturating_add(usize::from(killed.code == 137));
            let at = format!("killed at {call} number {number} (exit {}): ", killed.code);
            let now = content(&target);
            if in_place {
                whole_or_absent(now.as_ref(), before.as_ref(), after.as_ref())
                    .map_err(|wrong| format!("{at}{wrong}"))?;
            } else {
                if content(&source) != sound {
                    return Err(format!("{at}the source is not what it was").into());
                }
                if now != before && now != after {
                    return Err(format!("{at}the target is neither what it was nor what it should be").into());
                }
                // What lies under the working name, however far it came, is not taken for a checkpoint.
                let left = room.run("for left in .*.ckpt-partial; do test ! -e $left || ckpt-verify -q $left && exit 9; done >said; exit 0");
                if left.code == 9 && !room.run("ls -d .*.ckpt-partial").stdout.is_empty() {
                    return Err(format!("{at}ckpt-verify calls what was left complete").into());
                }
            }
            // Where the target is there already, the conversion was done; to do it again it is replaced.
            let force = if now == after && !in_place && !command.contains("--force") { " --force" } else { "" };
            must(&room, &format!("{command}{force}")).map_err(|wrong| format!("{at}{wrong}"))?;
            if content(&target) != after {
                return Err(format!("{at}converted again, the target is not what it should be").into());
            }
            if !room.run("find . -name '*.ckpt-partial'").stdout.is_empty() {
                return Err(format!("{at}something is left of the killed conversion").into());
            }
        }
    }
    // Which thread makes a call may differ from run to run, so a few can be missed.
    if killings.saturating_mul(2) < total {
        return Err(format!("only {killings} of {total} calls could be killed at").into());
    }
    Ok(Completion::Completed)
}

/// Beside the source's own files each new one is whole or not there; what is unfinished has a name that says so.
fn whole_or_absent(now: Option<&Content>, before: Option<&Content>, after: Option<&Content>) -> Result<(), String> {
    let (Some(now), Some(before), Some(after)) = (now, before, after) else { return Err("it is gone".to_owned()) };
    if let Some(name) = before.iter().find_map(|(name, bytes)| (now.get(name) != Some(bytes)).then_some(name)) {
        return Err(format!("{name} of the source is not what it was"));
    }
    let finished = now.iter().filter(|(name, _)| !name.ends_with(".ckpt-partial"));
    match finished.into_iter().find(|(name, bytes)| after.get(*name) != Some(bytes)) {
        Some((name, _)) => Err(format!("{name} is not whole")),
        None => Ok(()),
    }
}

fn must(room: &Room, command: &str) -> Result<(), String> {
    let answer = room.run(command);
    if answer.code == 0 { Ok(()) } else { Err(format!("{command}: {}{}", answer.stdout, answer.stderr)) }
}
