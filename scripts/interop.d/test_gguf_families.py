"""Every family through GGUF: written by us, read by gguf-py, transformers and llama.cpp; and back again."""

import itertools
import json
import re
import unicodedata

import gguf
import llama
import pytest
import strings
import support
import tokenizers
import torch

VERSIONS = ("4.57.6", "5.23.0")
# name -> llama.cpp's name of the family
MODELS = {
    "qwen2": "qwen2",
    "qwen2-tied": "qwen2",
    "qwen3": "qwen3",
    # transformers takes what is called Mistral for what gguf-py has no name for.
    "codestral": "llama",
    "mixtral": "llama",
    "qwen2-moe": "qwen2moe",
    "qwen3-moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "phi3": "phi3",
    "phi3-long": "phi3",
}
COUNT = 400
IDS = [5, 9, 40, 300, 17, 2, 301, 99, 98, 97] * 4
FILE = "model.gguf"


def texts():
    special = ["<|im_start|>user\nHi<|im_end|>\n<|endoftext|>", "a<tool_call> b<tool_call>", "<start_of_turn>user\n\nHi<end_of_turn>"]
    return [text for text in strings.fuzz(COUNT, seed=7) if text] + special + [llama.TEXT]


def composed():
    """The texts as Qwen's tokenizers make them first, which llama.cpp leaves to others: every character written in one way."""
    return list(dict.fromkeys(unicodedata.normalize("NFC", text) for text in texts()))


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """version -> folder of what that transformers saves"""
    found = {}
    for version in VERSIONS:
        home = found[version] = tmp_path_factory.mktemp("speakers")
        (home / "text.txt").write_text(llama.TEXT)
        support.work(version, "save_speakers", home, home / "text.txt", *MODELS)
    return found


@pytest.fixture(scope="module")
def saved(homes):
    """(version, name) -> the model as that transformers saves it, our GGUF file of it, and what we make of that again"""

    class Saved(dict):
        def __missing__(self, key):
            version, name = key
            home = homes[version]
            support.convert(home / name, "gguf", home / f"{name}-gguf", "--gguf-type", "f32", "--verify")
            support.convert(home / f"{name}-gguf" / FILE, "hf", home / f"{name}-back")
            self[key] = home / name, home / f"{name}-gguf", home / f"{name}-back"
            return self[key]

    return Saved()


@pytest.fixture(scope="module")
def heard(saved, tmp_path_factory):
    """(version, name) -> what llama.cpp tells of our file of that model, and its logits"""
    home = tmp_path_factory.mktemp("heard")
    jobs = {}
    for version, name in itertools.product(VERSIONS, MODELS):
        said = composed() if version == VERSIONS[-1] else []
        model, made = saved[version, name][1] / FILE, home / f"{name}-{version}.pt"
        jobs[version, name] = {"model": model, "texts": said, "ids": IDS, "logits": made}
    told = support.llama_cpp(home, list(jobs.values()))
    return {key: (one, job["logits"]) for (key, job), one in zip(jobs.items(), told)}


def logits(folder, ids):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def near(ours, theirs, bound=1e-5):
    assert ours.shape == theirs.shape
    difference, scale = (ours - theirs).abs().max(), theirs.abs().max()
    assert difference < bound * scale, f"{difference} of {scale}"


def tokens(folder, strings_of):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in strings_of]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_what_transformers_does(name, version, saved, heard):
    folder, _, _ = saved[version, name]
    told, made = heard[version, name]
    # ggml looks GELU up in a table of half precision.
    near(torch.load(made), logits(folder, IDS), 2e-3 if name.startswith("gemma") else 1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert told["size"] == config["vocab_size"]


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_reads_the_same_tokens(name, saved, heard):
    folder, _, _ = saved["5.23.0", name]
    told, _ = heard["5.23.0", name]
    said = composed()
    wrong = [(text, ours, theirs) for text, ours, theirs in zip(said, told["ids"], tokens(folder, said), strict=True) if ours != theirs]
    assert wrong == []
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    vocab = json.loads((folder / "tokenizer.json").read_text())
    by_name = {token["content"]: token["id"] for token in vocab["added_tokens"]}
    assert told["eos"] == by_name[settings["eos_token"]]


# Its reader of GGUF leaves the factors of Phi-3's scaling out, and takes Mixtral for a Llama without experts.
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("phi3-long", "mixtral")])
def test_transformers_loads_what_we_write(name, saved):
    from transformers import AutoConfig, AutoModelForCausalLM

    folder, made, back = saved["5.23.0", name]
    # The same reader leaves the width of an expert out, which the config that we make of the file says.
    config = {"config": AutoConfig.from_pretrained(back)} if name.endswith("-moe") else {}
    theirs = AutoModelForCausalLM.from_pretrained(made, gguf_file=FILE, dtype=torch.float32, attn_implementation="eager", **config)
    ids = [5, 9, 40, 300, 17, 2, 301, 99]
    with torch.no_grad():
        near(theirs(torch.tensor([ids])).logits[0], logits(folder, ids))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_lost_on_the_way_back(name, version, saved):
    folder, _, back = saved[version, name]
    before = {key: tensor.float() for key, tensor in support.load_hf(folder).items()}
    if name.startswith("gemma"):
        # GGUF holds these norms with one added: the last bits of a tiny factor have no place in the F32 sum.
        held = {key: tensor + 1 - 1 if key.endswith("norm.weight") else tensor for key, tensor in before.items()}
        assert all(torch.allclose(held[key], before[key], rtol=0, atol=2**-24) for key in before)
        support.same(support.load_hf(back), held)
        near(logits(back, [5, 9, 40]), logits(folder, [5, 9, 40]))
    else:
        support.same(support.load_hf(back), before)
        ids = [5, 9, 40, 300, 17, 2, 301, 99]
        assert torch.equal(logits(back, ids), logits(folder, ids))
    said = texts()
    assert tokens(back, said) == tokens(folder, said)
    first, second = (json.loads((path / "tokenizer_config.json").read_text()) for path in (folder, back))
    assert first["eos_token"] == second["eos_token"]
    assert support.run("verify", back).document["status"] == "ok"


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_what_gguf_py_would_write(name, kind, saved, tmp_path):
    """Named by gguf-py's own map, and quantised by it."""
    folder, made, _ = saved["5.23.0", name]
    support.convert(folder, "gguf", tmp_path / FILE, "--gguf-type", kind)
    plain = {tensor.name: tensor.data for tensor in gguf.GGUFReader(made / FILE).tensors}
    wanted = gguf.GGMLQuantizationType[kind.upper()]
    reader = gguf.GGUFReader(tmp_path / FILE)
    assert {tensor.name for tensor in reader.tensors} == plain.keys()
    for tensor in reader.tensors:
        # What chooses among experts stays F32, as llama.cpp's converter leaves it.
        vector = len(tensor.shape) == 1 or "ffn_gate_inp" in tensor.name
        kept = gguf.GGMLQuantizationType.F32 if vector else wanted
        assert tensor.tensor_type == kept, tensor.name
        assert tensor.data.tobytes() == gguf.quants.quantize(plain[tensor.name], kept).tobytes(), tensor.name
    config = json.loads((folder / "config.json").read_text())
    (number,) = (arch for arch, own in gguf.MODEL_ARCH_NAMES.items() if own == MODELS[name])
    names = gguf.get_tensor_name_map(number, config["num_hidden_layers"])
    factors = {f"rope_factors_{which}.weight" for which in ("long", "short")} & plain.keys()
    assert len(factors) == (2 if name == "phi3-long" else 0)
    # Its map has the names without the experts' numbers.
    together = {re.sub(r"\.experts\.\d+\.", ".experts.", key) for key in support.load_hf(folder)}
    assert plain.keys() - factors == {names.get_name(key, try_suffixes=(".weight", ".bias")) for key in together}
