"""Random models in Meta's format, with their own plain statement of what a conversion must give."""

import importlib.util
import json
import pathlib
import sys

import torch

# The tokenizers and the forward pass that made the committed fixtures.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures.d"))
import llama  # noqa: E402
import vocabularies  # noqa: E402

# Sixteen query heads and eight key heads: divisible by every number of ranks under test, and grouped.
LLAMA31 = {
    "dim": 128,
    "n_layers": 3,
    "n_heads": 16,
    "n_kv_heads": 8,
    "vocab_size": 512 + 256,
    "multiple_of": 64,
    "ffn_dim_multiplier": 1.3,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
}
# Every head has keys of its own, and the vocabulary's size is not told.
LLAMA2 = {"dim": 128, "n_layers": 3, "n_heads": 16, "multiple_of": 64, "norm_eps": 1e-05, "vocab_size": -1}
THIN_LLAMA3 = LLAMA31 | {"dim": 32, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 128256, "multiple_of": 16}
THIN_LLAMA2 = {"dim": 32, "n_layers": 1, "n_heads": 4, "multiple_of": 16, "norm_eps": 1e-05, "vocab_size": -1}


def package_file(package, *parts):
    (root,) = importlib.util.find_spec(package).submodule_search_locations
    return pathlib.Path(root, *parts)


def llama3_tokenizer():
    """Meta's own tokenizer.model."""
    return package_file("llama_models", "llama3", "tokenizer.model").read_bytes()


def mistral_tokenizer():
    """A SentencePiece model of Llama 2's kind."""
    return package_file("mistral_common", "data", "tokenizer.model.v1").read_bytes()


def hidden(params):
    """Meta's formula for the width of the feed-forward layer."""
    width = int(params.get("ffn_dim_multiplier", 1.0) * int(2 * (4 * params["dim"]) / 3))
    return params["multiple_of"] * -(-width // params["multiple_of"])


def is_llama2(params):
    return params["vocab_size"] == -1


def rows(params, tokenizer):
    if not is_llama2(params):
        return params["vocab_size"]
    return len(vocabularies.sentencepiece_encoding(tokenizer))


def random_weights(params, rows, dtype, tied=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in llama.shapes(params, rows, hidden(params)).items():
        scale, shift = (0.1, 1.0) if len(shape) == 1 else (shape[-1] ** -0.5, 0.0)
        weights[name] = (torch.randn(shape, generator=generator) * scale + shift).to(dtype)
    if tied:
        weights["output.weight"] = weights["tok_embeddings.weight"].clone()
    return weights


def split(params, weights, ranks):
    return llama.split(weights, ranks, embedding_dim=1 if is_llama2(params) else 0)


def join(params, parts):
    """The whole tensors of what the ranks hold; tensors that each holds whole must be equal."""
    whole = {}
    for name in parts[0]:
        key = name.split(".", 2)[2] if name.startswith("layers.") else name
        dim = llama.LAYER.get(key.removesuffix(".weight"))
        if name == "output.weight":
            dim = 0
        elif name == "tok_embeddings.weight":
            dim = 1 if is_llama2(params) else 0
        pieces = [part[name] for part in parts]
        if dim is None:
            assert all(torch.equal(piece, pieces[0]) for piece in pieces), name
            whole[name] = pieces[0]
        else:
            whole[name] = torch.cat(pieces, dim)
    return whole


def write(folder, params, ranks, tokenizer=None, dtype=None, tied=False):
    """A Meta download of random weights; returns its folder."""
    if tokenizer is None:
        if is_llama2(params):
            tokenizer = vocabularies.sentencepiece_model(llama.TEXT, 448)
        else:
            tokenizer = vocabularies.tiktoken_model(llama.TEXT, params["vocab_size"] - vocabularies.SPECIALS)
    dtype = dtype or (torch.float16 if is_llama2(params) else torch.bfloat16)
    weights = random_weights(params, rows(params, tokenizer), dtype, tied)
    return write_weights(folder, params, split(params, weights, ranks), tokenizer)


def write_weights(folder, params, parts, tokenizer):
    folder.mkdir(parents=True)
    for rank, part in enumerate(parts):
        torch.save(part, folder / f"consolidated.{rank:02}.pth")
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(tokenizer)
    return folder
