"""Llama 3.2 Vision and Llama 4, from Meta's format: against transformers' own conversion, and against Meta's own model."""

import json

import llama
import models
import pytest
import seeing
import strings
import support
import torch
import vocabularies

IDS = [512, 5, 300, 7, 511, 42, 42, 0, 123, 477, 255, 256, 31, 8, 90, 400, 333, 222, 111, 13]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def tokenizer():
    return vocabularies.tiktoken_model(llama.TEXT, 512)


@pytest.fixture(scope="module")
def mllama(tokenizer, tmp_path_factory):
    """ranks -> Meta's form of one model, tuned by its name"""
    home, shapes = tmp_path_factory.mktemp("mllama"), seeing.mllama_shapes(seeing.MLLAMA)
    name = "Llama-3.2-11B-Vision-Instruct"
    return {
        ranks: seeing.write(home / str(ranks) / name, seeing.MLLAMA, shapes, ranks, tokenizer, lone=ranks == 1)
        for ranks in (1, 2, 8)
    }


@pytest.fixture(scope="module")
def mllama_hf(mllama, tmp_path_factory):
    home = tmp_path_factory.mktemp("mllama-hf")
    for ranks, folder in mllama.items():
        support.convert(folder, "hf", home / str(ranks))
    return home


@pytest.mark.parametrize("ranks", (1, 2))
def test_mllama_is_what_transformers_makes_of_it(ranks, mllama, mllama_hf, tmp_path):
    theirs = tmp_path / "theirs"
    support.work("4.47.1", "convert_mllama", mllama[ranks], theirs, ranks, seeing.MLLAMA_WIDTH, 512)
    support.same(support.load_hf(mllama_hf / str(ranks)), support.load_hf(theirs))
    for name in ("preprocessor_config.json", "generation_config.json"):
        ours, other = (json.loads((home / name).read_text()) for home in (mllama_hf / str(ranks), theirs))
        other.pop("transformers_version", None)
        assert ours == other, name


@pytest.mark.parametrize("version", support.ENVIRONMENTS)
def test_mllama_loads_and_runs(version, mllama_hf, mllama, tmp_path):
    told = support.work(version, "load_seeing", mllama_hf / "8", tmp_path / "ours.pt", json.dumps(IDS))
    theirs = tmp_path / "theirs"
    support.work("4.47.1", "convert_mllama", mllama[1], theirs, 1, seeing.MLLAMA_WIDTH, 512)
    other = support.work(version, "load_seeing", theirs, tmp_path / "theirs.pt", json.dumps(IDS))
    ours, reference = (torch.load(tmp_path / f"{name}.pt")["logits"] for name in ("ours", "theirs"))
    assert torch.equal(ours, reference)
    told, other = told["config"], other["config"]
    for part in ("text_config", "vision_config"):
        for key, value in other[part].items():
            if not key.startswith("_"):
                assert told[part][key] == value, (part, key, told[part][key], value)
    assert told["image_token_index"] == 768


def test_mllama_is_clean_and_one_model(mllama, mllama_hf):
    roots = set()
    for ranks, folder in mllama.items():
        for path in (folder, mllama_hf / str(ranks)):
            assert support.run("verify", path).document["verify"]["findings"] == []
            inspect = support.run("inspect", path).document["inspect"]
            assert inspect["family"]["name"] == "mllama"
            roots.add(support.run("hash", "--canonical", path).document["hash"]["root"])
    assert len(roots) == 1


def llama4(kind, ranks, home, tokenizer):
    params = dict(seeing.LLAMA4)
    if kind == "text":
        del params["vision_args"]
    if kind == "dense":
        del params["moe_args"]
    shapes = seeing.llama4_shapes(params)
    folder = seeing.write(home / "Llama-4-Scout-17B-16E", params, shapes, ranks, tokenizer)
    return folder, seeing.llama4_as_hf(params, seeing.random(shapes))


@pytest.mark.parametrize("ranks", (1, 2, 8))
@pytest.mark.parametrize("kind", ("seeing", "text", "dense"))
def test_llama4_is_what_the_names_say(kind, ranks, tokenizer, tmp_path):
    folder, expected = llama4(kind, ranks, tmp_path, tokenizer)
    support.convert(folder, "hf", tmp_path / "hf")
    support.same(support.load_hf(tmp_path / "hf"), expected)
    roots = set()
    for path in (folder, tmp_path / "hf"):
        assert support.run("verify", path).document["verify"]["findings"] == []
        family = support.run("inspect", path).document["inspect"]["family"]["name"]
        assert family in ("llama4", "llama4_text" if kind == "text" else "llama4")
        roots.add(support.run("hash", "--canonical", path).document["hash"]["root"])
    assert len(roots) == 1


@pytest.mark.parametrize("version", ("4.57.6", "5.23.0"))
@pytest.mark.parametrize("kind", ("seeing", "text", "dense"))
def test_llama4_computes_what_metas_own_model_computes(kind, version, tokenizer, tmp_path):
    folder, _ = llama4(kind, 1, tmp_path, tokenizer)
    support.convert(folder, "hf", tmp_path / "hf")
    support.work("5.23.0", "meta_llama4", folder, json.dumps(IDS), tmp_path / "meta.pt")
    told = support.work(version, "load_seeing", tmp_path / "hf", tmp_path / "hf.pt", json.dumps(IDS))
    ours, theirs = (torch.load(tmp_path / f"{name}.pt") for name in ("hf", "meta"))
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert (ours[key] - tensor).abs().max() < TOLERANCE, key
    text = told["config"].get("text_config", told["config"])
    assert (text["bos_token_id"], told["eos"], told["pad"]) == (512, 513, 530)


@pytest.fixture(scope="module")
def llama4_tokens(tmp_path_factory):
    """A thin model behind the real tokenizer."""
    home = tmp_path_factory.mktemp("llama4-real")
    params = {key: value for key, value in seeing.LLAMA4.items() if key not in ("vision_args", "moe_args")}
    params |= {"vocab_size": 202048, "n_layers": 1, "dim": 16, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8}
    real = models.package_file("llama_models", "llama4", "tokenizer.model").read_bytes()
    folder = seeing.write(home / "Llama-4-Scout-17B-16E-Instruct", params, seeing.llama4_shapes(params), 1, real)
    support.convert(folder, "hf", home / "hf")
    return folder, home / "hf"


@pytest.mark.parametrize("version", ("4.57.6", "5.23.0"))
def test_llama4_token_ids_are_those_of_metas_tokenizer(version, llama4_tokens, tmp_path):
    from llama_models.llama4.tokenizer import Tokenizer

    tokenizer = Tokenizer.get_instance()
    texts = strings.fuzz(4000, seed=4) + [llama.TEXT, "a" * 3000, " " * 500, "<|eot|><|image|>x<|patch|>"]
    path = tmp_path / "strings.json"
    path.write_text(json.dumps(texts))
    found = support.work(version, "token_ids", llama4_tokens[1], path)
    expected = [tokenizer.model.encode(text, allowed_special="all") for text in texts]
    assert [pair for pair in zip(texts, found["ids"], expected, strict=True) if pair[1] != pair[2]][:5] == []
    assert found["size"] == tokenizer.n_words == 202048
    assert found["special"] == ["<|begin_of_text|>", "<|eot|>"]
    assert found["opening"] == [200000, *tokenizer.model.encode("a")]


def loaded(folder):
    files = sorted(folder.glob("consolidated*.pth"))
    return [torch.load(file, weights_only=True) for file in files]


@pytest.mark.parametrize("ranks", (1, 2, 8))
def test_mllama_there_and_back(ranks, mllama, mllama_hf, tmp_path):
    """Bit for bit, but for position embeddings of tiles that no image has: those come back as zeros."""
    document = support.convert(mllama_hf / "8", "meta", tmp_path / "meta", "--mp", str(ranks))
    assert any("position embeddings" in lost for lost in document["convert"]["lost"])
    for ours, theirs in zip(loaded(tmp_path / "meta"), loaded(mllama[ranks]), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            if tensor.dim() == 4:
                kept = torch.tensor([[(row + 1) * (column + 1) <= 4 for column in range(4)] for row in range(4)])
                tensor = torch.where(kept[..., None, None], tensor, 0)
            assert torch.equal(ours[name], tensor), name
    params = json.loads((tmp_path / "meta" / "params.json").read_text())
    assert {key: params[key] for key in seeing.MLLAMA if key not in ("multiple_of", "ffn_dim_multiplier")} == {
        key: value for key, value in seeing.MLLAMA.items() if key not in ("multiple_of", "ffn_dim_multiplier")
    }
    assert seeing.dense_width(params) == seeing.dense_width(seeing.MLLAMA)
    assert (tmp_path / "meta" / "tokenizer.model").read_bytes() == (mllama[ranks] / "tokenizer.model").read_bytes()
    assert support.run("verify", tmp_path / "meta").document["verify"]["findings"] == []
    support.convert(tmp_path / "meta", "hf", tmp_path / "Vision-Instruct")
    support.same(support.load_hf(tmp_path / "Vision-Instruct"), support.load_hf(mllama_hf / "8"))


@pytest.mark.parametrize("ranks", (1, 8))
@pytest.mark.parametrize("kind", ("seeing", "text", "dense"))
def test_llama4_there_and_back(kind, ranks, tokenizer, tmp_path):
    folder, _ = llama4(kind, ranks, tmp_path, tokenizer)
    support.convert(folder, "hf", tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.model").unlink()
    support.convert(tmp_path / "hf", "meta", tmp_path / "meta", "--mp", str(ranks))
    for ours, theirs in zip(loaded(tmp_path / "meta"), loaded(folder), strict=True):
        support.same(ours, theirs)
    assert (tmp_path / "meta" / "tokenizer.model").read_bytes() == tokenizer
    assert support.run("verify", tmp_path / "meta").document["verify"]["findings"] == []
    before, after = (json.loads((path / "params.json").read_text()) for path in (folder, tmp_path / "meta"))
    width = ("multiple_of", "ffn_dim_multiplier", "ffn_exp", "moe_args")
    assert {key: after[key] for key in before if key not in width} == {key: before[key] for key in before if key not in width}
    assert seeing.dense_width(after) == seeing.dense_width(before) or kind == "text"
    if ranks == 1:
        logits = {}
        for name, path in (("before", folder), ("after", tmp_path / "meta")):
            support.work("5.23.0", "meta_llama4", path, json.dumps(IDS), tmp_path / f"{name}.pt")
            logits[name] = torch.load(tmp_path / f"{name}.pt")["logits"]
        assert torch.equal(logits["before"], logits["after"])


def divided_anew(source, target, ranks, out):
    """Meta's form in another number of ranks is what the release's own division makes, bit for bit; nothing is left out."""
    document = support.convert(source, "meta", out, "--mp", str(ranks))
    assert document["convert"].get("lost", []) == []
    for ours, theirs in zip(loaded(out), loaded(target), strict=True):
        support.same(ours, theirs)
    for name in ("params.json", "tokenizer.model"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert support.run("verify", out).document["verify"]["findings"] == []


@pytest.mark.parametrize(("source", "ranks"), ((1, 2), (2, 8), (8, 1)))
def test_mllama_is_divided_among_other_ranks(source, ranks, mllama, tmp_path):
    divided_anew(mllama[source], mllama[ranks], ranks, tmp_path / "meta")


@pytest.mark.parametrize(("source", "ranks"), ((1, 8), (8, 2)))
@pytest.mark.parametrize("kind", ("seeing", "text", "dense"))
def test_llama4_is_divided_among_other_ranks(kind, source, ranks, tokenizer, tmp_path):
    folder, _ = llama4(kind, source, tmp_path / "source", tokenizer)
    other, _ = llama4(kind, ranks, tmp_path / "other", tokenizer)
    divided_anew(folder, other, ranks, tmp_path / "meta")


def test_what_metas_form_cannot_hold_is_refused(mllama_hf, mllama, tmp_path):
    home = tmp_path / "changed"
    home.mkdir()
    for file in (mllama_hf / "1").iterdir():
        (home / file.name).symlink_to(file)
    config = json.loads((mllama_hf / "1" / "config.json").read_text())
    (home / "config.json").unlink()
    for key, value, word in (
        ("hidden_act", "gelu", "silu"),
        ("rope_scaling", config["text_config"]["rope_scaling"] | {"factor": 32.0}, "factor 8"),
    ):
        changed = config | {"text_config": config["text_config"] | {key: value}}
        (home / "config.json").write_text(json.dumps(changed))
        said = support.run("convert", home, "--to", "meta", "--out", tmp_path / "no", expect=2)
        assert word in said.err and not (tmp_path / "no").exists()
