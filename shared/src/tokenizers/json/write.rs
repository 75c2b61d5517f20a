//! Writing `tokenizer.json` from tiktoken ranks, a `tekken.json` and a SentencePiece model.

use std::collections::HashSet;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Added, LLAMA3_PATTERN, SPACE, Tekken};
use crate::facts::{Finding, Id};
use crate::tokenizers::alphabet::Alphabet;
use crate::tokenizers::merges::Index;
use crate::tokenizers::sentencepiece::{Model, ModelType, Piece, PieceKind};
use crate::tokenizers::tiktoken::Ranks;

/// How a merge is spelt. All versions of the library read both where they can; those before 0.20 only strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeForm {
    /// `"a b"`, as the files on the hub.
    #[default]
    Strings,
    /// `["a", "b"]`, as newer versions save it.
    Pairs,
}

/// The file, in the order of its keys.
#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<Added>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Bpe<'a>,
}

/// The model, in the order of its keys.
#[derive(Serialize)]
struct Bpe<'a> {
    r#type: &'static str,
    dropout: Value,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocab<'a>,
    merges: Merges<'a>,
}

/// Tokens in the order of their ids.
struct Vocab<'a>(&'a [&'a str]);

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// Pairs of ids, spelt as tokens.
struct Merges<'a> {
    tokens: &'a [&'a str],
    pairs: Vec<(u32, u32)>,
    form: MergeForm,
}

impl Serialize for Merges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = |id: u32| usize::try_from(id).ok().and_then(|id| self.tokens.get(id)).copied().unwrap_or_default();
        let mut list = serializer.serialize_seq(Some(self.pairs.len()))?;
        for &(left, right) in &self.pairs {
            let (left, right) = (token(left), token(right));
            match self.form {
                MergeForm::Strings => list.serialize_element(&format_args!("{left} {right}"))?,
                MergeForm::Pairs => list.serialize_element(&[left, right])?,
            }
        }
        list.end()
    }
}

/// Begins every text with one token.
fn template(bos: &str, id: u32) -> Value {
    let token = |kind: u8| json!({"SpecialToken": {"id": bos, "type_id": kind}});
    let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [token(0), text("A", 0)],
        "pair": [token(0), text("A", 0), token(1), text("B", 1)],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    })
}

/// The settings of a step that spells bytes as characters.
fn byte_level(add_prefix_space: bool, trim_offsets: bool, use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": trim_offsets,
        "use_regex": use_regex,
    })
}

fn written(file: &File<'_>) -> Result<Vec<u8>, Finding> {
    serde_json::to_vec_pretty(file).map_err(|error| Finding::new(Id::TokenizerInvalid, error.to_string()))
}

/// Tokens spelt as characters, one behind the other, and where each ends; and their merges, as ranks.
type Spelt = (String, Vec<usize>, Vec<(u32, u32)>);

fn spelt(ranks: &Ranks) -> Result<Spelt, Finding> {
    let alphabet = Alphabet::new();
    let index = Index::new(ranks.tokens())?;
    let mut text = String::new();
    let mut ends = Vec::with_capacity(ranks.len());
    let mut pairs = Vec::new();
    for token in ranks.tokens() {
        alphabet.spell(token, &mut text);
        ends.push(text.len());
        pairs.extend(index.splits(token));
    }
    Ok((text, ends, pairs))
}

/// The parts of a text that end there.
fn parts<'a>(text: &'a str, ends: &'a [usize]) -> impl Iterator<Item = &'a str> {
    let mut start = 0;
    ends.iter().map(move |&end| text.get(std::mem::replace(&mut start, end)..end).unwrap_or_default())
}

/// The file of a vocabulary that cuts text by an expression; the token `bos` begins every text.
fn cut_by(
    pattern: &str,
    added: Vec<Added>,
    bos: Option<&Added>,
    tokens: &[&str],
    pairs: Vec<(u32, u32)>,
    form: MergeForm,
) -> Result<Vec<u8>, Finding> {
    let mut processors = vec![byte_level(true, false, true)];
    processors.extend(bos.map(|bos| template(&bos.content, bos.id)));
    written(&File {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: added,
        normalizer: Value::Null,
        pre_tokenizer: json!({
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                byte_level(false, true, false),
            ],
        }),
        post_processor: json!({"type": "Sequence", "processors": processors}),
        decoder: byte_level(true, true, true),
        model: Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: None,
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: true,
            vocab: Vocab(tokens),
            merges: Merges { tokens, pairs, form },
        },
    })
}

/// `tokenizer.json` of a file of ranks, with the special tokens that follow the ranks: the first of them begins
/// every text. For Llama 3.1 and later the bytes are those of the file on the hub.
///
/// # Errors
/// [`Id::TokenizerInvalid`] if there are more tokens than ids.
pub fn from_ranks(ranks: &Ranks, specials: &[String], form: MergeForm) -> Result<Vec<u8>, Finding> {
    from_ranks_cut(ranks, specials, LLAMA3_PATTERN, form)
}

/// The same for text that another expression cuts into words.
///
/// # Errors
/// As there.
pub fn from_ranks_cut(ranks: &Ranks, specials: &[String], pattern: &str, form: MergeForm) -> Result<Vec<u8>, Finding> {
    let (text, ends, pairs) = spelt(ranks)?;
    let tokens: Vec<&str> = parts(&text, &ends).collect();
    let first = u32::try_from(ranks.len()).map_err(|_| Finding::new(Id::TokenizerInvalid, "too many tokens"))?;
    let added: Vec<Added> = (first..).zip(specials).map(|(id, name)| Added::special(id, name)).collect();
    let bos = added.first().cloned();
    cut_by(pattern, added, bos.as_ref(), &tokens, pairs, form)
}

/// `tokenizer.json` of a `tekken.json`: its special tokens stand before the others, and `<s>` begins every text. What
/// the file holds beyond its vocabulary, and of images and sounds, has no place there.
///
/// # Errors
/// [`Id::Unsupported`] if a special token is spelt as an ordinary one is.
pub fn from_tekken(tekken: &Tekken, form: MergeForm) -> Result<Vec<u8>, Finding> {
    let (text, ends, mut pairs) = spelt(&tekken.ranks)?;
    let first = u32::try_from(tekken.special.len()).unwrap_or(u32::MAX);
    for (left, right) in &mut pairs {
        *left = left.saturating_add(first);
        *right = right.saturating_add(first);
    }
    // The library gives an added token the id that it finds in the model's vocabulary.
    let tokens: Vec<&str> = tekken.special.iter().map(String::as_str).chain(parts(&text, &ends)).collect();
    let special: HashSet<&str> = tekken.special.iter().map(String::as_str).collect();
    if let Some(both) = parts(&text, &ends).find(|token| special.contains(token)) {
        let message = format!("the special token {both:?} is spelt as an ordinary one of the vocabulary");
        return Err(Finding::new(Id::Unsupported, message));
    }
    let added: Vec<Added> = (0..).zip(&tekken.special).map(|(id, name)| Added::special(id, name)).collect();
    let bos = tekken.id("<s>").and_then(|id| added.get(usize::try_from(id).ok()?)).cloned();
    cut_by(&tekken.pattern, added, bos.as_ref(), &tokens, pairs, form)
}

/// `tokenizer.json` of byte pairs that are spelt out already. `steps` rewrite the text and cut it into words; `bos`
/// begins every text.
///
/// # Errors
/// Only what the serializer reports.
pub(in crate::tokenizers) fn byte_pairs(
    tokens: &[&str],
    pairs: Vec<(u32, u32)>,
    added_tokens: Vec<Added>,
    steps: (Value, Value),
    bos: Option<(&str, u32)>,
    ignore_merges: bool,
    form: MergeForm,
) -> Result<Vec<u8>, Finding> {
    let (normalizer, pre_tokenizer) = steps;
    let begin =
        |(name, id)| json!({"type": "Sequence", "processors": [byte_level(true, false, true), template(name, id)]});
    written(&File {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens,
        normalizer,
        pre_tokenizer,
        post_processor: bos.map_or(Value::Null, begin),
        decoder: byte_level(true, true, true),
        model: Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: None,
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges,
            vocab: Vocab(tokens),
            merges: Merges { tokens, pairs, form },
        },
    })
}

/// Why a SentencePiece model has no exact `tokenizer.json` of this kind.
fn cannot(model: &Model) -> Option<&'static str> {
    let causes = [
        (model.model_type != ModelType::Bpe, "the SentencePiece model does not choose its pieces by merging pairs"),
        (model.charsmap > 0, "the SentencePiece model replaces characters before it looks for pieces"),
        (model.remove_extra_whitespaces, "the SentencePiece model drops spaces"),
        (!model.escape_whitespaces, "the SentencePiece model leaves spaces as they are"),
        (model.whitespace_as_suffix, "the SentencePiece model ends words with spaces"),
        (
            model.pieces.iter().any(|piece| piece.kind == PieceKind::Unused),
            "the SentencePiece model has pieces that are not to be used",
        ),
    ];
    causes.into_iter().find_map(|(holds, cause)| holds.then_some(cause))
}

/// Pairs of ids in the order of merging: pieces by score, the highest first, those of one score by id; each cut
/// in every way that gives two pieces. SentencePiece makes only normal and user-defined pieces by merging.
fn merges(model: &Model) -> Result<Vec<(u32, u32)>, Finding> {
    let index = Index::new(model.pieces.iter().map(|piece| piece.text.as_bytes()))?;
    let mergeable = |piece: &&Piece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
    let mut pieces: Vec<&Piece> = model.pieces.iter().filter(mergeable).collect();
    // Scores are never NaN; the sort is stable.
    pieces.sort_by(|left, right| right.score.partial_cmp(&left.score).unwrap_or(std::cmp::Ordering::Equal));
    Ok(pieces.into_iter().flat_map(|piece| index.splits(piece.text.as_bytes())).collect())
}

/// `tokenizer.json` of a SentencePiece model, in the form whose encodings are SentencePiece's own: a space is put
/// before the text by the normalizer, as the first conversions did.
///
/// # Errors
/// [`Id::Unsupported`] for a model whose encodings that form cannot have; the message says why.
pub fn from_sentencepiece(model: &Model, form: MergeForm) -> Result<Vec<u8>, Finding> {
    from_pieces(model, Added::of_model(model), form)
}

/// The same, with what is said of the tokens that are found before the model looks at the text.
///
/// # Errors
/// As [`from_sentencepiece`].
pub(in crate::tokenizers) fn from_pieces(
    model: &Model,
    added: Vec<Added>,
    form: MergeForm,
) -> Result<Vec<u8>, Finding> {
    if let Some(cause) = cannot(model) {
        return Err(Finding::new(Id::Unsupported, cause));
    }
    let tokens: Vec<&str> = model.pieces.iter().map(|piece| piece.text.as_str()).collect();
    // A token with a space in it can only be told apart in a pair.
    let form = if tokens.iter().any(|token| token.contains(' ')) { MergeForm::Pairs } else { form };
    let name = |id: u32| model.piece(id).map_or("", |piece| piece.text.as_str());
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if model.add_dummy_prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    written(&File {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: added,
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        post_processor: model.bos.map_or(Value::Null, |bos| template(name(bos), bos)),
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: Some(name(model.unk)),
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: true,
            byte_fallback: model.byte_fallback,
            ignore_merges: false,
            vocab: Vocab(&tokens),
            merges: Merges { tokens: &tokens, pairs: merges(model)?, form },
        },
    })
}
