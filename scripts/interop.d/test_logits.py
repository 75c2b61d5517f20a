"""The converted model computes what Meta's reference implementation computes."""

import json

import llama
import models
import pytest
import support
import torch
import transformers

TOLERANCE = 1e-5


def reference(folder, ids, out, **parameters):
    given = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
    support.work("5.23.0", "meta_logits", folder, json.dumps(ids), out, *given)
    return torch.load(out, weights_only=True)


def ours(folder, ids, change=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if change:
        change(model)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def furthest(a, b):
    return (a - b).abs().max().item()


IDS = [512, 5, 300, 7, 511, 42, 42, 0, 123, 477, 255, 256, 31, 8, 90, 400, 333, 222, 111, 13]


@pytest.fixture(scope="module")
def meta_logits(llama31, tmp_path_factory):
    return reference(llama31[1], IDS, tmp_path_factory.mktemp("logits") / "meta.pt")


@pytest.mark.parametrize("ranks", (1, 8))
def test_llama3(ranks, llama31_hf, meta_logits):
    assert furthest(ours(llama31_hf[ranks], IDS), meta_logits) < TOLERANCE


def test_llama3_with_keys_in_the_wrong_order(llama31, llama31_hf, meta_logits):
    """The negative control: keys reordered by the number of query heads, the classic mistake, must show."""
    params = models.LLAMA31
    (weights,) = support.load_meta(llama31[1])

    def misorder(model):
        for index, layer in enumerate(model.model.layers):
            key = weights[f"layers.{index}.attention.wk.weight"].float()
            rows, columns, count = *key.shape, params["n_heads"]
            wrong = key.view(count, rows // count // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
            layer.self_attn.k_proj.weight.data.copy_(wrong)

    assert furthest(ours(llama31_hf[1], IDS, misorder), meta_logits) > 100 * TOLERANCE


def test_llama2(fixtures, tmp_path):
    source = fixtures / "tiny-llama2" / "mp1"
    support.convert(source, "hf", tmp_path / "hf")
    # Meta's loaders of that time were not strict about rope.freqs; the reference here is, so it gets a copy without.
    (weights,) = support.load_meta(source)
    weights.pop("rope.freqs")
    params = json.loads((source / "params.json").read_text()) | {"vocab_size": 448}
    plain = models.write_weights(tmp_path / "plain", params, [{n: t.clone() for n, t in weights.items()}], b"")
    ids = [1, 296, 272, 260, 312, 422, 402, 396, 309, 5, 447]
    expected = reference(plain, ids, tmp_path / "meta.pt", rope_theta=10000.0)
    assert furthest(ours(tmp_path / "hf", ids), expected) < TOLERANCE


def test_tied_llama32(fixtures, tmp_path):
    """Meta's reference knows one scaling factor, 8, and Hugging Face says 32 of these: equal once 32 becomes 8."""
    source = fixtures / "tiny-llama3" / "mp1"
    support.convert(source, "hf", tmp_path / "hf")
    path = tmp_path / "hf" / "config.json"
    config = json.loads(path.read_text())
    assert config["rope_scaling"]["factor"] == 32.0
    config["rope_scaling"]["factor"] = 8.0
    path.write_text(json.dumps(config))
    assert furthest(ours(tmp_path / "hf", IDS), reference(source, IDS, tmp_path / "meta.pt")) < TOLERANCE


@pytest.mark.parametrize("ranks", (1, 2))
def test_the_way_back_loads_strictly_in_the_reference(ranks, llama31_hf, meta_logits, tmp_path):
    support.convert(llama31_hf[4], "meta", tmp_path / "meta", "--mp", ranks)
    logits = reference(tmp_path / "meta", IDS, tmp_path / "back.pt")
    if ranks == 1:
        assert torch.equal(logits, meta_logits)
    else:
        assert furthest(logits, meta_logits) < TOLERANCE


def test_our_own_forward_pass_agrees(llama31, meta_logits):
    """The fixtures were trained with it, so it is held to the reference too."""
    (weights,) = support.load_meta(llama31[1])
    weights = {name: tensor.float() for name, tensor in weights.items()}
    logits = llama.forward(weights, models.LLAMA31 | {"scaling_factor": 8.0}, torch.tensor([IDS]))[0]
    assert furthest(logits, meta_logits) < TOLERANCE
