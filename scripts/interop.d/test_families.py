"""Tables of families against transformers' own classes: what it saves is complete to us, and nothing else is."""

import json

import gguf
import pytest
import safetensors.torch
import support
import torch

VERSIONS = ("4.57.6", "5.23.0")
# name -> the family that we say, tensors; the count is what the classes have and not what our tables say
MODELS = {
    "mistral": "mistral",
    "mistral-tied": "mistral",
    "mixtral": "mixtral",
    "qwen2": "qwen2",
    "qwen2-tied": "qwen2",
    "qwen2-moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3-biased": "qwen3",
    "qwen3-moe": "qwen3_moe",
    "qwen3-moe-mixed": "qwen3_moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3-text": "gemma3_text",
    "gemma3": "gemma3",
    "phi3": "phi3",
    "phi3-tied": "phi3",
    "mllama": "mllama",
    "llama4": "llama4",
    "llama4-dense": "llama4",
    "llama4-text": "llama4_text",
    "llama-biased": "llama",
}
HEADS = ("lm_head.weight", "language_model.lm_head.weight")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """version -> folder of what that transformers saves"""
    homes = {version: tmp_path_factory.mktemp("families") for version in VERSIONS}
    for version, home in homes.items():
        told = support.work(version, "save_families", home)
        assert told == {"transformers": version, "models": list(MODELS)}
    return homes


def findings(folder, expect):
    found = support.run("verify", folder, expect=expect).document["verify"]["findings"]
    # There is no tokenizer beside these.
    return [finding for finding in found if finding["id"] != "tokenizer-missing"]


def changed(folder, home, weights):
    """The same folder with other weights."""
    home.mkdir(exist_ok=True)
    (home / "config.json").write_bytes((folder / "config.json").read_bytes())
    safetensors.torch.save_file(weights, home / "model.safetensors", {"format": "pt"})
    return home


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_what_transformers_saves_is_complete(name, version, saved):
    folder = saved[version] / name
    assert findings(folder, 0) == []
    inspect = support.run("inspect", folder).document["inspect"]
    assert inspect["family"]["name"] == MODELS[name]
    assert inspect["parameters"] == sum(tensor.numel() for tensor in support.load_hf(folder).values())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_missed(name, version, saved, tmp_path):
    """One after the other, of the last layer and of all that stands outside the layers."""
    folder = saved[version] / name
    weights = support.load_hf(folder)
    dropped = [key for key in weights if ".layers.0." not in key and ".layers.1." not in key and key not in HEADS]
    assert len(dropped) >= 7
    for key in dropped:
        rest = {other: tensor for other, tensor in weights.items() if other != key}
        found = findings(changed(folder, tmp_path / "changed", rest), 1)
        assert [(finding["id"], finding["severity"]) for finding in found] == [("tensor-missing", "error")], (key, found)
        # transformers 5 and 4 call some by two names; the table's is told.
        assert found[0]["tensor"].split(".")[-2:] == key.split(".")[-2:]
    if any(key in HEADS for key in weights):
        rest = {key: tensor for key, tensor in weights.items() if key not in HEADS}
        (found,) = findings(changed(folder, tmp_path / "changed", rest), 1)
        assert found["id"] == "tied-head-missing"


@pytest.mark.parametrize("name", MODELS)
def test_a_tensor_of_another_shape_and_one_too_many_are_told(name, saved, tmp_path):
    folder = saved["5.23.0"] / name
    weights = support.load_hf(folder)
    for key in [key for key in weights if ".layers.0." not in key and ".layers.1." not in key]:
        wider = torch.zeros(*(size + 1 for size in weights[key].shape), dtype=weights[key].dtype)
        found = findings(changed(folder, tmp_path / "changed", weights | {key: wider}), 1)
        ids = {finding["id"] for finding in found if finding.get("tensor") == key}
        assert ids & {"config-shape", "config-vocab"}, (key, found)
    stranger = key.rsplit(".", 2)[0] + ".stranger.weight"
    found = findings(changed(folder, tmp_path / "changed", weights | {stranger: torch.ones(3)}), (0, 1))
    assert ("tensor-unexpected", stranger) in {(finding["id"], finding.get("tensor")) for finding in found}


def test_settings_say_where_biases_and_experts_are(saved, tmp_path):
    def with_config(name, **settings):
        folder = saved["4.57.6"] / name
        out = changed(folder, tmp_path / "changed", support.load_hf(folder))
        config = json.loads((folder / "config.json").read_text()) | settings
        (out / "config.json").write_text(json.dumps(config))
        return {(finding["id"], finding.get("tensor")) for finding in findings(out, (0, 1))}

    assert ("tensor-unexpected", "model.layers.0.self_attn.q_proj.bias") in with_config("qwen3-biased", attention_bias=False)
    assert ("tensor-missing", "model.layers.0.self_attn.q_proj.bias") in with_config("qwen3", attention_bias=True)
    dense = with_config("qwen3-moe", mlp_only_layers=[1])
    assert ("tensor-missing", "model.layers.1.mlp.up_proj.weight") in dense
    assert ("tensor-unexpected", "model.layers.1.mlp.experts.0.up_proj.weight") in dense
    more = with_config("mixtral", num_local_experts=5)
    assert ("tensor-missing", "model.layers.2.block_sparse_moe.experts.4.w2.weight") in more


def test_names_of_two_versions_are_one_model(saved, tmp_path):
    """transformers 5 leaves a step out of the vision tower's names; the canonical digest is that of 4's."""
    folder = saved["4.57.6"] / "gemma3"
    weights = support.load_hf(folder)
    present = {name.replace(".vision_model.", "."): tensor for name, tensor in weights.items()}
    assert present.keys() == support.load_hf(saved["5.23.0"] / "gemma3").keys() != weights.keys()
    other = changed(folder, tmp_path / "changed", present)
    first, second = (support.run("hash", "--canonical", path).document["hash"] for path in (folder, other))
    assert first["root"] == second["root"]
    plain = [support.run("hash", path).document["hash"]["root"] for path in (folder, other)]
    assert plain[0] != plain[1]


# release -> parameters as its class has them, counted by transformers
RELEASES = {
    "Llama-3.2-11B-Vision": "mllama",
    "Llama-3.2-90B-Vision": "mllama",
    "Llama-4-Scout-17B-16E": "llama4",
    "Llama-4-Maverick-17B-128E": "llama4",
    "Llama-Guard-4-12B": "llama4",
}


@pytest.mark.parametrize("version", ("4.47.1", "4.57.6"))
def test_headers_of_releases(version, tmp_path):
    """Files of the releases' full size, all holes, with the names that a transformers has for them in memory."""
    names = [name for name, family in RELEASES.items() if family == "mllama" or version != "4.47.1"]
    told = support.work(version, "headers", tmp_path, *names)
    assert set(told) == set(names)
    for name, parameters in told.items():
        folder = tmp_path / name
        found = support.run("verify", "--severity", "sparse-hole=ignore", folder).document["verify"]["findings"]
        assert [finding["id"] for finding in found] == ["tokenizer-missing"], (name, found[:5])
        inspect = support.run("inspect", folder).document["inspect"]
        assert inspect["family"]["name"] == RELEASES[name]
        assert inspect["parameters"] == parameters, name


# name -> llama.cpp's name of the family. Its tensors are called what gguf-py's own map calls them.
GGUF = {"mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3-text": "gemma3", "phi3": "phi3"}


def pairs_side_by_side(weight, heads):
    """llama.cpp's order of the rows of q and k, for the families that it takes for a Llama."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


@pytest.mark.parametrize("name", GGUF)
def test_the_same_model_in_gguf_has_the_same_canonical_digest(name, saved, tmp_path):
    """A GGUF file as llama.cpp's converter writes it: the values that it changes, changed here by hand."""
    folder, architecture = saved["5.23.0"] / name, GGUF[name]
    config = json.loads((folder / "config.json").read_text())
    weights = {key: tensor.float() for key, tensor in support.load_hf(folder).items()}
    (number,) = (arch for arch, own in gguf.MODEL_ARCH_NAMES.items() if own == architecture)
    names = gguf.get_tensor_name_map(number, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", architecture)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads["attn_q"])
    writer.add_head_count_kv(heads["attn_k"])
    writer.add_key_length(head_dim)
    for key, tensor in weights.items():
        own = names.get_name(key, try_suffixes=(".weight", ".bias"))
        part = own.split(".")[-2]
        if architecture == "llama" and part in heads:
            tensor = pairs_side_by_side(tensor, heads[part])
        if name.startswith("gemma") and key.endswith("norm.weight"):
            tensor = tensor + 1
            weights[key] = tensor - 1
        writer.add_tensor(own, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert findings(tmp_path / "model.gguf", (0, 1)) == []
    roots = [
        support.run("hash", "--canonical", path).document["hash"]["root"]
        for path in (tmp_path / "model.gguf", changed(folder, tmp_path / "hf", weights))
    ]
    assert roots[0] == roots[1]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "llama-biased"])
def test_what_is_known_by_its_tensors_only_is_not_half_converted(name, saved, tmp_path):
    # Where the others have experts, they are set up as llama.cpp has no place for.
    known = name.removesuffix("-tied").removesuffix("-biased") in (*GGUF, "mixtral")
    for kind in ("meta",) if known else ("gguf", "meta"):
        outcome = support.run("convert", saved["5.23.0"] / name, "--to", kind, "--out", tmp_path / kind, expect=2)
        assert not (tmp_path / kind).exists() and outcome.err.strip(), kind
