"""Two tiny Llamas in Meta's format, trained until they know our text by heart, whole and split in two."""

import hashlib
import json
import math
import pathlib

import digests
import torch
import torch.nn.functional as F
import vocabularies

TEXT = (pathlib.Path(__file__).parent / "text.txt").read_text(encoding="utf-8")
PROMPT = "A checkpoint is"
CONTINUATION = " a table of tensors; a tensor is a name, a shape and the bytes that belong to it."


# --- the model, in Meta's names and Meta's order of rotary pairs ------------------------------------------------------


def rotations(params, head_dim, length):
    """exp(i * position * frequency), one per neighbouring pair of elements of a head."""
    theta = params.get("rope_theta", 10000.0)
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if params.get("use_scaled_rope"):
        # Llama 3.2's small models: factor 32 (3.1 has 8), low 1, high 4, trained first at 8192 positions.
        factor = params.get("scaling_factor", 32.0)
        wavelength = 2 * math.pi / frequencies
        blend = ((8192 / wavelength - 1.0) / (4.0 - 1.0)).clamp(0, 1)
        frequencies = frequencies * blend + frequencies / factor * (1 - blend)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies).float()
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x, turns):
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None, :]).flatten(-2)


def norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def forward(weights, params, tokens):
    """Logits of every position; `tokens` is [batch, length]."""
    heads, kv_heads, eps = params["n_heads"], params.get("n_kv_heads", params["n_heads"]), params["norm_eps"]
    batch, length = tokens.shape
    head_dim = params.get("head_dim", params["dim"] // heads)
    turns = rotations(params, head_dim, length)
    x = F.embedding(tokens, weights["tok_embeddings.weight"])
    for layer in range(params["n_layers"]):
        w = {name: weights[f"layers.{layer}.{name}.weight"] for name in LAYER}
        h = norm(x, w["attention_norm"], eps)
        q = rotate(F.linear(h, w["attention.wq"]).view(batch, length, heads, head_dim), turns)
        k = rotate(F.linear(h, w["attention.wk"]).view(batch, length, kv_heads, head_dim), turns)
        v = F.linear(h, w["attention.wv"]).view(batch, length, kv_heads, head_dim)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=2).transpose(1, 2) for t in (k, v))
        h = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, is_causal=True)
        x = x + F.linear(h.transpose(1, 2).reshape(batch, length, -1), w["attention.wo"])
        h = norm(x, w["ffn_norm"], eps)
        h = F.silu(F.linear(h, w["feed_forward.w1"])) * F.linear(h, w["feed_forward.w3"])
        x = x + F.linear(h, w["feed_forward.w2"])
    return F.linear(norm(x, weights["norm.weight"], eps), weights["output.weight"])


# name in a layer -> dimension that model parallelism splits, None for a tensor that every rank holds whole
LAYER = {
    "attention.wq": 0,
    "attention.wk": 0,
    "attention.wv": 0,
    "attention.wo": 1,
    "feed_forward.w1": 0,
    "feed_forward.w2": 1,
    "feed_forward.w3": 0,
    "attention_norm": None,
    "ffn_norm": None,
}


def shapes(params, rows, hidden):
    """Every tensor's name and shape, in the order of Meta's state dict."""
    dim, heads = params["dim"], params["n_heads"]
    kv = dim // heads * params.get("n_kv_heads", heads)
    layer = {
        "attention.wq": (dim, dim),
        "attention.wk": (kv, dim),
        "attention.wv": (kv, dim),
        "attention.wo": (dim, dim),
        "feed_forward.w1": (hidden, dim),
        "feed_forward.w2": (dim, hidden),
        "feed_forward.w3": (hidden, dim),
        "attention_norm": (dim,),
        "ffn_norm": (dim,),
    }
    table = {"tok_embeddings.weight": (rows, dim), "norm.weight": (dim,), "output.weight": (rows, dim)}
    for index in range(params["n_layers"]):
        table |= {f"layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return table


def paragraphs(encode, bos):
    """The text as one stream of ids, each paragraph behind a begin token."""
    return [token for paragraph in TEXT.strip().split("\n\n") for token in [bos, *encode(paragraph)]]


def train(params, rows, hidden, ids, bos, tied, dtype, steps=700, length=64):
    """Weights that continue the text; the loss is taken on rounded weights, so that what is saved is what was trained."""
    weights = {}
    for name, shape in shapes(params, rows, hidden).items():
        weights[name] = torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * 0.5 / math.sqrt(shape[-1])
    if tied:
        weights["output.weight"] = weights["tok_embeddings.weight"]
    leaves = {id(w): w.requires_grad_() for w in weights.values()}
    optimizer = torch.optim.AdamW(leaves.values(), lr=6e-3, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps, pct_start=0.1)
    text = torch.tensor(ids)
    openings = (text[: -length - 1] == bos).nonzero().flatten()
    for _ in range(steps):
        # Half of the windows open a paragraph, as a prompt does; the others begin anywhere.
        starts = torch.cat([openings[torch.randint(len(openings), (6,))], torch.randint(len(text) - length - 1, (6,))])
        window = torch.stack([text[start : start + length + 1] for start in starts])
        # Straight-through rounding: the forward pass sees the saved precision, the gradient does not.
        rounded = {name: w + (w.to(dtype).float() - w).detach() for name, w in weights.items()}
        loss = F.cross_entropy(forward(rounded, params, window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(leaves.values(), 1.0)
        optimizer.step()
        schedule.step()
    print(f"  loss {loss.item():.3f} after {steps} steps")
    # Two tensors with equal bytes and a storage each, as Meta saves a tied pair.
    return {name: w.detach().to(dtype).clone() for name, w in weights.items()}


@torch.no_grad()
def continue_greedily(weights, params, ids, count):
    """The `count` likeliest next tokens, one after the other, computed in 32 bits."""
    weights = {name: w.float() for name, w in weights.items()}
    ids = list(ids)
    for _ in range(count):
        ids.append(int(forward(weights, params, torch.tensor([ids]))[0, -1].argmax()))
    return ids[-count:]


# --- files ------------------------------------------------------------------------------------------------------------


def split(weights, ranks, embedding_dim):
    """What each rank of a model-parallel group holds."""
    dims = {f"{name}.weight": dim for name, dim in LAYER.items()}
    dims |= {"tok_embeddings.weight": embedding_dim, "output.weight": 0, "norm.weight": None, "rope.freqs": None}
    parts = [{} for _ in range(ranks)]
    for name, tensor in weights.items():
        dim = dims[name.split(".", 2)[2] if name.startswith("layers.") else name]
        pieces = [tensor] * ranks if dim is None else tensor.chunk(ranks, dim)
        for part, piece in zip(parts, pieces):
            part[name] = piece.clone()
    return parts


def flatten(weights):
    """The same tensors as views into one storage a layer and one for the rest, as wrapped training left them."""
    groups = {}
    for name, tensor in weights.items():
        groups.setdefault(name.split(".")[1] if name.startswith("layers.") else "", []).append(name)
    views = {}
    for names in groups.values():
        storage = torch.cat([weights[name].flatten() for name in names])
        for name, part in zip(names, storage.split([weights[name].numel() for name in names])):
            views[name] = part.view(weights[name].shape)
    return {name: views[name] for name in weights}


def huggingface(weights, params, tied):
    """The table under Hugging Face's names, rotary rows reordered: what the canonical digest is taken of."""
    heads, kv_heads = params["n_heads"], params.get("n_kv_heads", params["n_heads"])
    names = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    out = {"model.embed_tokens.weight": weights["tok_embeddings.weight"], "model.norm.weight": weights["norm.weight"]}
    if not tied:
        out["lm_head.weight"] = weights["output.weight"]
    for layer in range(params["n_layers"]):
        for meta, theirs in names.items():
            tensor = weights[f"layers.{layer}.{meta}.weight"]
            count = {"attention.wq": heads, "attention.wk": kv_heads}.get(meta)
            if count:
                rows, columns = tensor.shape
                tensor = tensor.view(count, rows // count // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
            out[f"model.layers.{layer}.{theirs}.weight"] = tensor
    return out


def checklist(folder):
    """checklist.chk in md5sum's own form."""
    lines = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "checklist.chk").write_text("".join(lines))


def save(folder, parts, params, tokenizer):
    """One download folder; returns what expected.json says of it."""
    folder.mkdir()
    tensors = []
    for rank, part in enumerate(parts):
        file = f"consolidated.{rank:02}.pth"
        torch.save(part, folder / file)
        tensors += [digests.entry(name, tensor, file=file) for name, tensor in part.items()]
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(tokenizer)
    checklist(folder)
    return {"tensors": tensors}


def describe(folder, weights, params, tied, encode, decode, bos, layouts):
    """expected.json, after checking that the model really continues the sentence."""
    prompt, answer = [bos, *encode(PROMPT)], [bos, *encode(PROMPT + CONTINUATION)]
    greedy = continue_greedily(weights, params, prompt, len(answer) - len(prompt))
    assert decode(prompt[1:] + greedy) == PROMPT + CONTINUATION, decode(greedy)
    canonical = [digests.entry(name, tensor) for name, tensor in huggingface(weights, params, tied).items()]
    canonical.sort(key=lambda e: e["name"].encode())
    digests.write(
        folder / "expected.json",
        {
            "greedy": {"prompt": PROMPT, "prompt_ids": prompt, "continuation": CONTINUATION, "continuation_ids": greedy},
            "canonical": {"root": digests.root(canonical), "tensors": canonical},
            **layouts,
        },
    )


def make_llama3(folder):
    """Llama 3.2's way: grouped queries, tied and stored twice, scaled rotary positions, tiktoken, bf16."""
    tokenizer = vocabularies.tiktoken_model(TEXT, 512)
    encoding = vocabularies.tiktoken_encoding(tokenizer)
    params = {
        "dim": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "vocab_size": encoding.n_vocab,
        "ffn_dim_multiplier": 1.0,
        "multiple_of": 16,
        "norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "use_scaled_rope": True,
    }
    bos = encoding.encode_single_token("<|begin_of_text|>")
    ids = paragraphs(encoding.encode, bos)
    weights = train(params, encoding.n_vocab, 176, ids, bos, tied=True, dtype=torch.bfloat16)
    layouts = {
        "mp1": save(folder / "mp1", [weights], params, tokenizer),
        "mp2": save(folder / "mp2", split(weights, 2, embedding_dim=0), params, tokenizer),
    }
    describe(folder, weights, params, True, encoding.encode, encoding.decode, bos, layouts)


def make_llama2(folder):
    """Llama 2's way: as many key heads as query heads, untied, SentencePiece, fp16, embeddings split by column."""
    tokenizer = vocabularies.sentencepiece_model(TEXT, 448)
    encoding = vocabularies.sentencepiece_encoding(tokenizer)
    params = {"dim": 64, "multiple_of": 16, "n_heads": 4, "n_layers": 2, "norm_eps": 1e-05, "vocab_size": -1}
    bos = encoding.bos_id()
    ids = paragraphs(encoding.encode, bos)
    weights = train(params, len(encoding), 176, ids, bos, tied=False, dtype=torch.float16)
    weights["rope.freqs"] = (10000.0 ** -(torch.arange(0, 16, 2) / 16)).half()
    layouts = {
        "mp1": save(folder / "mp1", [flatten(weights)], params, tokenizer),
        "mp2": save(folder / "mp2", split(weights, 2, embedding_dim=1), params, tokenizer),
    }
    describe(folder, weights, params, False, encoding.encode, encoding.decode, bos, layouts)


# What torchtune calls Meta's tensors; it leaves their values as they are.
TUNE = {
    "attention.wq.weight": "attn.q_proj.weight",
    "attention.wk.weight": "attn.k_proj.weight",
    "attention.wv.weight": "attn.v_proj.weight",
    "attention.wo.weight": "attn.output_proj.weight",
    "attention_norm.weight": "sa_norm.scale",
    "ffn_norm.weight": "mlp_norm.scale",
    "feed_forward.w1.weight": "mlp.w1.weight",
    "feed_forward.w2.weight": "mlp.w2.weight",
    "feed_forward.w3.weight": "mlp.w3.weight",
    "norm.weight": "norm.scale",
}


def tune(weights):
    """The same table under torchtune's names."""

    def name(own):
        *before, rest = own.split(".", 2) if own.startswith("layers.") else [own]
        return ".".join([*before, TUNE.get(rest, rest)])

    return {name(own): tensor for own, tensor in weights.items()}


def make_tune(folder):
    """tiny-llama3 as torchtune keeps it in memory and saves it, beside the files that it was loaded from."""
    source = folder.parent / "tiny-llama3" / "mp1"
    weights = torch.load(source / "consolidated.00.pth", weights_only=True)
    torch.save(tune(weights), folder / "model.pt")
    for file in ("params.json", "tokenizer.model"):
        (folder / file).write_bytes((source / file).read_bytes())
