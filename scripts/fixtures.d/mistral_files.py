"""A tiny Mistral and a tiny Mixtral of random weights in Mistral's own form, with heads that are not the quotient."""

import json
import math

import digests
import llama
import safetensors.torch
import torch
import vocabularies

# The control tokens of version 3, by id from 3 on.
CONTROL = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
DENSE = {
    "dim": 32,
    "n_layers": 2,
    "head_dim": 16,
    "hidden_dim": 48,
    "n_heads": 4,
    "n_kv_heads": 2,
    "norm_eps": 1e-05,
    "vocab_size": 448,
    "rope_theta": 1000000.0,
}
MIXTURE = DENSE | {"vocab_size": 24 + 400, "moe": {"num_experts_per_tok": 2, "num_experts": 4}}


def shapes(params):
    """Every tensor's name and shape, in the order of the releases."""
    dim, hidden = params["dim"], params["hidden_dim"]
    heads, keys = params["n_heads"] * params["head_dim"], params["n_kv_heads"] * params["head_dim"]
    table = {"tok_embeddings.weight": (params["vocab_size"], dim), "norm.weight": (dim,), "output.weight": (params["vocab_size"], dim)}
    forward = {"w1": (hidden, dim), "w2": (dim, hidden), "w3": (hidden, dim)}
    for layer in range(params["n_layers"]):
        at = f"layers.{layer}"
        table |= {f"{at}.attention.wq.weight": (heads, dim), f"{at}.attention.wk.weight": (keys, dim)}
        table |= {f"{at}.attention.wv.weight": (keys, dim), f"{at}.attention.wo.weight": (dim, heads)}
        if moe := params.get("moe"):
            table[f"{at}.feed_forward.gate.weight"] = (moe["num_experts"], dim)
            for expert in range(moe["num_experts"]):
                table |= {f"{at}.feed_forward.experts.{expert}.{name}.weight": shape for name, shape in forward.items()}
        else:
            table |= {f"{at}.feed_forward.{name}.weight": shape for name, shape in forward.items()}
        table |= {f"{at}.attention_norm.weight": (dim,), f"{at}.ffn_norm.weight": (dim,)}
    return table


def weights(params, seed, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(seed)
    table = {}
    for name, shape in shapes(params).items():
        scale, shift = (0.1, 1.0) if len(shape) == 1 else (1 / math.sqrt(shape[-1]), 0.0)
        table[name] = (torch.randn(shape, generator=generator) * scale + shift).to(dtype)
    return table


def halves(weight, head_dim):
    """transformers' order of the rows of each head."""
    rows, columns = weight.shape
    return weight.view(rows // head_dim, head_dim // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


NAMES = {
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
    "output": "lm_head",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def huggingface(table, params):
    """The same under transformers' names, in its order of rows."""
    out = {}
    for name, tensor in table.items():
        stem, before = name.removesuffix(".weight"), ""
        if stem.startswith("layers."):
            _, layer, stem = stem.split(".", 2)
            before = f"model.layers.{layer}."
        if stem in ("attention.wq", "attention.wk"):
            tensor = halves(tensor, params["head_dim"])
        own = NAMES.get(stem) or stem.replace("feed_forward.", "block_sparse_moe.")
        out[f"{before}{own}.weight"] = tensor
    return out


def save(folder, params, table):
    folder.mkdir(parents=True)
    safetensors.torch.save_file(table, folder / "consolidated.safetensors")
    (folder / "consolidated.safetensors").chmod(0o644)  # the writer leaves 0600
    (folder / "params.json").write_text(json.dumps(params))
    canonical = [digests.entry(name, tensor) for name, tensor in huggingface(table, params).items()]
    canonical.sort(key=lambda e: e["name"].encode())
    return {"canonical": {"root": digests.root(canonical), "tensors": canonical}}


def make(folder):
    expected = {"dense": save(folder / "dense", DENSE, weights(DENSE, 1))}
    expected["mixture"] = save(folder / "mixture", MIXTURE, weights(MIXTURE, 2))
    pieces = vocabularies.sentencepiece_model(llama.TEXT, DENSE["vocab_size"], CONTROL)
    (folder / "dense" / "tokenizer.model.v3").write_bytes(pieces)
    # The five ranks beyond the vocabulary are there in the releases too, and no id is theirs.
    (folder / "mixture" / "tekken.json").write_bytes(vocabularies.tekken(llama.TEXT, 400, 24, spare=5))
    digests.write(folder / "expected.json", expected)
