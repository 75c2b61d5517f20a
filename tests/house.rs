//! The rules of the house, read off its sources: floors, file sizes, what each floor may use, what we depend on.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The rooms of the library and their floors. A room uses floors below its own; on floors 4 and 5, where rooms stand on
/// each other, also those listed before it.
const FLOORS: &[(&str, u8)] = &[
    ("facts", 0),
    ("bytes", 1),
    ("formats", 2),
    ("archs", 2),
    ("tokenizers", 2),
    ("digests", 2),
    ("layouts", 3),
    ("plan", 4),
    ("canonical", 4),
    ("adapters", 4),
    ("manifests", 4),
    ("quantized", 4),
    ("document", 5),
    ("cli", 5),
];

/// Crates that only some floors may use: the crate, the lowest floor, and the one room if there is but one.
const CRATES: &[(&str, u8, Option<&str>)] = &[
    ("anyhow", 3, None),
    ("clap", 5, Some("cli")),
    ("clap_complete", 5, Some("cli")),
    ("clap_mangen", 5, Some("cli")),
    ("indicatif", 5, Some("cli")),
    ("schemars", 5, Some("document")),
];

/// Longest Rust file.
const LINES: usize = 500;
/// Files that are tables: one row a fact, as long as there are facts.
const TABLES: &[&str] = &["tests/src/schema.rs"];

/// What may lie on top, besides dotfiles.
const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "Makefile", "tools", "shared", "tests", "scripts"];

/// The files under version control; outside a repository, none.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(ckpt_tests::tree()).output();
    let Ok(output) = output else { return Vec::new() };
    let names = String::from_utf8(output.stdout).expect("names are text");
    names.split_terminator('\0').map(PathBuf::from).filter(|name| ckpt_tests::tree().join(name).exists()).collect()
}

/// Rust sources below a folder of the tree, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let tree = ckpt_tests::tree();
    ckpt_tests::files(&tree.join(folder))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source");
            (path.strip_prefix(&tree).expect("in the tree").to_owned(), text)
        })
        .collect()
}

fn all_sources() -> Vec<(PathBuf, String)> {
    ["shared", "tools", "tests"].into_iter().flat_map(sources).collect()
}

/// The text without its comments, so that documentation may point anywhere.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The words that begin at the start of the text: of one path, or of every path of a group in braces.
fn heads(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return BTreeSet::from([word(text)]) };
    let (mut depth, mut found, mut fresh) = (0_u32, BTreeSet::new(), true);
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth = depth.saturating_add(1),
            '}' if depth == 0 => break,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => fresh = true,
            c if fresh && c.is_alphabetic() => {
                found.insert(word(group.get(place..).unwrap_or_default()));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn paths_are_read_as_rust_writes_them() {
    assert_eq!(heads("facts::{Id, x}"), BTreeSet::from(["facts".to_owned()]));
    assert_eq!(heads("{bytes::{A, b},\n facts, plan::X};"), ["bytes", "facts", "plan"].map(str::to_owned).into());
}

/// The room of a source of the library: its first folder or its own name.
fn room(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("shared/src").ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn no_room_uses_a_higher_floor() {
    let place = |room: &str| FLOORS.iter().position(|row| row.0 == room);
    let mut seen = 0_usize;
    for (path, text) in sources("shared/src") {
        let Some(own) = room(&path).filter(|room| room != "lib") else { continue };
        let here = place(&own).unwrap_or_else(|| panic!("{own} is on no floor: give it one in this test"));
        for (start, key) in code(&text).match_indices("crate::") {
            for used in heads(code(&text).get(start.saturating_add(key.len())..).expect("a boundary")) {
                let Some(there) = place(&used).filter(|&there| there != here) else { continue };
                let floor = |place: usize| FLOORS.get(place).expect("a row").1;
                let below =
                    floor(there) < floor(here) || (floor(there) == floor(here) && floor(here) >= 4 && there < here);
                assert!(below, "{}: {own} uses {used}, which is not below it", path.display());
                seen = seen.saturating_add(1);
            }
        }
    }
    assert!(seen > 50, "the uses were not found: {seen}");
}

#[test]
fn crates_stay_on_their_floors() {
    for (path, text) in sources("shared/src") {
        let Some(own) = room(&path) else { continue };
        let floor = FLOORS.iter().find(|row| row.0 == own).map_or(u8::MAX, |row| row.1);
        for &(name, lowest, only) in CRATES {
            let used = code(&text)
                .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .any(|path| path.trim_start_matches(':').split("::").next() == Some(name));
            let may = floor >= lowest && only.is_none_or(|room| room == own);
            assert!(!used || may, "{}: {name} is not for {own}", path.display());
        }
    }
}

#[test]
fn sources_say_what_they_are_and_stay_short() {
    let sources = all_sources();
    assert!(sources.len() > 50);
    for (path, text) in sources {
        let name = path.to_string_lossy();
        assert!(text.starts_with("//! "), "{name}: the first line says what the file is");
        let lines = text.lines().count();
        assert!(lines <= LINES || TABLES.contains(&&*name), "{name}: {lines} lines");
        let keyword = concat!("un", "safe");
        let used = ["{", "fn", "impl", "extern"].iter().any(|next| code(&text).contains(&format!("{keyword} {next}")));
        assert!(!used, "{name}: nothing here needs {keyword} code");
    }
}

#[test]
fn scripts_say_what_they_are() {
    for name in tracked() {
        let Ok(text) = std::fs::read_to_string(ckpt_tests::tree().join(&name)) else { continue };
        if text.starts_with("#!") {
            let second = text.lines().nth(1).unwrap_or_default();
            assert!(
                second.starts_with("# ") || second.starts_with("\"\"\""),
                "{}: the second line says what it is",
                name.display()
            );
        }
    }
}

#[test]
fn the_top_holds_little() {
    for name in tracked() {
        let first = name.components().next().expect("a name").as_os_str().to_string_lossy();
        assert!(first.starts_with('.') || TOP.contains(&&*first), "{first} lies on top");
    }
}

#[test]
fn each_tool_has_a_page() {
    let readme = std::fs::read_to_string(ckpt_tests::tree().join("README.md")).expect("a README");
    for tool in ckpt_tests::tools::TOOLS {
        let page = ckpt_tests::tree().join("tools").join(tool).join("README.md");
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(text.starts_with(&format!("# {tool}")), "{}: is missing, or not headed by its name", page.display());
        assert!(readme.contains(&format!("tools/{tool}")), "README.md does not lead to the page of {tool}");
    }
}

/// `allow` of `.deny.toml`: the licences we accept.
fn accepted() -> BTreeSet<String> {
    let text = std::fs::read_to_string(ckpt_tests::tree().join(".deny.toml")).expect(".deny.toml");
    let list = text.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Whether an SPDX expression leaves a choice of accepted licences: every part joined by AND offers one.
fn accepts(expression: &str, accepted: &BTreeSet<String>) -> bool {
    expression.split(" AND ").all(|part| {
        part.replace(['(', ')'], "").replace('/', " OR ").split(" OR ").any(|one| accepted.contains(one.trim()))
    })
}

#[test]
fn what_we_depend_on_is_free_to_use_and_from_one_registry() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version",
            "1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(ckpt_tests::tree())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata.get("packages").and_then(Value::as_array).expect("packages");
    let accepted = accepted();
    assert!(accepts("(MIT OR GPL-3.0) AND ISC", &accepted) && !accepts("MIT AND GPL-3.0", &accepted));
    for package in packages {
        let field = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, source, license) = (field("name"), field("source"), field("license"));
        assert!(source.is_empty() || source.starts_with("registry+"), "{name} comes from {source}");
        assert!(accepts(license, &accepted), "{name} has the licence {license:?}");
    }
}
