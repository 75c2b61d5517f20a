//! The room a case is run in: a fresh folder with copies of the fixtures, the tools on `PATH`, nothing else.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::case::Answer;
use crate::{schema, tools};

/// Seconds after which a command is ended.
const PATIENCE: &str = "120";

/// Stands before jq on `PATH` and keeps a copy of what jq is given, so that documents a case only filters are held
/// against the schema too.
const JQ: &str = "#!/bin/sh\nif [ -p /dev/stdin ]; then tee -a \"$CKPT_SEEN\" | \"$CKPT_JQ\" \"$@\"\nelse exec \"$CKPT_JQ\" \"$@\"\nfi\n";

/// A folder for one case.
#[derive(Debug)]
pub struct Room {
    folder: TempDir,
    aside: TempDir,
    path: OsString,
}

impl Room {
    /// A room with a copy of each fixture that the text names.
    pub fn new(text: &str) -> Room {
        let folder = tempfile::Builder::new().prefix("case-").tempdir().expect("a folder");
        let aside = tempfile::tempdir().expect("a folder");
        let fixtures = crate::folder().join("fixtures");
        for path in crate::files(&fixtures) {
            let name = path.strip_prefix(&fixtures).expect("below the fixtures");
            let first = name.components().next().expect("a name").as_os_str().to_string_lossy();
            if text.contains(&*first) {
                let copy = folder.path().join(name);
                std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
                std::fs::copy(&path, copy).expect("a copy");
            }
        }
        let jq = aside.path().join("jq");
        std::fs::write(&jq, JQ).expect("a script");
        std::fs::set_permissions(&jq, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let rest = tools::path();
        let path = std::iter::once(aside.path().to_owned()).chain(std::env::split_paths(&rest));
        let path = std::env::join_paths(path).expect("a search path");
        Room { folder, aside, path }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the shell there. Names that vary, of the folder and of the whole tree, become `[..]`.
    pub fn run(&self, command: &str) -> Answer {
        let jq = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join("jq"))
            .find(|path| path.is_file())
            .unwrap_or_else(|| "jq".into());
        let output = Command::new("timeout")
            .args(["-k", "5", PATIENCE, "sh", "-c", command])
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .env("PATH", &self.path)
            .env("HOME", self.folder())
            .env("LC_ALL", "C.UTF-8")
            .env("SCRIPTS", crate::tree().join("scripts"))
            .env("CKPT_JQ", jq)
            .env("CKPT_SEEN", self.aside.path().join("seen"))
            .env_remove("NO_COLOR")
            // A case that runs make is not part of the make that runs the tests.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env_remove("MFLAGS")
            .output()
            .expect("a shell");
        let (own, tree) = (self.folder().to_string_lossy(), crate::tree());
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&*own, "[..]").replace(&*tree.to_string_lossy(), "[..]")
        };
        Answer { stdout: text(&output.stdout), stderr: text(&output.stderr), code: output.status.code().unwrap_or(-1) }
    }

    /// Holds every document that was printed, handed to jq or left in a file here against the strict schema.
    ///
    /// # Errors
    /// What is wrong with the first one that does not fit.
    pub fn check_documents(&self, answers: &[Answer]) -> Result<(), String> {
        let mut texts: Vec<String> = answers.iter().map(|answer| answer.stdout.clone()).collect();
        texts.extend(std::fs::read_to_string(self.aside.path().join("seen")));
        for path in std::fs::read_dir(self.folder()).expect("the folder").map(|entry| entry.expect("an entry").path()) {
            if path.extension().is_some_and(|extension| extension == "json") {
                texts.extend(std::fs::read_to_string(path));
            }
        }
        for text in texts {
            // What follows something that is not JSON is not looked at.
            let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            values.map_while(Result::ok).filter(|value| value.get("schema").is_some()).try_for_each(schema::check)?;
        }
        Ok(())
    }
}
