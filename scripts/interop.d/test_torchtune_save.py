"""The failure these tools exist for, with the real code that fails, and its cure."""

import json
import os
import shlex

import llama
import models
import pytest
import safetensors.torch
import support
import torch

NAME = "Llama3.2-3B-Instruct"


@pytest.fixture
def download(tmp_path, fixtures):
    """A Meta download where llama-stack keeps it, with no config.json anywhere near."""
    folder = tmp_path / "checkpoints" / NAME
    source = fixtures / "tiny-llama3" / "mp1"
    folder.mkdir(parents=True)
    for file in ("consolidated.00.pth", "params.json", "tokenizer.model"):
        (folder / file).write_bytes((source / file).read_bytes())
    return folder


def save(checkpoint_dir, out, form="huggingface"):
    out.mkdir()
    return support.work("5.23.0", "torchtune_save", checkpoint_dir, out, support.ORACLE / "stack", form)


def test_it_fails_after_the_training(download, tmp_path):
    result = save(download, tmp_path / "out")
    assert result["error"] == "FileNotFoundError"
    assert result["filename"] == str(download.parent / "config.json")


def test_the_preflight_says_so_and_its_fix_mends_it(download, tmp_path):
    home = download.parent
    before = {path.name: path.read_bytes() for path in download.iterdir()}
    said = support.run("verify", "--expect", "hf-save", NAME, cwd=home, expect=1).document
    assert said["status"] == "findings"
    fixes = {finding["fix"] for finding in said["verify"]["findings"] if finding["severity"] == "error"}
    assert len(fixes) == 1, said
    (fix,) = fixes
    words = shlex.split(fix)
    mended = home / words[words.index("--out") + 1]

    support.shell(fix, cwd=home)
    support.run("verify", "--expect", "hf-save", mended)
    support.run("verify", mended)
    # The source is as it was, and no weight was copied.
    assert {path.name: path.read_bytes() for path in download.iterdir()} == before
    assert os.path.samefile(mended / "original" / "consolidated.00.pth", download / "consolidated.00.pth")

    result = save(mended / "original", tmp_path / "out")
    assert result["error"] is None, result
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "adapter_model.pt", "config.json"} <= set(result["files"])
    check_adapter(result["saved"], torch.load(tmp_path / "out" / "trained.pt", weights_only=True))


def check_adapter(saved, trained):
    """The numbers that the save read from our config.json put the rotary rows where they belong."""
    check_adapter_file(f"{saved}/adapter/adapter_model.safetensors", trained)


def check_adapter_file(file, trained):
    found = safetensors.torch.load_file(file)
    heads = {"q_proj": 4, "k_proj": 2}
    for name, tensor in trained.items():
        _, layer, _, projection, part, _ = name.split(".")
        mine = found[f"base_model.model.model.layers.{layer}.self_attn.{projection}.{part.replace('_a', '_A').replace('_b', '_B')}.weight"]
        if part == "lora_b" and projection in heads:
            count, (rows, columns) = heads[projection], tensor.shape
            tensor = tensor.view(count, rows // count // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
        assert torch.equal(mine, tensor), name


def test_a_config_beside_the_weights_is_no_cure(download):
    """The obvious repair puts config.json where the save does not look; the preflight must not be fooled."""
    support.run("convert", download, "--to", "hf", "--in-place")
    assert (download / "config.json").exists()
    support.run("verify", "--expect", "hf-save", download, expect=1)


def test_the_adapter_works_on_our_conversion(download, tmp_path):
    """PEFT puts the saved adapter on the converted base, and what comes out is base plus the low-rank product."""
    import peft
    import transformers

    support.convert(download, "hub", tmp_path / "hub")
    result = save(tmp_path / "hub" / "original", tmp_path / "out")
    support.convert(download, "hf", tmp_path / "hf")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(base, result["saved"] + "/adapter").merge_and_unload()

    params = json.loads((download / "params.json").read_text())
    (weights,) = support.load_meta(download)
    trained = torch.load(tmp_path / "out" / "trained.pt", weights_only=True)
    weights = {name: tensor.float() for name, tensor in weights.items()}
    for layer in range(params["n_layers"]):
        for meta, projection in (("wq", "q_proj"), ("wk", "k_proj"), ("wv", "v_proj")):
            a, b = (trained[f"layers.{layer}.attn.{projection}.lora_{part}.weight"] for part in "ab")
            weights[f"layers.{layer}.attention.{meta}.weight"] += 8 / 4 * (b @ a)
    expected = llama.huggingface(weights, params, tied=True)
    state = merged.state_dict()
    for name, tensor in expected.items():
        assert (state[name] - tensor).abs().max() < 1e-5, name


@pytest.mark.parametrize("form", ["huggingface", "meta"])
def test_what_it_saves_becomes_an_adapter_that_names_its_base(download, tmp_path, form):
    """PEFT loads what we make of the save by itself, and it is what the save holds."""
    import peft

    support.convert(download, "hub", tmp_path / "hub")
    support.convert(download, "hf", tmp_path / "hf")
    result = save(tmp_path / "hub" / "original", tmp_path / "out", form)
    assert result["error"] is None, result
    saved = result["saved"]
    options = ["--base", tmp_path / "hf"]
    if form == "meta":
        # The merged model lies beside, in Meta's form, and nothing holds alpha.
        said = support.run("inspect", saved).document["inspect"]
        assert (said["layout"], said["also"]) == ("meta", ["adapter at adapter/"]), said
        saved += "/adapter"
        options += ["--alpha", 8]
    said = support.run("inspect", saved).document["inspect"]
    assert said["layout"] == "adapter" and said["adapter"]["rank"] == 4, said
    support.run("verify", "--base", download, saved)
    support.convert(saved, "peft", tmp_path / "peft", *options)
    support.run("verify", "--expect", "peft", "--base", tmp_path / "hf", tmp_path / "peft")
    check_adapter_file(tmp_path / "peft" / "adapter_model.safetensors", torch.load(tmp_path / "out" / "trained.pt", weights_only=True))
    model = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "peft", dtype=torch.float32)
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, sorted(config.target_modules)) == (4, 8, ["k_proj", "q_proj", "v_proj"])
