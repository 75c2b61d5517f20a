//! What the name of a checkpoint's directory says.

use crate::archs::llama::facts::Generation;

/// The last component of a path that can be a model's name: not the folders that Meta's and the hub's layouts
/// put around the files.
pub fn of(path: &str) -> &str {
    let plain = |part: &&str| {
        let hash = part.len() == 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shard = part.starts_with("consolidated") || part.starts_with("model-");
        !matches!(*part, "" | "." | ".." | "original" | "snapshots" | "mp8" | "mp16") && !hash && !shard
    };
    path.split('/').rfind(plain).unwrap_or_default()
}

/// Lower case, with one kind of separator, so that `Meta-Llama-3.1-8B`, `Llama3.1-8B` and `llama_3_1` look alike.
fn folded(label: &str) -> String {
    label.to_ascii_lowercase().replace(['_', ' '], "-")
}

/// One row: what a name may hold, and the generation it then says. Longer ones first where one holds another.
const NAMES: [(&str, Generation); 15] = [
    ("codellama", Generation::CodeLlama),
    ("code-llama", Generation::CodeLlama),
    ("llama-guard-3-1b", Generation::Llama32),
    ("llama-guard-3", Generation::Llama31),
    ("llama-guard-2", Generation::Llama3),
    ("llama-3.3", Generation::Llama33),
    ("llama3.3", Generation::Llama33),
    ("llama-3.2", Generation::Llama32),
    ("llama3.2", Generation::Llama32),
    ("llama-3.1", Generation::Llama31),
    ("llama3.1", Generation::Llama31),
    ("llama-3", Generation::Llama3),
    ("llama3", Generation::Llama3),
    ("llama-2", Generation::Llama2),
    ("llama2", Generation::Llama2),
];

/// The generation that a name says, if any. Llama 1 came in folders called `7B`.
pub(super) fn generation(label: &str) -> Option<Generation> {
    let name = folded(label);
    let row = NAMES.iter().find(|(part, _)| name.contains(part)).map(|(_, generation)| *generation);
    let first = ["llama-1", "llama1", "llama-7b", "llama-13b", "llama-30b", "llama-65b"];
    let size = ["7b", "13b", "30b", "33b", "65b"].contains(&name.as_str());
    row.or((size || first.iter().any(|part| name.contains(part))).then_some(Generation::Llama1))
}

/// Whether a name says that the model is tuned for dialogue, or, being the bare name of a release, that it is
/// not.
pub(super) fn instruct(label: &str) -> Option<bool> {
    let name = folded(label);
    if ["instruct", "chat", "guard"].iter().any(|word| name.contains(word)) {
        return Some(true);
    }
    let size = |part: &str| {
        part.strip_suffix('b')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let endings = ["-hf", "-python", "-vision", "-16e", "-128e"];
    let rest = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let bare = rest.rsplit('-').next().is_some_and(size);
    (bare && (generation(label).is_some() || name.contains("llama-4"))).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_component_is_found() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let cache = format!("/c/models--meta-llama--Llama-3.2-1B-Instruct/snapshots/{hash}/original/");
        assert_eq!(of(&cache), "models--meta-llama--Llama-3.2-1B-Instruct");
        assert_eq!(of("Llama3.1-8B/consolidated.00.pth"), "Llama3.1-8B");
        assert_eq!(of("/"), "");
    }

    #[test]
    fn names_of_releases_say_what_they_are() {
        for (name, said, tuned) in [
            ("Meta-Llama-3.1-8B-Instruct", Some(Generation::Llama31), Some(true)),
            ("Llama3.2-1B", Some(Generation::Llama32), Some(false)),
            ("llama-2-7b-chat", Some(Generation::Llama2), Some(true)),
            ("CodeLlama-7b-Python", Some(Generation::CodeLlama), Some(false)),
            ("Llama-Guard-3-1B", Some(Generation::Llama32), Some(true)),
            ("7B", Some(Generation::Llama1), Some(false)),
            ("Meta-Llama-3-8B", Some(Generation::Llama3), Some(false)),
            ("checkpoint-1000", None, None),
            ("my-model-8b", None, None),
            ("Llama-3.2-11B-Vision", Some(Generation::Llama32), Some(false)),
            ("Llama-3.2-11B-Vision-Instruct", Some(Generation::Llama32), Some(true)),
            ("Llama-4-Scout-17B-16E", None, Some(false)),
            ("Llama-4-Maverick-17B-128E-Instruct", None, Some(true)),
        ] {
            assert_eq!((generation(name), instruct(name)), (said, tuned), "{name}");
        }
    }
}
