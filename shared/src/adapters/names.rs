//! What an adapter's tensors are called: PEFT's names, torchtune's and Meta's, told apart and made of each other.

use crate::archs::{ARCHS, Naming};

/// A scheme of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`: Hugging Face's modules behind PEFT's wrapper.
    Peft,
    /// `layers.0.attn.q_proj.lora_a.weight`: torchtune's modules.
    Tune,
    /// `layers.0.attention.wq.lora_A.weight`: Meta's and Mistral's modules.
    Meta,
}

impl Scheme {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Peft => "peft",
            Scheme::Tune => "torchtune",
            Scheme::Meta => "meta",
        }
    }
}

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first matrix, rank by inputs.
    A,
    /// The second one, outputs by rank.
    B,
    /// The length of each row of the weight, in DoRA.
    Magnitude,
    /// The same two for an embedding: rank by vocabulary, width by rank.
    EmbeddingA,
    /// See [`Part::EmbeddingA`].
    EmbeddingB,
}

/// What PEFT puts before every module.
pub const PREFIX: &str = "base_model.model.";

/// Endings by part and scheme. The first of a part is the one written; PEFT before 0.11 wrote magnitudes as weights, and
/// a state dict that was saved without PEFT's help still has the adapter's name, which is `default` unless one was given.
#[rustfmt::skip]
const ENDINGS: &[(Part, Scheme, &str)] = &[
    (Part::A,          Scheme::Peft, ".lora_A.weight"),
    (Part::B,          Scheme::Peft, ".lora_B.weight"),
    (Part::Magnitude,  Scheme::Peft, ".lora_magnitude_vector"),
    (Part::EmbeddingA, Scheme::Peft, ".lora_embedding_A"),
    (Part::EmbeddingB, Scheme::Peft, ".lora_embedding_B"),
    (Part::A,          Scheme::Peft, ".lora_A.default.weight"),
    (Part::B,          Scheme::Peft, ".lora_B.default.weight"),
    (Part::Magnitude,  Scheme::Peft, ".lora_magnitude_vector.weight"),
    (Part::Magnitude,  Scheme::Peft, ".lora_magnitude_vector.default.weight"),
    (Part::A,          Scheme::Tune, ".lora_a.weight"),
    (Part::B,          Scheme::Tune, ".lora_b.weight"),
    (Part::Magnitude,  Scheme::Tune, ".magnitude"),
    (Part::A,          Scheme::Meta, ".lora_A.weight"),
    (Part::B,          Scheme::Meta, ".lora_B.weight"),
];

/// torchtune's modules and Hugging Face's (`_FROM_HF` of torchtune 0.6), for all of its families but Phi, whose
/// projections are one there.
#[rustfmt::skip]
const MODULES: &[(&str, &str)] = &[
    ("tok_embeddings",               "model.embed_tokens"),
    ("layers.{}.attn.q_proj",        "model.layers.{}.self_attn.q_proj"),
    ("layers.{}.attn.k_proj",        "model.layers.{}.self_attn.k_proj"),
    ("layers.{}.attn.v_proj",        "model.layers.{}.self_attn.v_proj"),
    ("layers.{}.attn.output_proj",   "model.layers.{}.self_attn.o_proj"),
    ("layers.{}.mlp.w1",             "model.layers.{}.mlp.gate_proj"),
    ("layers.{}.mlp.w3",             "model.layers.{}.mlp.up_proj"),
    ("layers.{}.mlp.w2",             "model.layers.{}.mlp.down_proj"),
    ("output",                       "lm_head"),
];

/// The scheme of a set of names.
pub fn scheme<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Scheme {
    if names.clone().any(|name| name.contains(".lora_a.") || name.ends_with(".magnitude")) {
        return Scheme::Tune;
    }
    let meta = |name: &str| split(Scheme::Meta, name).is_some_and(|(module, _)| to_hf(Scheme::Meta, module).is_some());
    if names.any(meta) { Scheme::Meta } else { Scheme::Peft }
}

/// The module that a name speaks of, as the scheme has it, and the part.
fn split(scheme: Scheme, name: &str) -> Option<(&str, Part)> {
    let mut own = ENDINGS.iter().filter(|row| row.1 == scheme);
    own.find_map(|(part, _, ending)| Some((name.strip_suffix(ending)?, *part)))
}

/// A module of a scheme under Hugging Face's name.
fn to_hf(scheme: Scheme, module: &str) -> Option<String> {
    match scheme {
        Scheme::Peft => Some(module.strip_prefix(PREFIX).unwrap_or(module).to_owned()),
        Scheme::Tune => MODULES.iter().find_map(|(tune, hf)| filled(tune, module, hf)),
        Scheme::Meta => ARCHS.iter().find_map(|arch| {
            let found = arch.find(Naming::Meta, &format!("{module}.weight"))?;
            let name = found.named(Naming::Hf)?;
            name.strip_suffix(".weight").map(str::to_owned)
        }),
    }
}

/// The module of Hugging Face's that a name speaks of, and the part; `None` for a tensor that is no part of a pair.
pub fn place(scheme: Scheme, name: &str) -> Option<(String, Part)> {
    let (module, part) = split(scheme, name)?;
    Some((to_hf(scheme, module)?, part))
}

/// The name in a scheme of a part of a module of Hugging Face's; `None` where the scheme has no such module or part.
pub fn named(scheme: Scheme, module: &str, part: Part) -> Option<String> {
    let (_, _, ending) = ENDINGS.iter().find(|row| row.0 == part && row.1 == scheme)?;
    let module = match scheme {
        Scheme::Peft => format!("{PREFIX}{module}"),
        Scheme::Tune => MODULES.iter().find_map(|(tune, hf)| filled(hf, module, tune))?,
        Scheme::Meta => ARCHS.iter().find_map(|arch| {
            let found = arch.find(Naming::Hf, &format!("{module}.weight"))?;
            let name = found.named(Naming::Meta)?;
            name.strip_suffix(".weight").map(str::to_owned)
        })?,
    };
    Some(format!("{module}{ending}"))
}

/// `to` with the number that makes `name` of `from`.
fn filled(from: &str, name: &str, to: &str) -> Option<String> {
    let Some((before, after)) = from.split_once("{}") else {
        return (from == name).then(|| to.to_owned());
    };
    let number = name.strip_prefix(before)?.strip_suffix(after)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| to.replacen("{}", number, 1))
}

/// Whether the rows of a module of Hugging Face's are those of queries or keys, whose order the schemes differ in.
pub fn is_rotary(module: &str) -> bool {
    module.ends_with(".self_attn.q_proj") || module.ends_with(".self_attn.k_proj")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_each_other() {
        let rows = [
            ("layers.3.attn.output_proj.lora_b.weight", "model.layers.3.self_attn.o_proj", Part::B),
            ("layers.0.mlp.w2.lora_a.weight", "model.layers.0.mlp.down_proj", Part::A),
            ("output.magnitude", "lm_head", Part::Magnitude),
        ];
        for (tune, module, part) in rows {
            assert_eq!(place(Scheme::Tune, tune), Some((module.to_owned(), part)), "{tune}");
            assert_eq!(named(Scheme::Tune, module, part).as_deref(), Some(tune));
            let peft = named(Scheme::Peft, module, part).unwrap();
            assert_eq!(place(Scheme::Peft, &peft), Some((module.to_owned(), part)), "{peft}");
        }
        assert_eq!(
            place(Scheme::Meta, "layers.1.attention.wo.lora_A.weight"),
            Some(("model.layers.1.self_attn.o_proj".to_owned(), Part::A))
        );
        assert_eq!(place(Scheme::Tune, "layers.x.attn.q_proj.lora_a.weight"), None);
        assert_eq!(place(Scheme::Tune, "layers.0.attn.qkv.lora_a.weight"), None);
        assert_eq!(named(Scheme::Tune, "model.layers.0.mlp.gate_up_proj", Part::A), None);
        assert_eq!(named(Scheme::Tune, "model.embed_tokens", Part::EmbeddingA), None);
    }

    #[test]
    fn schemes_are_told_apart() {
        let of = |name: &'static str| scheme(std::iter::once(name));
        assert_eq!(of("layers.0.attn.q_proj.lora_a.weight"), Scheme::Tune);
        assert_eq!(of("layers.0.attention.wq.lora_A.weight"), Scheme::Meta);
        assert_eq!(of("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"), Scheme::Peft);
        assert_eq!(of("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"), Scheme::Peft);
    }
}
