//! Releases whose small files can be written byte for byte (`--match-release`): what their publisher's version of
//! transformers wrote differently from the next.

use ckpt::archs::llama::{Generation, ModelFacts};

/// One release.
#[expect(clippy::struct_excessive_bools, reason = "a row of small differences, each its own")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is a release of.
    generation: Generation,
    /// Its layers and width, by which it is known.
    shape: (u64, u64),
    /// `transformers_version` of `config.json` and `generation_config.json`.
    pub(crate) transformers_version: &'static str,
    /// `config.json` has `head_dim`.
    pub(crate) head_dim: bool,
    /// `config.json` has `mlp_bias`.
    pub(crate) mlp_bias: bool,
    /// `rope_scaling` has its keys by the alphabet, not low before high.
    pub(crate) sorted_scaling: bool,
    /// `config.json` names only the last of the ids that end a text.
    pub(crate) last_eos_only: bool,
    /// `generation_config.json` was written by hand, with `max_length`.
    pub(crate) generation_by_hand: bool,
}

#[rustfmt::skip]
const RELEASES: [Release; 3] = [
    Release { name: "Llama-3.2-1B-Instruct", generation: Generation::Llama32, shape: (16, 2048), transformers_version: "4.45.0.dev0",
              head_dim: true,  mlp_bias: true,  sorted_scaling: true,  last_eos_only: false, generation_by_hand: false },
    Release { name: "Llama-3.1-8B-Instruct", generation: Generation::Llama31, shape: (32, 4096), transformers_version: "4.42.3",
              head_dim: false, mlp_bias: true,  sorted_scaling: false, last_eos_only: false, generation_by_hand: false },
    Release { name: "Llama-3-8B-Instruct",   generation: Generation::Llama3,  shape: (32, 4096), transformers_version: "4.40.0.dev0",
              head_dim: false, mlp_bias: false, sorted_scaling: false, last_eos_only: true,  generation_by_hand: true },
];

/// The release of that name; `Meta-` before it, as some are also called, makes no difference.
///
/// # Errors
/// The names there are.
pub(crate) fn find(name: &str) -> Result<&'static Release, String> {
    let bare = name.rsplit('/').next().unwrap_or(name);
    let bare = bare.strip_prefix("Meta-").unwrap_or(bare);
    RELEASES.iter().find(|release| release.name.eq_ignore_ascii_case(bare)).ok_or_else(|| {
        let names: Vec<&str> = RELEASES.iter().map(|release| release.name).collect();
        format!("--match-release {name}: not among {}", names.join(", "))
    })
}

impl Release {
    /// Why a model cannot be this release. All of them are tuned for dialogue.
    pub(crate) fn differs(&self, facts: &ModelFacts) -> Option<String> {
        let (layers, dim) = self.shape;
        let said = |what: &str, release: &dyn std::fmt::Display, model: &dyn std::fmt::Display| {
            Some(format!("--match-release {}: its {what} is {release}, that of the model {model}", self.name))
        };
        if facts.generation != self.generation {
            return said("generation", &self.generation.name(), &facts.generation.name());
        }
        if (facts.layers, facts.dim) != self.shape {
            let shape = |layers: u64, dim: u64| format!("{layers} layers of width {dim}");
            return said("shape", &shape(layers, dim), &shape(facts.layers, facts.dim));
        }
        (!facts.instruct).then(|| {
            format!("--match-release {}: the model is taken for a base model; --assume instruct=true", self.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{llama3_8b, llama31_8b};
    use super::*;

    #[test]
    fn a_release_is_found_and_fits_its_own_model_only() {
        let release = find("meta-llama/Meta-Llama-3-8B-Instruct").unwrap();
        assert_eq!(release.name, "Llama-3-8B-Instruct");
        assert_eq!(release.differs(&llama3_8b()), None);
        assert!(release.differs(&llama31_8b()).is_some_and(|why| why.contains("llama-3.1")));
        assert!(release.differs(&ModelFacts { layers: 31, ..llama3_8b() }).is_some());
        assert!(release.differs(&ModelFacts { instruct: false, ..llama3_8b() }).is_some());
        assert!(find("gpt-2").unwrap_err().contains("Llama-3.2-1B-Instruct"));
    }
}
