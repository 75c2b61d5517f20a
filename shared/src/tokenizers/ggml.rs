//! The vocabulary that a GGUF file keeps under `tokenizer.ggml.*`, and the `tokenizer.json` that has its encodings.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::json::{Added, LLAMA3_PATTERN, MergeForm, TokenizerJson, byte_pairs, from_pieces, to_sentencepiece};
use super::sentencepiece::{Model, Piece, PieceKind};
use crate::facts::{Finding, Id};

/// The vocabulary, as the keys have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ggml {
    /// `tokenizer.ggml.model`: `gpt2` for byte pairs, `llama` for SentencePiece.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is cut into words before pairs are merged.
    pub pre: String,
    /// Tokens by id, spelt as their model spells them.
    pub tokens: Vec<String>,
    /// What each is for, by llama.cpp's numbers; empty if all are normal.
    pub types: Vec<u64>,
    /// Scores of SentencePiece.
    pub scores: Vec<f32>,
    /// Pairs `a b`, in the order of merging.
    pub merges: Vec<String>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends one.
    pub eos: Option<u32>,
    /// The token for what cannot be spelt.
    pub unk: Option<u32>,
    /// Every text begins with the one that begins texts; what the kind of vocabulary does where nothing is said.
    pub add_bos: Option<bool>,
    /// A space is put before the text.
    pub add_space_prefix: Option<bool>,
    /// Special tokens take the spaces after them along. No key says so: Phi-3's do, in llama.cpp too.
    pub strips: bool,
}

/// Types of tokens (`LLAMA_TOKEN_TYPE_*` of llama.h, which are SentencePiece's numbers).
const KINDS: &[(u64, PieceKind)] = &[
    (1, PieceKind::Normal),
    (2, PieceKind::Unknown),
    (3, PieceKind::Control),
    (4, PieceKind::UserDefined),
    (5, PieceKind::Unused),
    (6, PieceKind::Byte),
];

/// Tokens after which spaces are kept whatever others do (`llama-vocab.cpp`).
const KEEPS_SPACES: &[&str] = &["<unk>", "<s>", "<|endoftext|>"];

/// Ids between a SentencePiece model's pieces and tokens that were added to them, all together at the most.
const ADDED_GAP: usize = 4096;

/// The expression of Qwen 2, which cuts numbers into single digits.
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a kind of vocabulary cuts text: llama.cpp's name (`llama-vocab.cpp`), and what its models' own
/// `tokenizer.json` says.
struct Cut {
    pre: &'static str,
    pre_tokenizer: fn() -> Value,
    normalizer: fn() -> Value,
    /// Words that are tokens are taken whole.
    ignore_merges: bool,
    /// What `add_bos_token` means where it is not said.
    add_bos: bool,
}

fn bytes(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn split(pattern: &str) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
}

fn digits() -> Value {
    json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)]})
}

const CUTS: &[Cut] = &[
    Cut {
        pre: "llama-bpe",
        pre_tokenizer: || split(LLAMA3_PATTERN),
        normalizer: || Value::Null,
        ignore_merges: true,
        add_bos: true,
    },
    Cut { pre: "smollm", pre_tokenizer: digits, normalizer: || Value::Null, ignore_merges: false, add_bos: false },
    Cut {
        pre: "gpt-2",
        pre_tokenizer: || bytes(true),
        normalizer: || Value::Null,
        ignore_merges: false,
        add_bos: false,
    },
    Cut {
        pre: "qwen2",
        pre_tokenizer: || split(QWEN2_PATTERN),
        normalizer: || json!({"type": "NFC"}),
        ignore_merges: false,
        add_bos: false,
    },
];

/// Whether two steps cut text alike. Where a token begins in the text is another matter (`trim_offsets`).
fn same_cut(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| key == "trim_offsets" || same_cut(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_cut(a, b)),
        (a, b) => a == b,
    }
}

fn unsupported(message: String) -> Finding {
    Finding::new(Id::Unsupported, message)
}

impl Ggml {
    fn kind(&self, id: usize) -> PieceKind {
        let number = self.types.get(id).copied().unwrap_or(1);
        KINDS.iter().find(|row| row.0 == number).map_or(PieceKind::Normal, |row| row.1)
    }

    /// The text of a token.
    pub fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(usize::try_from(id?).ok()?).map(String::as_str)
    }

    /// The tokens that are found before the model looks at the text.
    pub fn added(&self) -> Vec<Added> {
        (0..)
            .zip(self.tokens.iter().enumerate())
            .filter(|(_, (place, _))| self.kind(*place).is_added())
            .map(|(id, (place, text))| Added {
                special: self.kind(place) != PieceKind::UserDefined,
                rstrip: self.strips && self.kind(place) == PieceKind::Control && !KEEPS_SPACES.contains(&text.as_str()),
                ..Added::special(id, text)
            })
            .collect()
    }

    /// The `tokenizer.json` with these encodings.
    ///
    /// # Errors
    /// [`Id::Unsupported`] for a model or a way to cut text that is not known here; [`Id::TokenizerInvalid`] for
    /// merges of what are no tokens, or a token that stands twice.
    pub fn to_json(&self, form: MergeForm) -> Result<Vec<u8>, Finding> {
        match self.model.as_str() {
            "gpt2" => self.byte_pairs(form),
            "llama" => from_pieces(&self.sentencepiece(), self.added(), form),
            other => Err(unsupported(format!("no tokenizer.json is made here for a vocabulary of the kind {other:?}"))),
        }
    }

    /// The SentencePiece model that the keys were taken from, as far as they have it.
    pub fn sentencepiece(&self) -> Model {
        // What fills the vocabulary up to the rows of the embedding is no piece of the model.
        let used = |id: &usize| self.kind(*id) != PieceKind::Unused;
        let kept = (0..self.tokens.len()).rfind(used).map_or(0, |last| last.saturating_add(1));
        let pieces = self.tokens.iter().take(kept).enumerate().map(|(id, text)| {
            let score = self.scores.get(id).copied().filter(|score| !score.is_nan()).unwrap_or(0.0);
            Piece { text: text.clone(), score, kind: self.kind(id) }
        });
        let mut model = Model::llama(pieces.collect());
        model.bos = self.bos.filter(|_| self.add_bos != Some(false));
        model.eos = self.eos;
        model.unk = self.unk.unwrap_or(0);
        model.add_dummy_prefix = self.add_space_prefix != Some(false);
        model
    }

    /// The vocabulary of a SentencePiece model.
    pub fn from_sentencepiece(model: &Model) -> Ggml {
        let number = |kind| KINDS.iter().find(|row| row.1 == kind).map_or(1, |row| row.0);
        Ggml {
            model: "llama".to_owned(),
            pre: "default".to_owned(),
            tokens: model.pieces.iter().map(|piece| piece.text.clone()).collect(),
            types: model.pieces.iter().map(|piece| number(piece.kind)).collect(),
            scores: model.pieces.iter().map(|piece| piece.score).collect(),
            merges: Vec::new(),
            bos: model.bos,
            eos: model.eos,
            unk: Some(model.unk),
            add_bos: Some(model.bos.is_some()),
            add_space_prefix: Some(model.add_dummy_prefix),
            strips: false,
        }
    }

    /// The same, and tokens behind its pieces that a `tokenizer.json` adds; ids between them are left unused.
    ///
    /// # Errors
    /// A finding for ids that leave more of them unused than a vocabulary has.
    pub fn with_added(mut self, added: &[Added]) -> Result<Ggml, Finding> {
        let mut behind: Vec<&Added> = added.iter().collect();
        behind.sort_unstable_by_key(|added| added.id);
        let mut room = ADDED_GAP;
        for added in behind {
            let id = usize::try_from(added.id).unwrap_or(usize::MAX);
            // A piece of the model that is added once more.
            let Some(gap) = id.checked_sub(self.tokens.len()) else { continue };
            room = room.checked_sub(gap).ok_or_else(|| {
                let message = format!("the id of the added token {:?} is far beyond those before it", added.content);
                Finding::new(Id::TokenizerInvalid, message).needed(format!("about {}", self.tokens.len()), id)
            })?;
            while self.tokens.len() < id {
                self.push(format!("[PAD{}]", self.tokens.len()), PieceKind::Unused);
            }
            self.push(added.content.clone(), if added.special { PieceKind::Control } else { PieceKind::UserDefined });
        }
        Ok(self)
    }

    fn push(&mut self, token: String, kind: PieceKind) {
        self.tokens.push(token);
        self.types.push(KINDS.iter().find(|row| row.1 == kind).map_or(1, |row| row.0));
        self.scores.push(-1000.0);
    }

    /// The vocabulary of a `tokenizer.json` of byte pairs, or of one that was made of a SentencePiece model.
    ///
    /// # Errors
    /// [`Id::Unsupported`] for one that cuts text in a way for which llama.cpp's name is not known here, or that is
    /// neither of the two.
    pub fn from_json(json: &TokenizerJson) -> Result<Ggml, Finding> {
        if json.byte_fallback {
            return to_sentencepiece(json).map(|model| Ggml::from_sentencepiece(&model));
        }
        let cut = CUTS.iter().find(|cut| {
            same_cut(&(cut.pre_tokenizer)(), &json.pre_tokenizer)
                && (cut.normalizer)() == json.normalizer
                && cut.ignore_merges == json.ignore_merges
        });
        let Some(cut) = cut.filter(|_| json.model == "BPE" && !json.affixes) else {
            return Err(unsupported(
                "llama.cpp has no name that is known here for how this tokenizer cuts text".to_owned(),
            ));
        };
        let count = usize::try_from(json.ids()).unwrap_or(0).min(json.vocab.len().saturating_add(json.added.len()));
        let mut tokens: Vec<Option<(&str, u64)>> = vec![None; count];
        let normal = json.vocab.iter().map(|(id, text)| (*id, text.as_str(), 1));
        let added =
            json.added.iter().map(|added| (added.id, added.content.as_str(), if added.special { 3 } else { 4 }));
        for (id, text, kind) in normal.chain(added) {
            let slot = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
            let Some(slot) = slot else {
                return Err(unsupported("ids without tokens lie between the others".to_owned()));
            };
            *slot = Some((text, kind));
        }
        let tokens: Option<Vec<(&str, u64)>> = tokens.into_iter().collect();
        let Some(tokens) = tokens else {
            return Err(unsupported("ids without tokens lie between the others".to_owned()));
        };
        let text = |id: u32| usize::try_from(id).ok().and_then(|id| tokens.get(id)).map_or("", |token| token.0);
        Ok(Ggml {
            model: "gpt2".to_owned(),
            pre: cut.pre.to_owned(),
            merges: json.merges.iter().map(|(left, right)| format!("{} {}", text(*left), text(*right))).collect(),
            types: tokens.iter().map(|token| token.1).collect(),
            tokens: tokens.iter().map(|token| token.0.to_owned()).collect(),
            add_bos: Some(json.post_processor.to_string().contains("\"SpecialToken\"")),
            ..Ggml::default()
        })
    }

    fn byte_pairs(&self, form: MergeForm) -> Result<Vec<u8>, Finding> {
        let Some(cut) = CUTS.iter().find(|cut| cut.pre == self.pre) else {
            return Err(unsupported(format!(
                "how a vocabulary of the kind {:?} cuts text is not known here",
                self.pre
            )));
        };
        // Special tokens behind the others stand beside the vocabulary, as in the files of the models themselves.
        let normal = |id: &usize| matches!(self.kind(*id), PieceKind::Normal | PieceKind::Byte);
        let kept = (0..self.tokens.len()).rfind(normal).map_or(0, |last| last.saturating_add(1));
        let tokens: Vec<&str> = self.tokens.iter().take(kept).map(String::as_str).collect();
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(&tokens) {
            if ids.insert(token, id).is_some() {
                let message = format!("the token {token:?} stands twice in the vocabulary");
                return Err(Finding::new(Id::TokenizerInvalid, message));
            }
        }
        let pair = |merge: &String| {
            let (left, right) = merge.split_once(' ')?;
            Some((*ids.get(left)?, *ids.get(right)?))
        };
        let mut pairs = Vec::with_capacity(self.merges.len());
        for (number, merge) in self.merges.iter().enumerate() {
            pairs.push(pair(merge).ok_or_else(|| {
                let message = format!("merge {number} is not of two tokens of the vocabulary");
                Finding::new(Id::TokenizerInvalid, message)
            })?);
        }
        let bos = self.bos.filter(|_| self.add_bos.unwrap_or(cut.add_bos));
        let bos = bos.and_then(|id| Some((self.token(Some(id))?, id)));
        let steps = ((cut.normalizer)(), (cut.pre_tokenizer)());
        byte_pairs(&tokens, pairs, self.added(), steps, bos, cut.ignore_merges, form)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tokenizer, read};
    use super::*;

    fn small() -> Ggml {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        Ggml {
            model: "gpt2".into(),
            pre: "llama-bpe".into(),
            tokens: text(&["a", "b", "ab", "<s>", "</s>"]),
            types: vec![1, 1, 1, 3, 3],
            merges: text(&["a b"]),
            bos: Some(3),
            ..Ggml::default()
        }
    }

    fn made(ggml: &Ggml) -> super::super::TokenizerJson {
        match read(&ggml.to_json(MergeForm::Strings).unwrap()).unwrap() {
            Tokenizer::Json(json) => *json,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn byte_pairs_keep_their_ids_and_merges() {
        let json = made(&small());
        assert_eq!((json.vocab.len(), json.merges.as_slice(), json.ids()), (3, &[(0, 1)][..], 5));
        assert!(json.ignore_merges && json.post_processor.to_string().contains("<s>"));
        assert_eq!(made(&Ggml { add_bos: Some(false), ..small() }).post_processor, Value::Null);
        let cut = made(&Ggml { pre: "smollm".into(), ..small() });
        assert!(!cut.ignore_merges && cut.pre_tokenizer.to_string().contains("individual_digits"));
    }

    #[test]
    fn a_tokenizer_made_of_a_vocabulary_gives_it_back() {
        for pre in ["llama-bpe", "smollm", "gpt-2", "qwen2"] {
            let ggml = Ggml { pre: pre.into(), add_bos: Some(true), ..small() };
            let back = Ggml::from_json(&made(&ggml)).unwrap();
            assert_eq!(back, Ggml { bos: None, ..ggml });
        }
        let other = super::super::TokenizerJson { model: "BPE".into(), ..made(&small()) };
        let other = super::super::TokenizerJson { pre_tokenizer: Value::Null, ..other };
        assert_eq!(Ggml::from_json(&other).unwrap_err().id, Id::Unsupported);
    }

    #[test]
    fn what_cannot_be_exact_is_refused() {
        let id = |ggml: Ggml| ggml.to_json(MergeForm::Strings).unwrap_err().id;
        assert_eq!(id(Ggml { pre: "deepseek-llm".into(), ..small() }), Id::Unsupported);
        assert_eq!(id(Ggml { model: "bert".into(), ..small() }), Id::Unsupported);
        assert_eq!(id(Ggml { merges: vec!["a c".into()], ..small() }), Id::TokenizerInvalid);
        let mut twice = small();
        twice.tokens[1] = "a".into();
        assert_eq!(id(twice), Id::TokenizerInvalid);
    }

    #[test]
    fn sentencepiece_comes_back_as_it_was() {
        let tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab"].map(str::to_owned).to_vec();
        let scores = vec![0.0, 0.0, 0.0, -2.0, -3.0, -1.0];
        let ids = (Some(1), Some(2), Some(0));
        let (bos, eos, unk) = ids;
        let ggml = Ggml {
            model: "llama".into(),
            tokens,
            types: vec![2, 3, 3, 1, 1, 1],
            scores,
            bos,
            eos,
            unk,
            ..Ggml::default()
        };
        let json = made(&ggml);
        assert_eq!((json.merges.as_slice(), json.unk.as_deref()), (&[(3, 4)][..], Some("<unk>")));
    }
}
