"""Token ids, and the text they decode to, are those of tiktoken and sentencepiece, in three generations of transformers."""

import json

import llama
import models
import pytest
import strings
import support
import vocabularies

COUNT = 4000
VERSIONS = list(support.ENVIRONMENTS)


def corpus(tmp_path, *lists):
    path = tmp_path / "strings.json"
    path.write_text(json.dumps([text for part in lists for text in part], ensure_ascii=True))
    return path


def differences(texts, ours, theirs):
    return [(text, mine, other) for text, mine, other in zip(texts, ours, theirs, strict=True) if mine != other][:5]


@pytest.fixture(scope="module")
def hf(real_llama3, real_sentencepiece, fixtures, tmp_path_factory):
    """The four tokenizers, converted once."""
    home = tmp_path_factory.mktemp("tokens")
    sources = {
        "llama3": real_llama3,
        "tiny-llama3": fixtures / "tiny-llama3" / "mp1",
        "sentencepiece": real_sentencepiece,
        "tiny-llama2": fixtures / "tiny-llama2" / "mp1",
    }
    for name, source in sources.items():
        support.convert(source, "hf", home / name)
    return home


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ("llama3", "tiny-llama3"))
def test_tiktoken(name, version, hf, fixtures, tmp_path):
    if name == "llama3":
        from llama_models.llama3.tokenizer import Tokenizer

        # Its names for a few special tokens are another release's, so those are left to the test below.
        encoding = Tokenizer.get_instance().model
    else:
        encoding = vocabularies.tiktoken_encoding((fixtures / name / "mp1" / "tokenizer.model").read_bytes())
    texts = strings.fuzz(COUNT, seed=3, avoid=("<|",)) + [llama.TEXT, "a" * 3000, " " * 500, "\n" * 300]
    found = support.work(version, "token_ids", hf / name, corpus(tmp_path, texts))
    expected = [encoding.encode(text, disallowed_special=()) for text in texts]
    assert differences(texts, found["ids"], expected) == []
    assert differences(texts, found["text"], [encoding.decode(ids) for ids in expected]) == []
    assert found["size"] == encoding.n_vocab
    bos = encoding.encode_single_token("<|begin_of_text|>")
    assert found["opening"] == [bos, *encoding.encode("a")]


@pytest.mark.parametrize("version", VERSIONS)
def test_tiktoken_special_tokens(version, hf, fixtures, tmp_path):
    encoding = vocabularies.tiktoken_encoding((fixtures / "tiny-llama3" / "mp1" / "tokenizer.model").read_bytes())
    special = sorted(vocabularies.special_tokens(512))
    texts = special + [f"a{token}b {token}\n{token}" for token in special]
    found = support.work(version, "token_ids", hf / "tiny-llama3", corpus(tmp_path, texts))
    assert differences(texts, found["ids"], [encoding.encode(text, allowed_special="all") for text in texts]) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ("sentencepiece", "tiny-llama2"))
def test_sentencepiece(name, version, hf, fixtures, tmp_path):
    model = models.mistral_tokenizer() if name == "sentencepiece" else (fixtures / name / "mp1" / "tokenizer.model").read_bytes()
    encoding = vocabularies.sentencepiece_encoding(model)
    # Plain text may not name a control token to sentencepiece, and does to a Hugging Face tokenizer.
    texts = strings.fuzz(COUNT, seed=2, avoid=("<s>", "</s", "<unk>", "<0x")) + [llama.TEXT, "a" * 3000, " " * 500]
    # sentencepiece ends a string at a NUL in some of its calls and not in others: nothing to agree with.
    texts = [text for text in texts if text and "\0" not in text]
    found = support.work(version, "token_ids", hf / name, corpus(tmp_path, texts))
    expected = [encoding.encode(text) for text in texts]
    assert differences(texts, found["ids"], expected) == []
    assert differences(texts, found["text"], [encoding.decode(ids) for ids in expected]) == []
    assert found["size"] == len(encoding)
    assert found["opening"] == [encoding.bos_id(), *encoding.encode("a")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ("tiny-llama3", "tiny-llama2"))
def test_the_trained_models_still_say_their_sentence(name, version, hf, fixtures):
    greedy = json.loads((fixtures / name / "expected.json").read_text())["greedy"]
    said = support.work(version, "generate", hf / name, greedy["prompt"], len(greedy["continuation_ids"]))
    assert said["ids"] == greedy["prompt_ids"]
    assert said["text"] == greedy["prompt"] + greedy["continuation"]
    assert said["missing"] == [] and said["unexpected"] == []
