//! Which release of a family it is, by its sizes.

use std::collections::BTreeMap;

use ckpt::archs::Naming;
use ckpt::archs::llama::infer::{Evidence, Vocabulary, from_config, from_params};
use ckpt::archs::llama::{Generation, ModelFacts};
use ckpt::document::{Family, Tied, YesNo};
use ckpt::facts::Dtype;
use ckpt::layouts::Checkpoint;

use super::tokenizer::Found;

use Generation::{CodeLlama, Llama1, Llama2, Llama3, Llama31, Llama32, Llama33};

/// Sizes that tell one release of Llama from the others, the size's name, and the generations that have it.
struct Release {
    layers: u64,
    dim: u64,
    ffn: u64,
    name: &'static str,
    generations: &'static [Generation],
}

const fn release(layers: u64, dim: u64, ffn: u64, name: &'static str, generations: &'static [Generation]) -> Release {
    Release { layers, dim, ffn, name, generations }
}

/// Every dense text model of Meta's, by the `params.json` that came with it.
#[rustfmt::skip]
const RELEASES: &[Release] = &[
    release( 16,  2048,  8192, "1B",   &[Llama32]),
    release( 28,  3072,  8192, "3B",   &[Llama32]),
    release( 32,  4096, 11008, "7B",   &[Llama1, Llama2, CodeLlama]),
    release( 32,  4096, 14336, "8B",   &[Llama3, Llama31]),
    release( 40,  5120, 13824, "13B",  &[Llama1, Llama2, CodeLlama]),
    release( 60,  6656, 17920, "30B",  &[Llama1]),
    release( 48,  8192, 22016, "34B",  &[CodeLlama]),
    release( 80,  8192, 22016, "65B",  &[Llama1]),
    release( 80,  8192, 28672, "70B",  &[Llama2, CodeLlama, Llama3, Llama31, Llama33]),
    release(126, 16384, 53248, "405B", &[Llama31]),
];

/// All that the small files of a Llama say or imply; `None` for another family, or where a number is missing.
pub(super) fn facts(checkpoint: &Checkpoint, tokenizer: Option<&Found>, tied: &Tied) -> Option<ModelFacts> {
    let family = checkpoint.family.as_ref().filter(|family| family.arch.name == "llama")?;
    let config = checkpoint.params()?;
    let shape = |name: &str| checkpoint.tensor(name).map(|tensor| tensor.recipe.shape.clone());
    let path = checkpoint.path.to_string_lossy();
    let assume = BTreeMap::new();
    let evidence = Evidence {
        shape: &shape,
        shards: 1,
        kv_repeat: 1,
        vocabulary: tokenizer.and_then(vocabulary),
        tied: match tied.head {
            YesNo::Yes => Some(true),
            YesNo::No => Some(false),
            YesNo::Unknown => None,
        },
        dtype: checkpoint.tensors.first().map_or(Dtype::Bf16, |tensor| tensor.recipe.dtype),
        path: &path,
        sibling: None,
        headers_trained: None,
        assume: &assume,
    };
    let inference = match family.naming {
        Naming::Meta => from_params(config, &evidence),
        // The config of what was tuned, in either form.
        Naming::Tune if config.get("dim").is_some() => from_params(config, &evidence),
        Naming::Hf | Naming::Gguf | Naming::Tune => from_config(config, &evidence),
    };
    inference.ok().map(|inference| inference.facts)
}

/// What the tokenizer tells of the generation: tiktoken and what was made of it, or SentencePiece.
fn vocabulary(tokenizer: &Found) -> Option<Vocabulary> {
    let summary = tokenizer.summary.as_ref()?;
    let first = summary.named.first().map(|(_, name)| name.as_str());
    let tiktoken = match summary.kind {
        "tiktoken" => true,
        "sentencepiece" => false,
        _ if first == Some("<|begin_of_text|>") => true,
        _ if summary.named.iter().any(|(_, name)| name == "<s>") => false,
        _ => return None,
    };
    Some(Vocabulary { tiktoken, ids: summary.ids, bos: summary.bos, eos: summary.eos })
}

/// The family, and the release if the sizes are those of one.
pub(super) fn of(checkpoint: &Checkpoint, facts: Option<&ModelFacts>) -> Option<Family> {
    let family = checkpoint.family.as_ref()?;
    Some(Family { name: family.arch.name.to_owned(), variant: facts.and_then(variant), from: family.from.clone() })
}

/// Version and size: `3.2-1B`, `2-70B`, `code-34B`.
fn variant(facts: &ModelFacts) -> Option<String> {
    let fits = |release: &&Release| {
        (release.layers, release.dim, release.ffn) == (facts.layers, facts.dim, facts.ffn)
            && release.generations.contains(&facts.generation)
    };
    let size = RELEASES.iter().find(fits)?.name;
    let name = facts.generation.name();
    let version = name.strip_prefix("llama-").or_else(|| name.strip_suffix("-llama")).unwrap_or(name);
    Some(format!("{version}-{size}"))
}
