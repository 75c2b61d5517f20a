"""torchtune's own names against torchtune's own functions: meta_to_tune, tune_to_hf, hf_to_tune and those of single families."""

import json

import llama
import models
import pytest
import safetensors.torch
import seeing
import support
import torch

CONVERT = "torchtune.models.convert_weights."
GEMMA2 = "torchtune.models.gemma2._convert_weights."
PHI3 = "torchtune.models.phi3._convert_weights."
VISION = "torchtune.models.llama3_2_vision._convert_weights."
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


# Settings of the config that each function asks for beside the heads.
FUNCTIONS = {
    "mistral": (CONVERT + "hf_to_tune", ("dim", "head_dim")),
    "qwen2": (QWEN + "qwen2_hf_to_tune", ("dim", "head_dim", "tie_word_embeddings")),
    "qwen2-tied": (QWEN + "qwen2_hf_to_tune", ("dim", "head_dim", "tie_word_embeddings")),
    "gemma": (CONVERT + "hf_to_tune", ("dim", "head_dim")),
    "gemma2": (GEMMA2 + "gemma2_hf_to_tune", ("dim", "head_dim")),
    "phi3": (PHI3 + "phi3_hf_to_tune", ("dim",)),
    "phi3-tied": (PHI3 + "phi3_hf_to_tune", ("dim",)),
    "mllama": (
        VISION + "llama3_vision_hf_to_tune",
        ("dim", "vocab_size", "cross_attention_layers", "encoder_dim", "num_tiles", "supported_aspect_ratios"),
    ),
}


def settings(config, wanted):
    """The arguments of a function of torchtune's, as its checkpointer takes them from the config."""
    text, vision = config.get("text_config", config), config.get("vision_config", {})
    said = {
        "dim": text["hidden_size"],
        "head_dim": text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
        "tie_word_embeddings": text.get("tie_word_embeddings"),
        "vocab_size": text["vocab_size"],
        "cross_attention_layers": text.get("cross_attention_layers"),
        "encoder_dim": vision.get("hidden_size"),
        "num_tiles": vision.get("max_num_tiles"),
        "supported_aspect_ratios": vision and seeing.ratios(vision["max_num_tiles"]),
    }
    heads = {"num_heads": text["num_attention_heads"], "num_kv_heads": text["num_key_value_heads"]}
    return heads | {key: said[key] for key in wanted}


def saved(family, home):
    """A folder of transformers' and its weights. Tiles have one embedding each, as where all that is trained is Meta's."""
    support.work("5.23.0", "save_families", home, family)
    folder = home / family
    weights = support.load_hf(folder)
    if family == "mllama":
        tiles = json.loads((folder / "config.json").read_text())["vision_config"]["max_num_tiles"]
        tables = [name for name in weights if "tile" in name and name.endswith("embedding.weight")]
        assert len(tables) == 3
        weights |= {name: seeing.alike(weights[name], tiles, seeing.ratios(tiles)) for name in tables}
        safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder, weights


@pytest.mark.parametrize("family", FUNCTIONS)
def test_what_transformers_saves_comes_back(family, tmp_path):
    folder, weights = saved(family, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    function, wanted = FUNCTIONS[family]
    table = by_torchtune(function, weights, tmp_path, **settings(config, wanted))
    source = tuned(table, folder / "config.json", tmp_path / "tuned")
    said = support.run("inspect", source).document["inspect"]
    assert said["family"]["name"] == family.split("-")[0]
    support.convert(source, "hf", tmp_path / "back")
    support.same(support.load_hf(tmp_path / "back"), weights)
    assert (tmp_path / "back" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    roots = [support.run("hash", "--canonical", path).document["hash"]["root"] for path in (source, folder)]
    assert roots[0] == roots[1]
    assert support.run("verify", source).document["status"] == "ok"
    gone = next(name for name in table if name.endswith("layers.1.mlp.w3.weight"))
    less = {name: tensor for name, tensor in table.items() if name != gone}
    (tmp_path / "less").mkdir()
    found = support.run("verify", tuned(less, folder / "config.json", tmp_path / "less" / "model"), expect=1).document["verify"]["findings"]
    assert [(it["id"], it["tensor"]) for it in found if it["severity"] == "error"] == [("tensor-missing", gone)]
