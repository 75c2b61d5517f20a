//! The snippets of the tool's README do what it says: each ends well in a folder that holds a model.

use super::{copy, shell};

/// The fenced blocks of that language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    text.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_snippet_runs() {
    let text = include_str!("../../README.md");
    let (scripts, programs) = (blocks(text, "sh"), blocks(text, "python"));
    assert!(scripts.len() >= 4 && programs.len() == 1);
    let needs = ["jq", "python3", "sha256sum", "md5sum"];
    for script in scripts {
        let folder = copy("hf-tiny");
        std::fs::write(folder.path().join("reproduce.py"), programs[0]).unwrap();
        let Some(output) = shell(folder.path(), &needs, script) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}
