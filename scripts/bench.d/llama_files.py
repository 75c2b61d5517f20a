#!/usr/bin/env python3
"""Makes a checkpoint of random numbers in the shape of a Llama 3.2: llama_files.py SHAPE meta|safetensors|halves OUT

As Meta ships it: consolidated.00.pth with the tied head stored a second time, params.json, Meta's own tokenizer.model.
As one safetensors file: the tensors of Hugging Face's form, the head left out; as halves: the same in two files. Needs torch: the oracle's base has it.
"""

import importlib.util
import json
import pathlib
import shutil
import sys

import safetensors.torch
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures.d"))
import llama  # noqa: E402

COMMON = {
    "multiple_of": 256,
    "n_kv_heads": 8,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "vocab_size": 128256,
}

# What params.json says, and the width of the feed-forward layer that follows from it.
SHAPES = {
    "1B": (COMMON | {"dim": 2048, "n_layers": 16, "n_heads": 32, "ffn_dim_multiplier": 1.5}, 8192),
    "3B": (COMMON | {"dim": 3072, "n_layers": 28, "n_heads": 24, "ffn_dim_multiplier": 1.0}, 8192),
    # Of no models: 4 GB of weights, and 3 GB in fp32.
    "half": (COMMON | {"dim": 2048, "n_layers": 8, "n_heads": 32, "ffn_dim_multiplier": 1.5}, 8192),
    "2B": (COMMON | {"dim": 2048, "n_layers": 32, "n_heads": 32, "ffn_dim_multiplier": 1.5}, 8192),
    # Small ones, to try the bench itself: the vocabulary is most of them.
    "quick": (COMMON | {"dim": 256, "n_layers": 2, "n_heads": 8, "ffn_dim_multiplier": 1.5}, 1024),
    "quick-larger": (COMMON | {"dim": 512, "n_layers": 4, "n_heads": 16, "ffn_dim_multiplier": 1.5}, 2048),
}

HF = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
}


def random_weights(params, width):
    """Numbers of a trained model's size; their values do not change how long a copy takes."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in llama.shapes(params, params["vocab_size"], width).items():
        if name != "output.weight":
            weights[name] = torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)
    return weights


def hf_name(name):
    stem = name.removesuffix(".weight")
    if not stem.startswith("layers."):
        return HF[stem] + ".weight"
    _, number, stem = stem.split(".", 2)
    return f"model.layers.{number}.{HF[stem]}.weight"


def save_halves(named, out):
    """Two shards with as many bytes each, but for a tensor, and their index."""
    total = sum(tensor.nbytes for tensor in named.values())
    shards, before = ({}, {}), 0
    for name, tensor in named.items():
        shards[2 * before >= total][name] = tensor
        before += tensor.nbytes
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        safetensors.torch.save_file(shard, out / file, metadata={"format": "pt"})
        places |= {name: file for name in shard}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")


def main():
    shape, form, out = sys.argv[1:]
    params, width = SHAPES[shape]
    out = pathlib.Path(out)
    out.mkdir(parents=True)
    weights = random_weights(params, width)
    named = {hf_name(name): tensor for name, tensor in weights.items()}
    if form == "safetensors":
        safetensors.torch.save_file(named, out / "model.safetensors", metadata={"format": "pt"})
        return
    if form == "halves":
        save_halves(named, out)
        return
    weights["output.weight"] = weights["tok_embeddings.weight"].clone()
    torch.save(weights, out / "consolidated.00.pth")
    (out / "params.json").write_text(json.dumps(params) + "\n")
    (package,) = importlib.util.find_spec("llama_models").submodule_search_locations
    shutil.copyfile(pathlib.Path(package, "llama3", "tokenizer.model"), out / "tokenizer.model")


if __name__ == "__main__":
    main()
