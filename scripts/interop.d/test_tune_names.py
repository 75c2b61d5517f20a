"""torchtune's own names against torchtune's own functions: meta_to_tune, tune_to_hf, hf_to_tune and Qwen's."""

import json

import llama
import models
import pytest
import support
import torch

CONVERT = "torchtune.models.convert_weights."
QWEN = "torchtune.models.qwen2._convert_weights."


def by_torchtune(function, table, tmp_path, **arguments):
    torch.save(table, tmp_path / "in.pt")
    given = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
    support.work("5.23.0", "tune_names", support.ORACLE / "stack", function, tmp_path / "in.pt", tmp_path / "out.pt", *given)
    return torch.load(tmp_path / "out.pt", weights_only=True)


def tuned(table, config, folder):
    folder.mkdir()
    torch.save(table, folder / "model.pt")
    (folder / config.name).write_bytes(config.read_bytes())
    return folder


def test_llama_from_meta_and_to_both(llama31, tmp_path):
    (weights,) = support.load_meta(llama31[1])
    table = by_torchtune(CONVERT + "meta_to_tune", dict(weights), tmp_path)
    support.same(llama.tune(weights), table)
    source = tuned(table, llama31[1] / "params.json", tmp_path / "tuned")
    params = models.LLAMA31
    sizes = {"num_heads": params["n_heads"], "num_kv_heads": params["n_kv_heads"], "dim": params["dim"]}
    support.convert(source, "hf", tmp_path / "hf")
    support.same(support.load_hf(tmp_path / "hf"), by_torchtune(CONVERT + "tune_to_hf", table, tmp_path, **sizes))
    support.convert(source, "meta", tmp_path / "meta", "--mp", 1)
    (back,) = support.load_meta(tmp_path / "meta")
    support.same(dict(back), by_torchtune(CONVERT + "tune_to_meta", table, tmp_path))


@pytest.mark.parametrize(
    ("family", "function"),
    (("mistral", CONVERT + "hf_to_tune"), ("qwen2", QWEN + "qwen2_hf_to_tune"), ("qwen2-tied", QWEN + "qwen2_hf_to_tune")),
)
def test_what_transformers_saves_comes_back(family, function, tmp_path):
    support.work("5.23.0", "save_families", tmp_path, family)
    folder = tmp_path / family
    config, weights = json.loads((folder / "config.json").read_text()), support.load_hf(folder)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    sizes = {"num_heads": config["num_attention_heads"], "num_kv_heads": config["num_key_value_heads"]}
    more = {"tie_word_embeddings": config["tie_word_embeddings"]} if "qwen" in family else {}
    table = by_torchtune(function, weights, tmp_path, dim=config["hidden_size"], head_dim=head, **sizes, **more)
    source = tuned(table, folder / "config.json", tmp_path / "tuned")
    said = support.run("inspect", source).document["inspect"]
    assert said["family"]["name"] == family.split("-")[0]
    support.convert(source, "hf", tmp_path / "back")
    support.same(support.load_hf(tmp_path / "back"), weights)
    assert (tmp_path / "back" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    roots = [support.run("hash", "--canonical", path).document["hash"]["root"] for path in (source, folder)]
    assert roots[0] == roots[1]
    assert support.run("verify", source).document["status"] == "ok"
    less = {name: tensor for name, tensor in table.items() if name != "layers.1.mlp.w3.weight"}
    (tmp_path / "less").mkdir()
    found = support.run("verify", tuned(less, folder / "config.json", tmp_path / "less" / "model"), expect=1).document["verify"]["findings"]
    assert [(it["id"], it["tensor"]) for it in found if it["severity"] == "error"] == [("tensor-missing", "layers.1.mlp.w3.weight")]
