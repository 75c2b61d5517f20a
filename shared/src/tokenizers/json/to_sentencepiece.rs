//! From `tokenizer.json` back to a SentencePiece model: pieces, types and scores are rebuilt, how the model was
//! trained is not in the file.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::to_ranks::cannot;
use super::{Added, SPACE, TokenizerJson};
use crate::facts::Finding;
use crate::tokenizers::merges::Index;
use crate::tokenizers::sentencepiece::{Model, Piece, PieceKind};

/// The score of pieces that are nothing but spaces in the models of Llama and Mistral: they are merged last.
const LAST: f32 = -1e9;

/// Whether a space is put before the text, if spaces are handled as SentencePiece does; `None` if they are not.
fn dummy_prefix(json: &TokenizerJson) -> Option<bool> {
    let is = |step: &Value, key: &str, value: &str| step.get(key).and_then(Value::as_str) == Some(value);
    let prepends = |step: &Value| is(step, "type", "Prepend") && is(step, "prepend", SPACE);
    let escapes = |step: &Value| {
        is(step, "type", "Replace")
            && is(step, "content", SPACE)
            && step.pointer("/pattern/String").and_then(Value::as_str) == Some(" ")
    };
    // Gemma's cut at spaces finds none: they are escaped by then.
    let cuts = &json.pre_tokenizer;
    let at_spaces = is(cuts, "type", "Split") && cuts.pointer("/pattern/String").and_then(Value::as_str) == Some(" ");
    if !cuts.is_null() && !at_spaces {
        return None;
    }
    match json.normalizer.get("normalizers").and_then(Value::as_array).map(Vec::as_slice) {
        Some([prepend, replace]) => (prepends(prepend) && escapes(replace)).then_some(true),
        Some([replace]) => escapes(replace).then_some(false),
        _ => escapes(&json.normalizer).then_some(false),
    }
}

/// What a token is for; `added` are those that stand outside the model, by their ids.
fn kind(json: &TokenizerJson, added: &HashMap<u32, &Added>, id: u32, token: &str) -> PieceKind {
    if json.unk.as_deref() == Some(token) {
        return PieceKind::Unknown;
    }
    if let Some(added) = added.get(&id) {
        return if added.special { PieceKind::Control } else { PieceKind::UserDefined };
    }
    let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    match byte.filter(|digits| json.byte_fallback && digits.len() == 2) {
        Some(digits) if u8::from_str_radix(digits, 16).is_ok() => PieceKind::Byte,
        _ => PieceKind::Normal,
    }
}

/// The SentencePiece model that encodes as this tokenizer does.
///
/// # Errors
/// [`TokenizerNotMeta`](crate::facts::Id::TokenizerNotMeta), saying what such a model has no place for.
pub fn to_sentencepiece(json: &TokenizerJson) -> Result<Model, Finding> {
    let causes = [
        (json.model != "BPE", "the tokenizer is not a byte-pair encoding"),
        (json.affixes, "the tokenizer marks the parts of words"),
        (json.ignore_merges, "the tokenizer takes words that are tokens whole"),
    ];
    if let Some((_, cause)) = causes.into_iter().find(|(holds, _)| *holds) {
        return Err(cannot(cause));
    }
    let Some(add_dummy_prefix) = dummy_prefix(json) else {
        return Err(cannot("the tokenizer does not handle spaces as SentencePiece does"));
    };
    let mut tokens: Vec<(u32, &str)> = json.vocab.iter().map(|(id, token)| (*id, token.as_str())).collect();
    // Added tokens may stand in the vocabulary or behind it.
    tokens.extend(json.added.iter().map(|added| (added.id, added.content.as_str())));
    tokens.sort_unstable();
    tokens.dedup();
    // Of two of one id the first counts.
    let added: HashMap<u32, &Added> = json.added.iter().rev().map(|added| (added.id, added)).collect();
    let mut pieces = Vec::with_capacity(tokens.len());
    for (expected, (id, token)) in (0..).zip(tokens) {
        if id != expected {
            return Err(cannot("ids of the tokens do not count up one by one").needed(expected, id));
        }
        pieces.push(Piece { text: token.to_owned(), score: 0.0, kind: kind(json, &added, id, token) });
    }
    scores(&json.merges, &mut pieces)?;
    let id = |text: &str| (0..).zip(&pieces).find(|(_, piece)| piece.text == text).map(|(id, _)| id);
    let unk = json.unk.as_deref().and_then(id).ok_or_else(|| cannot("the tokenizer has no unknown token"))?;
    let bos = bos(&json.post_processor).and_then(id).or_else(|| id("<s>"));
    let (eos, byte_fallback) = (id("</s>"), json.byte_fallback);
    Ok(Model { byte_fallback, unk, bos, eos, add_dummy_prefix, ..Model::llama(pieces) })
}

/// The token that the template puts before a text.
fn bos(post_processor: &Value) -> Option<&str> {
    post_processor.pointer("/single/0/SpecialToken/id").and_then(Value::as_str)
}

/// Scores that put merges in the order of the list, in which all ways to make one piece stand together.
fn scores(merges: &[(u32, u32)], pieces: &mut [Piece]) -> Result<(), Finding> {
    let made = products(merges, pieces)?;
    let words: Vec<usize> = made.iter().copied().filter(|id| !blank(pieces, *id)).collect();
    let in_order = made.is_sorted();
    let canonical = words.is_sorted() && made.starts_with(&words);
    let first = pieces.iter().position(|piece| piece.kind == PieceKind::Normal).unwrap_or(0);
    let blanks: Vec<bool> = (0..pieces.len()).map(|id| blank(pieces, id)).collect();
    let rank: HashMap<usize, usize> = made.iter().enumerate().map(|(rank, id)| (*id, rank)).collect();
    for ((id, piece), blank) in pieces.iter_mut().enumerate().zip(blanks) {
        piece.score = match piece.kind {
            // As the trainer numbers them; these are the scores of the original model.
            PieceKind::Normal if in_order || canonical && !blank => negative(id.saturating_sub(first)),
            PieceKind::Normal if canonical => LAST,
            PieceKind::Normal | PieceKind::UserDefined => rank.get(&id).map_or(LAST, |rank| negative(*rank)),
            PieceKind::Unknown | PieceKind::Control | PieceKind::Byte | PieceKind::Unused => 0.0,
        };
    }
    Ok(())
}

/// Whether a piece is nothing but spaces. Those share one score in the original models, so that the ways to make
/// them may stand in any order.
fn blank(pieces: &[Piece], id: usize) -> bool {
    pieces.get(id).is_some_and(|piece| piece.text.chars().all(|char| SPACE.contains(char)))
}

/// Pieces that merges make, in the order of the list. SentencePiece merges whatever makes a piece, so the list
/// must have every way to make every piece.
fn products(merges: &[(u32, u32)], pieces: &[Piece]) -> Result<Vec<usize>, Finding> {
    let index = Index::new(pieces.iter().map(|piece| piece.text.as_bytes()))?;
    let text = |id: u32| usize::try_from(id).ok().and_then(|id| pieces.get(id)).map_or("", |piece| &piece.text);
    let mergeable = |piece: &Piece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
    let mut made: Vec<usize> = Vec::new();
    let mut seen = HashSet::new();
    let mut count = 0_usize;
    for &(left, right) in merges {
        let whole = [text(left), text(right)].concat();
        let product = index.id(whole.as_bytes()).and_then(|id| usize::try_from(id).ok());
        let Some((id, piece)) = product.and_then(|id| Some((id, pieces.get(id)?))) else {
            return Err(cannot(format!("{whole:?}, which a merge makes, is no token")));
        };
        match piece.kind {
            PieceKind::Normal | PieceKind::UserDefined => {}
            // Found in the text before any merge.
            PieceKind::Unknown | PieceKind::Control => continue,
            PieceKind::Byte | PieceKind::Unused => return Err(cannot(format!("merges make {whole:?}"))),
        }
        count = count.saturating_add(1);
        if made.last() != Some(&id) {
            if seen.insert(id) {
                made.push(id);
            } else if !blank(pieces, id) {
                return Err(cannot(format!("the ways to make {whole:?} do not stand together in the list of merges")));
            }
        }
    }
    let ways: usize =
        pieces.iter().filter(|piece| mergeable(piece)).map(|piece| index.splits(piece.text.as_bytes()).len()).sum();
    if ways != count || has_twice(merges) {
        return Err(cannot("SentencePiece would merge other pairs than the tokenizer does").needed(ways, count));
    }
    Ok(made)
}

fn has_twice(merges: &[(u32, u32)]) -> bool {
    let mut seen = HashSet::with_capacity(merges.len());
    !merges.iter().all(|merge| seen.insert(merge))
}

/// A small number, negated. Every id below 2^24 is a float exactly.
fn negative(number: usize) -> f32 {
    let high = u16::try_from(number >> 8).map_or(f32::from(u16::MAX), f32::from);
    let low = f32::from(number.to_le_bytes()[0]);
    -(high * 256.0 + low)
}

#[cfg(test)]
mod tests {
    use super::super::{MergeForm, Parsed, from_sentencepiece, parse};
    use super::*;

    /// The head of a Llama model, then pieces in the order of their scores.
    fn small(words: &[(&str, f32)]) -> Model {
        let mut pieces = vec![
            Piece { text: "<unk>".into(), score: 0.0, kind: PieceKind::Unknown },
            Piece { text: "<s>".into(), score: 0.0, kind: PieceKind::Control },
            Piece { text: "</s>".into(), score: 0.0, kind: PieceKind::Control },
        ];
        let byte = |byte: u8| Piece { text: format!("<0x{byte:02X}>"), score: 0.0, kind: PieceKind::Byte };
        pieces.extend((0..=u8::MAX).map(byte));
        let normal = |(text, score): &(&str, f32)| Piece {
            text: text.replace(' ', SPACE),
            score: *score,
            kind: PieceKind::Normal,
        };
        pieces.extend(words.iter().map(normal));
        Model::llama(pieces)
    }

    fn there_and_back(model: &Model, form: MergeForm) -> Result<Model, Finding> {
        match parse(&from_sentencepiece(model, form)?)? {
            Parsed::Tokenizer(json) => to_sentencepiece(&json),
            Parsed::Tekken(_) => panic!("a tekken file was written"),
        }
    }

    #[test]
    fn the_scores_of_the_trainer_come_back() {
        let words = [("  ", -1e9), (" t", -1.0), ("th", -2.0), (" th", -3.0), (" ", -1e9), ("t", -5.0), ("h", -6.0)];
        let model = small(&words);
        assert_eq!(there_and_back(&model, MergeForm::Strings), Ok(model.clone()));
        assert_eq!(there_and_back(&model, MergeForm::Pairs), Ok(model.clone()));
        let bare = Model { add_dummy_prefix: false, ..model };
        assert_eq!(there_and_back(&bare, MergeForm::Strings), Ok(bare));
        let trained = small(&[("  ", 0.0), (" t", -1.0), ("th", -2.0), (" ", -3.0), ("t", -4.0), ("h", -5.0)]);
        assert_eq!(there_and_back(&trained, MergeForm::Strings), Ok(trained));
    }

    #[test]
    fn scores_that_do_not_follow_the_ids_keep_their_order() {
        let model = small(&[("ab", -7.5), ("bc", -3.25), ("abc", -9.0), ("a", 0.0), ("b", 0.0), ("c", 0.0)]);
        let back = there_and_back(&model, MergeForm::Strings).unwrap();
        let score = |text: &str| back.pieces.iter().find(|piece| piece.text == text).unwrap().score;
        assert!(score("bc") > score("ab") && score("ab") > score("abc"));
        assert_eq!(from_sentencepiece(&back, MergeForm::Strings), from_sentencepiece(&model, MergeForm::Strings));
    }

    #[test]
    fn what_a_model_cannot_say_is_refused() {
        let model = small(&[("ab", 0.0), ("a", -1.0), ("b", -2.0), ("c", -3.0), ("bc", -4.0)]);
        let text = String::from_utf8(from_sentencepiece(&model, MergeForm::Strings).unwrap()).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let Parsed::Tokenizer(json) = parse(text.replacen(from, to, 1).as_bytes()).unwrap() else { panic!() };
            to_sentencepiece(&json).unwrap_err().message
        };
        assert!(refused("\"a b\",", "").contains("other pairs"));
        assert!(refused("\"a b\"", "\"b a\"").contains("is no token"));
        assert!(refused("\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"Whitespace\"}").contains("spaces"));
        assert!(refused("\"unk_token\": \"<unk>\"", "\"unk_token\": null").contains("unknown"));
        assert!(refused("\"bc\": 263", "\"bc\": 264").contains("one by one"));
        let unigram = Model { model_type: crate::tokenizers::sentencepiece::ModelType::Unigram, ..model };
        assert!(from_sentencepiece(&unigram, MergeForm::Strings).is_err());
    }
}
