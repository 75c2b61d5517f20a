//! What lies inside one path where that is not one checkpoint: the steps of a run, the models of a tree, the
//! repositories of a cache. Each is a checkpoint of its own, or has such inside.

mod models;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::training::run::{self, Run};
use super::{Checkpoint, Layout, hub, tree};

pub use models::INDEX;

/// What kind of path it is.
#[derive(Debug)]
pub enum Kind {
    /// A run, whose steps are inside.
    Run(Run),
    /// A tree of models: a pipeline of diffusers, or folders with a model each.
    Tree,
    /// A cache of the hub: repositories are inside.
    Cache,
}

impl Kind {
    /// Every kind's word.
    pub const NAMES: [&str; 3] = ["run", "tree", "cache"];

    /// The word used for it where a checkpoint has its layout.
    pub fn name(&self) -> &'static str {
        let [run, tree, cache] = Kind::NAMES;
        match self {
            Kind::Run(_) => run,
            Kind::Tree => tree,
            Kind::Cache => cache,
        }
    }

    /// What is inside, in words.
    pub fn parts(&self) -> &'static str {
        match self {
            Kind::Run(_) => "steps",
            Kind::Tree => "models",
            Kind::Cache => "repositories",
        }
    }
}

/// A path with several checkpoints inside.
#[derive(Debug)]
pub struct Inside {
    /// What kind of path it is.
    pub kind: Kind,
    /// The folder that holds them: the path, or the snapshot it stands for.
    folder: PathBuf,
    /// Their names, relative to the folder; steps by number, others sorted.
    names: Vec<String>,
}

/// Looks whether a path has several checkpoints inside. Told from names; of files only a `last.ckpt` is opened.
pub fn of(path: &Path) -> Option<Inside> {
    let folder = match hub::snapshot(path) {
        Some(chosen) => chosen.ok()?.folder,
        None => path.to_owned(),
    };
    if let Some(run) = run::of_folder(&folder).ok().filter(Run::is_one) {
        let names = run.steps.iter().map(|step| step.name.clone()).collect();
        return Some(Inside { kind: Kind::Run(run), folder, names });
    }
    let repositories = hub::repositories(&folder);
    if !repositories.is_empty() {
        let own = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let names = repositories.iter().filter_map(own).collect();
        return Some(Inside { kind: Kind::Cache, folder, names });
    }
    if models::is_one(&folder) {
        return None;
    }
    let names = models::of(&tree::walk(&folder).ok()?.entries)?;
    Some(Inside { kind: Kind::Tree, folder, names })
}

impl Inside {
    /// Names of what is inside, relative to the folder.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names in one line, for people.
    pub fn listed(&self) -> String {
        self.names.join(", ")
    }

    /// Where each of them is: as the path was given, and its name.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| self.folder.join(name)).collect()
    }

    /// Where the one of that name is, if it is inside. The steps of a run are not found: they stand in another order.
    pub fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.names.binary_search_by(|own| own.as_str().cmp(name)).ok().map(|_| self.folder.join(name))
    }

    /// Every file below the folder, as a checkpoint without tensors.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn all(&self) -> Result<Checkpoint> {
        super::list(&self.folder)
    }

    /// The files that belong to none of the models of a tree, as a checkpoint without tensors: the pipeline's own index,
    /// its scheduler, notes. Findings are about these files, and about models that the index names and that are not there.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn rest(&self) -> Result<Checkpoint> {
        let mut walked = tree::walk(&self.folder).with_context(|| format!("cannot list {}", self.folder.display()))?;
        let findings = models::missing(&self.folder, &walked.entries);
        let names: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        let is_inside = |name: &str| {
            let folders = name.match_indices('/').filter_map(|(end, _)| name.get(..end));
            names.contains(name) || folders.into_iter().any(|folder| names.contains(folder))
        };
        // A link to a folder is the tree's own, and what lies in it is the model's.
        let below = |name: &str| is_inside(name) && !names.contains(name);
        walked.findings.retain(|finding| !finding.file.as_deref().is_some_and(below));
        walked.findings.extend(findings);
        walked.findings.extend(super::unfinished(&self.folder));
        walked.retain(|entry| !is_inside(&entry.name));
        let mut rest = Checkpoint::new(&self.folder, Layout::Directory, walked);
        rest.config = rest.json(INDEX).or_else(|| rest.json("config.json"));
        Ok(rest)
    }
}
