"""The small files of published models, byte for byte, from inputs that need no download.

Weights are holes in sparse files: names, dtypes and shapes are the real ones, and only those and the tie matter here.
"""

import hashlib
import json
import os
import zipfile

import llama
import models
import pytest
import support
import torch

# name -> params.json, and whether output and embedding are one
RELEASES = {
    "Llama-3.2-1B-Instruct": (
        {
            "dim": 2048,
            "n_layers": 16,
            "n_heads": 32,
            "n_kv_heads": 8,
            "vocab_size": 128256,
            "ffn_dim_multiplier": 1.5,
            "multiple_of": 256,
            "norm_eps": 1e-05,
            "rope_theta": 500000.0,
            "use_scaled_rope": True,
        },
        True,
    ),
    "Llama-3.1-8B-Instruct": (
        {
            "dim": 4096,
            "n_layers": 32,
            "n_heads": 32,
            "n_kv_heads": 8,
            "vocab_size": 128256,
            "ffn_dim_multiplier": 1.3,
            "multiple_of": 1024,
            "norm_eps": 1e-05,
            "rope_theta": 500000.0,
            "use_scaled_rope": True,
        },
        False,
    ),
    "Llama-3-8B-Instruct": (
        {
            "dim": 4096,
            "n_layers": 32,
            "n_heads": 32,
            "n_kv_heads": 8,
            "vocab_size": 128256,
            "ffn_dim_multiplier": 1.3,
            "multiple_of": 1024,
            "norm_eps": 1e-05,
            "rope_theta": 500000.0,
        },
        False,
    ),
}

# (release, file) -> how the published file is known
GOLDEN = {
    ("Llama-3.2-1B-Instruct", "config.json"): "sha256:2febf68cea25bf4611be02b7536f2488a5ba523bb1134986e3610152abe74fdb",
    ("Llama-3.2-1B-Instruct", "generation_config.json"): "sha256:88effbb63300dbbc7390143fbbdd9d9fa50587b37e8bfd16c8c90d4970a74a36",
    ("Llama-3.2-1B-Instruct", "special_tokens_map.json"): "sha256:6f38c73729248f6c127296386e3cdde96e254636cc58b4169d3fd32328d9a8ec",
    ("Llama-3.2-1B-Instruct", "tokenizer.json"): "sha256:79e3e522635f3171300913bb421464a87de6222182a0570b9b2ccba2a964b2b4",
    ("Llama-3.1-8B-Instruct", "config.json"): "sha256:29e4c210b0d6ac178b16b2a255a568bdb23b581e50ca1ef6a6d071dd85704e6e",
    ("Llama-3.1-8B-Instruct", "generation_config.json"): "sha256:189fb0c0d7fd8a527db217c0a60a0e013f0394cd8800f9697a666a9e75e5f7fd",
    ("Llama-3.1-8B-Instruct", "tokenizer.json"): "sha256:79e3e522635f3171300913bb421464a87de6222182a0570b9b2ccba2a964b2b4",
    ("Llama-3-8B-Instruct", "config.json"): "blob:31553d63b8f18df5d6d440860751533ada3759e4",
    ("Llama-3-8B-Instruct", "generation_config.json"): "blob:8675015d20a4b12ee2ee0197a0937beba318122a",
}
SHARDS_8B = [4976698672, 4999802720, 4915916176, 1168138808]
SIZE_1B = 2471645608
TOKENIZER_MODEL = "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"


def hollow(folder, params, tied):
    """A Meta download whose tensors are all zeros that take no room; an untied head differs in one byte."""
    folder.mkdir(parents=True)
    file = folder / "consolidated.00.pth"
    table = llama.shapes(params, params["vocab_size"], models.hidden(params))
    with torch.serialization.skip_data():
        torch.save({name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in table.items()}, file)
    if not tied:
        with zipfile.ZipFile(file) as archive:
            record = archive.getinfo(f"consolidated.00/data/{list(table).index('output.weight')}")
        with open(file, "r+b") as opened:
            opened.seek(record.header_offset + 26)
            names, extra = (int.from_bytes(opened.read(2), "little") for _ in range(2))
            opened.seek(record.header_offset + 30 + names + extra)
            opened.write(b"\x01")
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(models.llama3_tokenizer())
    return folder


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    home = tmp_path_factory.mktemp("downloads")
    return {name: hollow(home / name, params, tied) for name, (params, tied) in RELEASES.items()}


@pytest.fixture(scope="module")
def hubs(downloads, tmp_path_factory):
    """The hub layout of each: all the small files, and the weights by hard link."""
    home = tmp_path_factory.mktemp("hubs")
    for name, source in downloads.items():
        support.convert(source, "hub", home / name, "--match-release", name)
    return home


def known_as(data, kind):
    if kind == "blob":
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("release, file", GOLDEN)
def test_small_files(release, file, hubs):
    kind, wanted = GOLDEN[release, file].split(":")
    data = (hubs / release / file).read_bytes()
    assert known_as(data, kind) == wanted, data[:2000].decode()


def test_the_tokenizer_comes_back_byte_for_byte(real_llama3, tmp_path):
    support.convert(real_llama3, "hf", tmp_path / "hf")
    # Without the carried original, from tokenizer.json alone.
    for carried in (tmp_path / "hf").rglob("tokenizer.model"):
        os.remove(carried)
    support.convert(tmp_path / "hf", "meta", tmp_path / "meta")
    assert support.sha256(tmp_path / "meta" / "tokenizer.model") == TOKENIZER_MODEL


def planned(source, out):
    document = support.run("convert", source, "--to", "hf", "--out", out, "--dry-run").document
    assert document["path"] == str(source) and not out.exists()
    return {file["path"]: file for file in document["convert"]["plan"]}


def test_shards_of_the_8b_have_their_published_sizes(downloads, tmp_path):
    plan = planned(downloads["Llama-3.1-8B-Instruct"], tmp_path / "out")
    sizes = [plan[f"model-{shard:05}-of-00004.safetensors"]["size"] for shard in range(1, 5)]
    assert sizes == SHARDS_8B


def test_the_1b_is_one_file_of_its_published_size(downloads, tmp_path):
    plan = planned(downloads["Llama-3.2-1B-Instruct"], tmp_path / "out")
    assert plan["model.safetensors"]["size"] == SIZE_1B
