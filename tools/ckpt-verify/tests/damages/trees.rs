//! Damage to trees of models and to the hub's cache: what the tree itself has to say. What its models say is tested in
//! `trees.rs`.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Case, make, remove, rename, write};
use crate::support::{FIRST, INDEX, SECOND};

/// Makes the model a part of a pipeline.
fn pipeline(tree: &std::path::Path) {
    for folder in ["unet", "scheduler", "tokenizer"] {
        make(tree, folder);
    }
    for name in [FIRST, SECOND, INDEX, "config.json", "generation_config.json"] {
        rename(tree, name, &format!("unet/{name}"));
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let _ = std::fs::rename(tree.join(name), tree.join("tokenizer").join(name));
    }
    write(tree, "scheduler/scheduler_config.json", b"{}");
    let index = json!({
        "_class_name": "Pipeline",
        "unet": ["transformers", "Llama"],
        "scheduler": ["diffusers", "Scheduler"],
        "tokenizer": ["transformers", "Tokenizer"],
        "safety_checker": [null, null],
    });
    write(tree, "model_index.json", index.to_string().as_bytes());
}

/// Makes the model a snapshot of a repository in the hub's cache, its files links to blobs.
fn repository(folder: &std::path::Path) {
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in ["blobs", "refs", "snapshots", "snapshots/c0"] {
        make(folder, name);
    }
    for name in names {
        std::fs::rename(folder.join(&name), folder.join("blobs").join(&name)).unwrap();
        let blob = std::path::Path::new("../../blobs").join(&name);
        symlink(blob, folder.join("snapshots/c0").join(&name)).unwrap();
    }
    write(folder, "refs/main", b"c0");
}

pub(crate) const CASES: &[Case] = &[
    ("a whole pipeline", "hf-tiny", pipeline, &[]),
    (
        "a part of a pipeline gone",
        "hf-tiny",
        |tree| {
            pipeline(tree);
            std::fs::remove_dir_all(tree.join("scheduler")).unwrap();
        },
        &["error part-missing scheduler -"],
    ),
    (
        "a pipeline without models",
        "hf-tiny",
        |tree| {
            pipeline(tree);
            std::fs::remove_dir_all(tree.join("unet")).unwrap();
        },
        &["error part-missing unet -"],
    ),
    (
        "a pipeline's index cut short",
        "hf-tiny",
        |tree| {
            pipeline(tree);
            super::cut(tree, "model_index.json", 9);
        },
        &["error json-invalid model_index.json -"],
    ),
    (
        "a link of a pipeline that leads to nothing",
        "hf-tiny",
        |tree| {
            pipeline(tree);
            symlink("nowhere", tree.join("vae")).unwrap();
        },
        &["error link-dangling vae -"],
    ),
    ("a whole cache", "hf-tiny", repository, &[]),
    (
        "a blob gone",
        "hf-tiny",
        |folder| {
            repository(folder);
            remove(folder, &[&format!("blobs/{SECOND}")]);
        },
        &[
            "error link-dangling model-00002-of-00002.safetensors -",
            "error shard-missing model-00002-of-00002.safetensors -",
        ],
    ),
    (
        "a download broken off",
        "hf-tiny",
        |folder| {
            repository(folder);
            write(folder, "blobs/00ff.incomplete", b"half");
            remove(folder, &[&format!("snapshots/c0/{SECOND}")]);
        },
        &[
            "warning partial-left ../../blobs/00ff.incomplete -",
            "error shard-missing model-00002-of-00002.safetensors -",
        ],
    ),
    (
        "a ref to a snapshot that is not there",
        "hf-tiny",
        |folder| {
            repository(folder);
            write(folder, "refs/main", b"c1");
        },
        &["error snapshot-unclear snapshots -"],
    ),
    (
        "two snapshots and no ref",
        "hf-tiny",
        |folder| {
            repository(folder);
            make(folder, "snapshots/c1");
            remove(folder, &["refs/main"]);
        },
        &["error snapshot-unclear snapshots -"],
    ),
    (
        "a link out of the cache",
        "hf-tiny",
        |folder| {
            repository(folder);
            remove(folder, &["snapshots/c0/config.json"]);
            symlink("/etc/hostname", folder.join("snapshots/c0/notes.txt")).unwrap();
            std::fs::rename(folder.join("blobs/config.json"), folder.join("snapshots/c0/config.json")).unwrap();
        },
        &[],
    ),
];
