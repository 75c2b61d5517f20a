//! `tokenizer_config.json` and `special_tokens_map.json`, which say of the tokens in `tokenizer.json` what they
//! are for.

use ckpt::archs::llama::{Generation, ModelFacts};
use ckpt::tokenizers::json::Added;
use ckpt::tokenizers::{Ggml, Model, Naming, Ranks, Tekken};
use serde_json::{Map, Value, json};

use super::text;

/// The tokens that have a part to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All that are found before the model looks at the text, by id.
    pub(crate) added: Vec<Added>,
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
    pad: Option<String>,
    /// Decoding tidies up spaces before punctuation; the releases of Llama 3 say so.
    clean_up: bool,
}

/// How the special tokens of a generation are called.
pub(crate) fn naming(generation: Generation) -> Naming {
    if generation > Generation::Llama3 { Naming::Llama31 } else { Naming::Llama3 }
}

impl Tokens {
    /// Those of Llama 3 and later: a tuned model ends with the turn, a base model with the text.
    pub(crate) fn of_ranks(ranks: &Ranks, facts: &ModelFacts) -> Tokens {
        let first = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        let names = naming(facts.generation).names();
        let added: Vec<Added> = (first..).zip(&names).map(|(id, name)| Added::special(id, name)).collect();
        let eos = if facts.instruct { "<|eot_id|>" } else { "<|end_of_text|>" };
        let has = |name: &str| names.iter().any(|known| known == name).then(|| name.to_owned());
        Tokens { bos: has("<|begin_of_text|>"), eos: has(eos), unk: None, pad: None, clean_up: true, added }
    }

    /// Those of a SentencePiece model.
    pub(crate) fn of_model(model: &Model) -> Tokens {
        let name = |id| model.piece(id).map(|piece| piece.text.clone());
        Tokens {
            bos: model.bos.and_then(name),
            eos: model.eos.and_then(name),
            unk: name(model.unk),
            pad: None,
            clean_up: false,
            added: Added::of_model(model),
        }
    }

    /// Those of the vocabulary inside a GGUF file.
    pub(crate) fn of_ggml(ggml: &Ggml) -> Tokens {
        let name = |id| ggml.token(id).map(str::to_owned);
        Tokens {
            bos: name(ggml.bos),
            eos: name(ggml.eos),
            unk: name(ggml.unk),
            pad: None,
            clean_up: false,
            added: ggml.added(),
        }
    }

    /// Those of a `tekken.json`, whose roles go by name.
    pub(crate) fn of_tekken(tekken: &Tekken) -> Tokens {
        let name = |name: &str| tekken.id(name).map(|_| name.to_owned());
        let added = (0..).zip(&tekken.special).map(|(id, name)| Added::special(id, name));
        Tokens {
            added: added.collect(),
            bos: name("<s>"),
            eos: name("</s>"),
            unk: name("<unk>"),
            pad: name("<pad>"),
            clean_up: false,
        }
    }

    /// Those behind a file of ranks under these names: the first begins a text.
    pub(crate) fn named(ranks: &Ranks, names: &[String], end: &str, pad: &str) -> Tokens {
        let first = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        let added = (first..).zip(names).map(|(id, name)| Added::special(id, name)).collect();
        let [end, pad] = [end, pad].map(|name| Some(name.to_owned()));
        Tokens { added, bos: names.first().cloned(), eos: end, unk: None, pad, clean_up: true }
    }

    fn parts(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("bos_token", self.bos.as_ref()),
            ("eos_token", self.eos.as_ref()),
            ("unk_token", self.unk.as_ref()),
            ("pad_token", self.pad.as_ref()),
        ]
    }

    /// `special_tokens_map.json`.
    pub(crate) fn special_tokens_map(&self) -> Vec<u8> {
        let present = self.parts().into_iter().filter_map(|(part, token)| Some((part, token?)));
        let plain = |token: &String| json!({"content": token, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false});
        let map: Map<String, Value> = present.map(|(part, token)| (part.to_owned(), plain(token))).collect();
        text(&Value::Object(map))
    }

    /// `tokenizer_config.json`, for the class that reads `tokenizer.json` as it is in all versions of transformers.
    /// `context` is the longest text in tokens.
    pub(crate) fn tokenizer_config(&self, context: u64, chat_template: Option<&str>) -> Vec<u8> {
        let added = self.added.iter().map(|token| {
            let told = json!({
                "content": token.content,
                "lstrip": token.lstrip,
                "normalized": token.normalized,
                "rstrip": token.rstrip,
                "single_word": token.single_word,
                "special": token.special,
            });
            (token.id.to_string(), told)
        });
        let [bos, eos, unk, pad] = self.parts().map(|(part, token)| (part, token.map(|token| json!(token))));
        let rows = [
            ("added_tokens_decoder", Some(Value::Object(added.collect()))),
            bos,
            ("chat_template", chat_template.map(|template| json!(template))),
            ("clean_up_tokenization_spaces", Some(json!(self.clean_up))),
            eos,
            ("model_input_names", Some(json!(["input_ids", "attention_mask"]))),
            ("model_max_length", Some(json!(context))),
            pad,
            ("tokenizer_class", Some(json!("PreTrainedTokenizerFast"))),
            unk,
        ];
        let present = rows.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        text(&Value::Object(present.collect()))
    }
}

#[cfg(test)]
mod tests {
    use ckpt::tokenizers::sentencepiece::{Piece, PieceKind};
    use sha2::{Digest, Sha256};

    use super::super::samples::llama32_1b;
    use super::*;

    fn bytes_only() -> Ranks {
        Ranks::from_tokens((0..=u8::MAX).map(|byte| [byte])).unwrap()
    }

    #[test]
    fn the_map_of_a_tuned_llama_3_is_that_of_the_hub() {
        let map = Tokens::of_ranks(&bytes_only(), &llama32_1b()).special_tokens_map();
        let digest = Sha256::digest(&map).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(digest, "6f38c73729248f6c127296386e3cdde96e254636cc58b4169d3fd32328d9a8ec");
    }

    #[test]
    fn the_config_names_every_special_token_by_id() {
        let tokens = Tokens::of_ranks(&bytes_only(), &ModelFacts { instruct: false, ..llama32_1b() });
        let config: Value = serde_json::from_slice(&tokens.tokenizer_config(8192, Some("{{ 'é' }}"))).unwrap();
        assert_eq!(config["added_tokens_decoder"]["265"]["content"], "<|eot_id|>");
        assert_eq!(config["eos_token"], "<|end_of_text|>");
        assert_eq!((&config["chat_template"], &config["model_max_length"]), (&json!("{{ 'é' }}"), &json!(8192)));
        assert_eq!(config.as_object().map(|config| config.contains_key("unk_token")), Some(false));
    }

    #[test]
    fn sentencepiece_has_an_unknown_token() {
        let piece = |text: &str, kind| Piece { text: text.into(), score: 0.0, kind };
        let model = Model::llama(vec![
            piece("<unk>", PieceKind::Unknown),
            piece("<s>", PieceKind::Control),
            piece("</s>", PieceKind::Control),
            piece("a", PieceKind::Normal),
        ]);
        let tokens = Tokens::of_model(&model);
        let map: Value = serde_json::from_slice(&tokens.special_tokens_map()).unwrap();
        assert_eq!(map["unk_token"]["content"], "<unk>");
        let config: Value = serde_json::from_slice(&tokens.tokenizer_config(4096, None)).unwrap();
        assert_eq!((&config["bos_token"], &config["eos_token"]), (&json!("<s>"), &json!("</s>")));
        assert_eq!(config["added_tokens_decoder"].as_object().map(Map::len), Some(3));
        assert_eq!(config.get("chat_template"), None);
    }
}
