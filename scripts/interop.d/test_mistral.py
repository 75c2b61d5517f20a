"""Mistral's own form against transformers: the weights, the config and what the model computes, there and back."""

import json

import llama
import mistral_files
import mistral_reference
import models
import pytest
import safetensors.torch
import strings
import support
import torch
import torch.nn.functional as F
from llama import norm, rotate, rotations

TOLERANCE = 1e-5
VERSIONS = list(support.ENVIRONMENTS)
# A head that is not the quotient, one that is, and experts; a window shorter than the text.
MODELS = {
    "dense": mistral_files.DENSE,
    "quotient": mistral_files.DENSE | {"head_dim": 8, "n_kv_heads": 4, "sliding_window": 7, "rope_theta": 10000.0},
    "mixture": mistral_files.MIXTURE,
}
IDS = [1, 296, 272, 260, 312, 402, 396, 309, 5, 417, 3, 77, 201, 200, 199, 198, 42, 42, 0, 9]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """name -> a model of single precision, the shape of its params.json that of the releases"""
    home = tmp_path_factory.mktemp("mistral")
    for seed, (name, params) in enumerate(MODELS.items()):
        mistral_files.save(home / name, params, mistral_files.weights(params, seed, torch.float32))
    return home


@pytest.fixture(scope="module")
def converted(sources, tmp_path_factory):
    home = tmp_path_factory.mktemp("mistral-hf")
    for name in MODELS:
        support.convert(sources / name, "hf", home / name)
    return home


def load(folder):
    return safetensors.torch.load_file(folder / "consolidated.safetensors")


def forward(weights, params, ids):
    """Mistral's architecture said once more, in its own names and order of rotary pairs; experts as Mixtral routes them."""
    length, head, heads, keys = len(ids), params["head_dim"], params["n_heads"], params["n_kv_heads"]
    turns = rotations(params, head, length)
    places = torch.arange(length)
    distance = places[:, None] - places[None, :]
    seen = (distance >= 0) & (distance < params.get("sliding_window", length))
    x = F.embedding(torch.tensor(ids), weights["tok_embeddings.weight"])
    for layer in range(params["n_layers"]):
        w = {name.removeprefix(f"layers.{layer}."): t for name, t in weights.items() if name.startswith(f"layers.{layer}.")}
        h = norm(x, w["attention_norm.weight"], params["norm_eps"])
        q = rotate(F.linear(h, w["attention.wq.weight"]).view(length, heads, head), turns)
        k = rotate(F.linear(h, w["attention.wk.weight"]).view(length, keys, head), turns)
        v = F.linear(h, w["attention.wv.weight"]).view(length, keys, head)
        k, v = (t.repeat_interleave(heads // keys, dim=1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / head**0.5
        h = torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)
        x = x + F.linear(h.reshape(length, -1), w["attention.wo.weight"])
        h = norm(x, w["ffn_norm.weight"], params["norm_eps"])

        def feed(before):
            gate, up, down = (w[f"{before}.{name}.weight"] for name in ("w1", "w3", "w2"))
            return F.linear(F.silu(F.linear(h, gate)) * F.linear(h, up), down)

        if moe := params.get("moe"):
            best, chosen = F.linear(h, w["feed_forward.gate.weight"]).topk(moe["num_experts_per_tok"])
            shares = torch.zeros(length, moe["num_experts"]).scatter(1, chosen, best.softmax(-1))
            x = x + sum(shares[:, e, None] * feed(f"feed_forward.experts.{e}") for e in range(moe["num_experts"]))
        else:
            x = x + feed("feed_forward")
    return F.linear(norm(x, weights["norm.weight"], params["norm_eps"]), weights["output.weight"])


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_transformers(name, sources, converted):
    support.same(support.load_hf(converted / name), mistral_files.huggingface(load(sources / name), MODELS[name]))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_its_own_code(name, version, sources, converted):
    if (name, version) == ("mixture", "4.47.1"):
        pytest.skip("Mixtral of transformers 4.47 knows no head_dim")
    found = support.work(version, "logits", converted / name, json.dumps(IDS))
    assert found["missing"] == found["unexpected"] == []
    expected = forward(load(sources / name), MODELS[name], IDS)
    assert (torch.tensor(found["logits"]) - expected).abs().max().item() < TOLERANCE


def test_rows_in_the_wrong_order_show(sources, converted):
    """The negative control: heads of the size that a quotient would give."""
    params, weights = MODELS["dense"], load(sources / "dense")
    for name, tensor in weights.items():
        if name.endswith(".wq.weight"):
            weights[name] = mistral_files.halves(tensor, params["dim"] // params["n_heads"])
    found = torch.tensor(support.work("5.23.0", "logits", converted / "dense", json.dumps(IDS))["logits"])
    assert (found - forward(weights, params, IDS)).abs().max().item() > 100 * TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_is_the_same_to_the_bit(name, sources, converted, tmp_path):
    support.convert(converted / name, "mistral", tmp_path / "back", "--verify")
    support.same(load(tmp_path / "back"), load(sources / name))
    assert json.loads((tmp_path / "back" / "params.json").read_text()) == MODELS[name]
    again = tmp_path / "again"
    support.convert(tmp_path / "back", "hf", again)
    for path in (converted / name).iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


TOKENIZERS = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
    "tekken_240718.json",
    "tekken_240911.json",
    "tiny-tekken",
)


@pytest.fixture(scope="module")
def tokenizers(fixtures, tmp_path_factory):
    """name -> the file, a model around it, and what --to hf makes of that"""
    home = tmp_path_factory.mktemp("mistral-tokens")

    def make(name):
        source = models.package_file("mistral_common", "data", name)
        if name == "tiny-tekken":
            source = fixtures / "tiny-mistral" / "mixture" / "tekken.json"
        folder = home / name
        if not folder.exists():
            own = "tekken.json" if "tekken" in name else f"tokenizer.model.{name.rsplit('.', 1)[1]}"
            params = mistral_files.DENSE | {"dim": 8, "hidden_dim": 8, "n_layers": 1, "head_dim": 4, "vocab_size": 131072}
            mistral_files.save(folder / "own", params, mistral_files.weights(params, 0))
            (folder / "own" / own).write_bytes(source.read_bytes())
            support.convert(folder / "own", "hf", folder / "hf")
            # Beside it, transformers 5 would ask mistral_common and leave tokenizer.json alone.
            (folder / "hf" / own).rename(folder / own)
        return source, folder

    return make


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_token_ids_are_those_of_mistral_common(name, version, tokenizers, tmp_path):
    source, folder = tokenizers(name)
    reference = mistral_reference.tokenizer(source)
    # Plain text may not name a special token to mistral_common, and does to a Hugging Face tokenizer.
    texts = strings.fuzz(3000, seed=5, avoid=("<s>", "</s", "<unk>", "<0x", "<pad>", "[INST")) + [llama.TEXT, "a" * 3000, " " * 500]
    texts = [text for text in texts if text and "\0" not in text]
    (tmp_path / "strings.json").write_text(json.dumps(texts))
    found = support.work(version, "token_ids", folder / "hf", tmp_path / "strings.json", "PreTrainedTokenizerFast")
    expected = [reference.encode(text, bos=False, eos=False) for text in texts]
    wrong = [(text, mine, other) for text, mine, other in zip(texts, found["ids"], expected, strict=True) if mine != other]
    assert wrong == [], wrong[:5]
    assert found["size"] == reference.n_words
    assert found["opening"] == reference.encode("a", bos=True, eos=False)
    assert found["special"] == ["<s>", "</s>"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_tokenizer_comes_back_as_it_was(name, tokenizers, tmp_path):
    source, folder = tokenizers(name)
    (own,) = (path for path in folder.iterdir() if path.is_file())
    (tmp_path / "hf").mkdir()
    for path in [own, *(folder / "hf").iterdir()]:
        (tmp_path / "hf" / path.name).write_bytes(path.read_bytes())
    support.convert(tmp_path / "hf", "mistral", tmp_path / "back")
    assert (tmp_path / "back" / own.name).read_bytes() == source.read_bytes()
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"consolidated.safetensors", "params.json", own.name}


def test_tekken_is_made_as_transformers_makes_it(tokenizers, tmp_path):
    """The vocabulary, merges and words of transformers' own converter; it adds no <s>, and the hub's files do."""
    from transformers.integrations.mistral.tokenizer import MistralConverter

    source, folder = tokenizers("tiny-tekken")
    theirs = json.loads(MistralConverter(str(source)).converted().to_str())
    ours = json.loads((folder / "hf" / "tokenizer.json").read_text())
    ours["model"]["merges"] = [merge.split(" ") for merge in ours["model"]["merges"]]
    for key in ("added_tokens", "normalizer", "pre_tokenizer", "decoder", "model"):
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("version", ("4.57.6", "5.23.0"))
@pytest.mark.parametrize("family", ("mistral", "mistral-tied", "mixtral"))
def test_what_transformers_saves_becomes_its_own_form(family, version, tmp_path):
    support.work(version, "save_families", tmp_path, family)
    source = tmp_path / family
    support.convert(source, "mistral", tmp_path / "own")
    params, weights = json.loads((tmp_path / "own" / "params.json").read_text()), load(tmp_path / "own")
    assert mistral_files.shapes(params) == {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert support.run("verify", tmp_path / "own").document["status"] == "ok"
    found = support.work(version, "logits", source, json.dumps([i % 96 for i in IDS]))
    weights = {name: tensor.float() for name, tensor in weights.items()}
    expected = forward(weights, params, [i % 96 for i in IDS])
    assert (torch.tensor(found["logits"]) - expected).abs().max().item() < TOLERANCE
    support.convert(tmp_path / "own", "hf", tmp_path / "back")
    support.same(support.load_hf(tmp_path / "back"), support.load_hf(source))
