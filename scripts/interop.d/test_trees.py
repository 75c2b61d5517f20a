"""Trees of models that transformers saved: converted whole, each loads as what it was; roots from nothing but the files."""

import hashlib
import json
import pathlib

import pytest
import support
import torch
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaForCausalLM, T5Config, T5EncoderModel


@pytest.fixture
def tree(tmp_path):
    """A folder as pipelines have it: three models, one of which is in a folder of a folder, and what is no model."""
    torch.manual_seed(0)
    small = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    models = {
        "text_encoder": CLIPTextModel(CLIPTextConfig(**small, max_position_embeddings=16)),
        "text_encoder_2/llm": LlamaForCausalLM(LlamaConfig(**small)).to(torch.bfloat16),
        "text_encoder_3": T5EncoderModel(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
    }
    folder = tmp_path / "tree"
    for name, model in models.items():
        model.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "Flow"}')
    index = {"_class_name": "Pipeline", "scheduler": ["diffusers", "Flow"], "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder, models


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_each_model_loads_as_what_it_was(tree, kind, dtype, tmp_path):
    folder, models = tree
    out = tmp_path / "out"
    more = ["--dtype", "BF16"] if dtype else []
    document = support.convert(folder, kind, out, "--max-shard-size", "10kB", "--verify", *more)
    assert {child["path"] for child in document["children"]} == {str(out / name) for name in models}
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    for name, model in models.items():
        loaded, info = type(model).from_pretrained(out / name, torch_dtype=dtype or "auto", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], name
        wanted = model.state_dict() if dtype is None else model.to(dtype).state_dict()
        found = loaded.state_dict()
        assert wanted.keys() == found.keys(), name
        for key, tensor in wanted.items():
            assert tensor.dtype == found[key].dtype and torch.equal(tensor, found[key]), f"{name} {key}"
    against = support.run("verify", out, "--against", folder, expect=1 if dtype else 0).document
    assert all(child["verify"]["against"] == str(folder / name) for name, child in zip(sorted(models), against["children"], strict=True))


def test_roots_are_made_of_the_files(tree):
    folder, _ = tree
    tensors, files = {}, {}
    for path in filter(pathlib.Path.is_file, folder.rglob("*")):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        files[name] = [name, len(data), hashlib.sha256(data).hexdigest()]
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as stored:
                for key in stored.keys():
                    tensor, whole = stored.get_tensor(key), f"{path.parent.relative_to(folder)}/{key}"
                    dtype = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}[tensor.dtype]
                    tensors[whole] = [whole, dtype, list(tensor.shape), support.digest(tensor)]

    def root(lines):
        text = "".join(json.dumps(lines[name], separators=(",", ":")) + "\n" for name in sorted(lines, key=str.encode))
        return hashlib.sha256(text.encode()).hexdigest()

    section = support.run("hash", folder).document["hash"]
    assert (section["root"], section["files_root"]) == (root(tensors), root(files))
