//! From `tokenizer.json` back to the file of ranks, where that file can say all of it.

use serde_json::Value;

use super::{Added, LLAMA3_PATTERN, LLAMA4_PATTERN, TokenizerJson};
use crate::facts::{Finding, Id};
use crate::tokenizers::alphabet::Alphabet;
use crate::tokenizers::merges::Index;
use crate::tokenizers::names::{self, Naming, SLOTS_LLAMA4, slots};
use crate::tokenizers::tiktoken::Ranks;

/// What Meta's form keeps, and what it loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaRanks {
    /// The table.
    pub ranks: Ranks,
    /// Special tokens whose names no release of Meta's code gives to their ids, sorted by id. The file has no
    /// room for names.
    pub renamed: Vec<(u32, String)>,
}

/// A tokenizer that Meta's form cannot express.
pub(super) fn cannot(message: impl Into<String>) -> Finding {
    Finding::new(Id::TokenizerNotMeta, message)
}

/// The expression by which the first step cuts the text.
fn pattern(pre_tokenizer: &Value) -> Option<&str> {
    pre_tokenizer.pointer("/pretokenizers/0/pattern/Regex")?.as_str()
}

/// Whether the text is cut into words as Meta's code cuts it: by one of its expressions, each word then spelt in bytes.
fn cuts_as_meta(pre_tokenizer: &Value) -> bool {
    let steps = pre_tokenizer.get("pretokenizers").and_then(Value::as_array);
    let Some([split, bytes]) = steps.map(Vec::as_slice) else { return false };
    let field = |step: &Value, key: &str| step.get(key).cloned().unwrap_or_default();
    field(split, "type") == "Split"
        && pattern(pre_tokenizer).is_some_and(|regex| [LLAMA3_PATTERN, LLAMA4_PATTERN].contains(&regex))
        && field(split, "behavior") == "Isolated"
        && field(split, "invert") != true
        && field(bytes, "type") == "ByteLevel"
        && field(bytes, "add_prefix_space") == false
        && field(bytes, "use_regex") == false
}

/// The first reason why the settings around the vocabulary differ from what Meta's code does.
fn differs(json: &TokenizerJson) -> Option<&'static str> {
    let causes = [
        (json.model != "BPE", "the tokenizer is not a byte-pair encoding"),
        (json.byte_fallback || json.unk.is_some(), "the tokenizer has an unknown token"),
        (json.affixes, "the tokenizer marks the parts of words"),
        (!json.normalizer.is_null(), "the tokenizer rewrites text before it encodes it"),
        (!cuts_as_meta(&json.pre_tokenizer), "the tokenizer does not cut text into words as Llama 3 or 4 does"),
        (!json.ignore_merges, "the tokenizer does not take words that are tokens whole"),
    ];
    causes.into_iter().find_map(|(holds, cause)| holds.then_some(cause))
}

/// The file of ranks that encodes as this tokenizer does; for a tokenizer made from Meta's file, that very file.
///
/// # Errors
/// [`Id::TokenizerNotMeta`], saying what Meta's form has no place for.
pub fn to_ranks(json: &TokenizerJson) -> Result<MetaRanks, Finding> {
    if let Some(cause) = differs(json) {
        return Err(cannot(cause));
    }
    let alphabet = Alphabet::new();
    let mut tokens = Vec::with_capacity(json.vocab.len());
    for (expected, (id, token)) in (0..).zip(&json.vocab) {
        if *id != expected {
            return Err(cannot("ids of the vocabulary do not count up one by one").needed(expected, id));
        }
        let bytes = alphabet.bytes(token);
        tokens.push(bytes.ok_or_else(|| cannot(format!("token {id} ({token:?}) is not spelt in bytes")))?);
    }
    let ranks = Ranks::from_tokens(&tokens).map_err(|finding| cannot(finding.message))?;
    merges_follow_ranks(json, &tokens)?;
    Ok(MetaRanks { renamed: renamed(json, tokens.len())?, ranks })
}

/// Merging by rank is merging by this list only if the list has every way to make every token, in the order of
/// the tokens.
fn merges_follow_ranks(json: &TokenizerJson, tokens: &[Vec<u8>]) -> Result<(), Finding> {
    let index = Index::new(tokens.iter().map(Vec::as_slice))?;
    let mut merges = json.merges.iter();
    for (rank, token) in tokens.iter().enumerate() {
        let mut expected = index.splits(token);
        let mut stored: Vec<(u32, u32)> = merges.by_ref().take(expected.len()).copied().collect();
        expected.sort_unstable();
        stored.sort_unstable();
        if stored != expected {
            return Err(cannot(format!("the merges that make token {rank} are not those that its rank means")));
        }
    }
    match merges.next() {
        None => Ok(()),
        Some(_) => Err(cannot("there are more merges than the ranks mean")),
    }
}

/// The special tokens: Meta's code has a fixed number of them right after the ranks, under its own names.
fn renamed(json: &TokenizerJson, ranks: usize) -> Result<Vec<(u32, String)>, Finding> {
    let first = u32::try_from(ranks).unwrap_or(u32::MAX);
    let of_llama4 = pattern(&json.pre_tokenizer) == Some(LLAMA4_PATTERN);
    let count = if of_llama4 { SLOTS_LLAMA4 } else { slots(u64::from(first)) };
    let mut namings = Naming::ALL.map(Naming::names).to_vec();
    namings.push(names::llama4());
    // Llama 3.2 Vision's code gives an image an id behind the slots.
    let is_image = |added: &Added| added.content == names::IMAGE && added.id.checked_sub(first) == Some(count);
    let mut renamed = Vec::new();
    for added in json.added.iter().filter(|added| !is_image(added)) {
        let slot = added.id.checked_sub(first).filter(|slot| *slot < count);
        let Some(slot) = slot.and_then(|slot| usize::try_from(slot).ok()) else {
            let message =
                format!("the added token {:?} is none of the {count} special tokens of Meta's code", added.content);
            return Err(cannot(message).needed(format_args!("an id of {first} and the {count} from there"), added.id));
        };
        if !namings.iter().any(|names| names.get(slot) == Some(&added.content)) {
            renamed.push((added.id, added.content.clone()));
        }
    }
    renamed.sort_unstable();
    Ok(renamed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MergeForm, Parsed, from_ranks, parse};
    use super::*;

    fn ranks(words: &[Vec<u8>]) -> Ranks {
        // Real tables do not begin with byte 0 either.
        let bytes = (33..=u8::MAX).chain(0..33).map(|byte| vec![byte]);
        Ranks::from_tokens(bytes.chain(words.iter().cloned())).unwrap()
    }

    fn read(text: &[u8]) -> TokenizerJson {
        match parse(text) {
            Ok(Parsed::Tokenizer(json)) => *json,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_table_comes_back_byte_for_byte(
            mut words in prop::collection::vec(prop::collection::vec(b'a'..=b'd', 2..6), 0..60),
            pairs in any::<bool>(),
        ) {
            let mut seen = std::collections::HashSet::new();
            words.retain(|word| seen.insert(word.clone()));
            let ranks = ranks(&words);
            let form = if pairs { MergeForm::Pairs } else { MergeForm::Strings };
            let json = read(&from_ranks(&ranks, &Naming::Llama31.names(), form).unwrap());
            let back = to_ranks(&json).unwrap();
            prop_assert_eq!(back.renamed, []);
            prop_assert_eq!(back.ranks.write(), ranks.write());
        }
    }

    #[test]
    fn what_meta_cannot_say_is_refused() {
        let ranks = ranks(&[b"ab".to_vec(), b"bc".to_vec(), b"abc".to_vec()]);
        let text = from_ranks(&ranks, &Naming::Llama3.names(), MergeForm::Strings).unwrap();
        let text = String::from_utf8(text).unwrap();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            to_ranks(&read(text.replacen(from, to, 1).as_bytes()))
        };
        let refused = |from: &str, to: &str| changed(from, to).unwrap_err().message;
        assert!(refused("\"b c\",", "").contains("token 257"));
        assert!(refused("\"ab c\"", "\"ab c\", \"a b\"").contains("more merges"));
        assert!(refused("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}").contains("rewrites"));
        assert!(refused("{1,3}", "").contains("cut text into words"));
        assert!(refused("\"abc\": 258", "\"abc\": 600").contains("one by one"));
        assert!(refused("\"abc\": 258", "\"a\u{2581}c\": 258").contains("spelt in bytes"));
        assert!(refused("\"id\": 514", "\"id\": 515").contains("none of the 256"));
        assert!(refused("\"ignore_merges\": true", "\"ignore_merges\": false").contains("whole"));
        let renamed = changed("<|reserved_special_token_0|>", "<|im_start|>").unwrap().renamed;
        assert_eq!(renamed, [(261, "<|im_start|>".to_owned())]);
    }
}
