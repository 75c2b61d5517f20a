"""Random models of Llama 3.2 Vision and Llama 4 in Meta's released format, each rank's files with the names of the release."""

import json
import math

import torch

MLLAMA = {
    "dim": 64,
    "n_layers": 4,
    "n_heads": 16,
    "n_kv_heads": 8,
    "vocab_size": 512 + 256,
    "multiple_of": 16,
    "ffn_dim_multiplier": 1.3,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "vision_chunk_size": 28,
    "vision_max_num_chunks": 4,
    "vision_num_cross_attention_layers": 2,
}
# Of the tower only the width is smaller than the release's: its layers and heads are in Meta's code.
MLLAMA_WIDTH, MLLAMA_LAYERS, MLLAMA_GLOBAL = 64, 32, 8

LLAMA4 = {
    "dim": 64,
    "n_layers": 4,
    "n_heads": 16,
    "n_kv_heads": 8,
    "head_dim": 4,
    "vocab_size": 512 + 2048,
    "multiple_of": 16,
    "ffn_dim_multiplier": 1.2,
    "ffn_exp": 4.0,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "rope_scaling_factor": 16.0,
    "rope_high_freq_factor": 1.0,
    "nope_layer_interval": 4,
    "use_qk_norm": True,
    "attention_chunk_size": 32,
    "moe_args": {"num_experts": 4, "capacity_factor": 1.0, "auto_scale_F": True, "top_k": 1, "interleave_moe_layer_step": 2},
    "vision_args": {
        "image_size": {"height": 28, "width": 28},
        "patch_size": {"height": 14, "width": 14},
        "dim": 32,
        "n_layers": 2,
        "n_heads": 8,
        "mlp_ratio": 4.0,
        "output_dim": 48,
        "pixel_shuffle_ratio": 0.5,
    },
}


def dense_width(params):
    width = int(params.get("ffn_dim_multiplier", 1.0) * int(2 * (4 * params["dim"]) / 3))
    return params["multiple_of"] * -(-width // params["multiple_of"])


def expert_width(params):
    moe = params["moe_args"]
    width = int(params["ffn_dim_multiplier"] * int(2 * int(params["ffn_exp"] * params["dim"]) / 3))
    if moe["auto_scale_F"]:
        width = int(width / (moe["capacity_factor"] + 1))
    return width + -width % params["multiple_of"]


def mllama_shapes(params):
    """name -> shape, and the dimension that ranks divide"""
    dim, ffn = params["dim"], dense_width(params)
    keys = dim // params["n_heads"] * params["n_kv_heads"]
    width, head = MLLAMA_WIDTH, dim // params["n_heads"]
    places = (params["vision_chunk_size"] // 14) ** 2 + 1
    tiles = params["vision_max_num_chunks"]
    see = "vision_model.vision_encoder."
    shapes = {
        "text_model.tok_embeddings.weight": ((params["vocab_size"], dim), 0),
        "text_model.learnable_embedding.weight": ((8, dim), 0),
        "text_model.norm.weight": ((dim,), None),
        "text_model.output.weight": ((params["vocab_size"], dim), 0),
        "vision_model.vision_projection.weight": ((dim, 6 * width), 0),
        "vision_model.vision_projection.bias": ((dim,), 0),
        see + "conv1._linear.weight": ((width, 588), 0),
        see + "class_embedding": ((width,), None),
        see + "positional_embedding": ((places, width), None),
        see + "gated_positional_embedding": ((tiles, tiles, places, width), None),
        see + "gated_positional_embedding_gate": ((1,), None),
    }
    for end in ("pre", "post"):
        shapes[see + f"{end}_tile_pos_embed.embedding"] = ((tiles, tiles, 1, width), None)
        shapes[see + f"{end}_tile_pos_embed.gate"] = ((1,), None)
        shapes[see + f"ln_{end}.weight"] = shapes[see + f"ln_{end}.bias"] = ((width,), None)
    for stack, count in (("transformer", MLLAMA_LAYERS), ("global_transformer", MLLAMA_GLOBAL)):
        for layer in range(count):
            block = see + f"{stack}.resblocks.{layer}."
            for part in ("wq", "wk", "wv"):
                shapes[block + f"attn.{part}.weight"] = ((width, width), 0)
            shapes[block + "attn.wo.weight"] = ((width, width), 1)
            shapes[block + "mlp.c_fc.weight"] = ((4 * width, width), 0)
            shapes[block + "mlp.c_fc.bias"] = ((4 * width,), 0)
            shapes[block + "mlp.c_proj.weight"] = ((width, 4 * width), 1)
            shapes[block + "mlp.c_proj.bias"] = ((width,), None)
            for norm in ("ln_1", "ln_2"):
                shapes[block + f"{norm}.weight"] = shapes[block + f"{norm}.bias"] = ((width,), None)
            if stack == "global_transformer":
                shapes[block + "gate_attn"] = shapes[block + "gate_ffn"] = ((1,), None)
    for stack, count in (("layers", params["n_layers"]), ("cross_attention_layers", params["vision_num_cross_attention_layers"])):
        for layer in range(count):
            block = f"text_model.{stack}.{layer}."
            shapes[block + "attention.wq.weight"] = ((dim, dim), 0)
            shapes[block + "attention.wk.weight"] = shapes[block + "attention.wv.weight"] = ((keys, dim), 0)
            shapes[block + "attention.wo.weight"] = ((dim, dim), 1)
            shapes[block + "feed_forward.w1.weight"] = shapes[block + "feed_forward.w3.weight"] = ((ffn, dim), 0)
            shapes[block + "feed_forward.w2.weight"] = ((dim, ffn), 1)
            shapes[block + "attention_norm.weight"] = shapes[block + "ffn_norm.weight"] = ((dim,), None)
            if stack == "cross_attention_layers":
                shapes[block + "attention.q_norm.weight"] = shapes[block + "attention.k_norm.weight"] = ((head,), None)
                shapes[block + "gate_attn"] = shapes[block + "gate_ffwd"] = ((1,), None)
    return shapes


def llama4_shapes(params):
    """name -> shape of the whole, and the dimension that ranks divide; fused ones are divided part by part in `split`"""
    dim, keys = params["dim"], params["head_dim"] * params["n_kv_heads"]
    shapes = {
        "tok_embeddings.weight": ((params["vocab_size"], dim), 0),
        "norm.weight": ((dim,), None),
        "output.weight": ((params["vocab_size"], dim), 0),
    }
    moe = params.get("moe_args")
    for layer in range(params["n_layers"]):
        block = f"layers.{layer}."
        shapes[block + "attention.wq"] = ((dim, dim), 0)
        shapes[block + "attention.wk"] = shapes[block + "attention.wv"] = ((keys, dim), 0)
        shapes[block + "attention.wo.weight"] = ((dim, dim), 1)
        shapes[block + "attention.wqkv.layer_norm_weight"] = ((dim,), None)
        block += "feed_forward."
        if moe and (layer + 1) % moe["interleave_moe_layer_step"] == 0:
            count, width = moe["num_experts"], expert_width(params)
            shapes[block + "experts.moe_w_in_eD_F"] = shapes[block + "experts.moe_w_swiglu_eD_F"] = ((count, dim, width), 2)
            shapes[block + "experts.moe_w_out_eF_D"] = ((count, width, dim), 1)
            shapes[block + "router_DE"] = ((dim, count), None)
            shapes[block + "w_in_shared_FD.weight"] = shapes[block + "w_swiglu_FD.weight"] = ((width, dim), 0)
            shapes[block + "w_out_shared_DF.weight"] = ((dim, width), 1)
            shapes[block + "norm.weight"] = ((dim,), None)
        else:
            width = dense_width(params)
            shapes[block + "w1"] = shapes[block + "w3"] = ((width, dim), 0)
            shapes[block + "mlp.fc2_weight"] = ((dim, width), 1)
            shapes[block + "mlp.layer_norm_weight"] = ((dim,), None)
    args = params.get("vision_args")
    if args:
        width, ffn, out = args["dim"], int(args["dim"] * args["mlp_ratio"]), args["output_dim"]
        patch = args["patch_size"]["height"]
        see = "vision_embeddings.vision_encoder."
        shapes[see + "class_embedding"] = ((width,), None)
        shapes[see + "positional_embedding_vlm"] = (((args["image_size"]["height"] // patch) ** 2 + 1, width), None)
        shapes[see + "conv1._linear.weight"] = ((width, 3 * patch * patch), 0)
        for norm in ("ln_pre", "ln_post"):
            shapes[see + f"{norm}.weight"] = shapes[see + f"{norm}.bias"] = ((width,), None)
        for layer in range(args["n_layers"]):
            block = see + f"transformer.resblocks.{layer}."
            for part in ("wq", "wk", "wv"):
                shapes[block + f"attn.{part}.weight"], shapes[block + f"attn.{part}.bias"] = ((width, width), 0), ((width,), 0)
            shapes[block + "attn.wo.weight"], shapes[block + "attn.wo.bias"] = ((width, width), 1), ((width,), None)
            shapes[block + "mlp.c_fc.weight"], shapes[block + "mlp.c_fc.bias"] = ((ffn, width), 0), ((ffn,), 0)
            shapes[block + "mlp.c_proj.weight"], shapes[block + "mlp.c_proj.bias"] = ((width, ffn), 1), ((width,), None)
            for norm in ("ln_1", "ln_2"):
                shapes[block + f"{norm}.weight"] = shapes[block + f"{norm}.bias"] = ((width,), None)
        shuffled = int(width // args["pixel_shuffle_ratio"] ** 2)
        shapes["vision_embeddings.vision_adapter.mlp.c_fc.weight"] = ((out, shuffled), 0)
        shapes["vision_embeddings.vision_adapter.mlp.c_proj.weight"] = ((out, out), 1)
        shapes["vision_projection.weight"] = ((params["dim"], out), 0)
    return shapes


def ratios(tiles):
    """The shapes of so many tiles at most, as transformers lists them."""
    return [(height, width) for height in range(1, tiles + 1) for width in range(1, tiles // height + 1)]


def alike(table, tiles, shapes):
    """A table of embeddings by an image's shape, each tile's the same in all shapes that have it, zeros behind them."""
    square = table.new_zeros(tiles, tiles, table.shape[1] // tiles)
    for row, (height, width) in reversed(list(enumerate(shapes, 1))):
        square[:height, :width] = table[row].reshape(tiles, -1)[: height * width].reshape(height, width, -1)
    out = torch.zeros_like(table)
    for row, (height, width) in enumerate(shapes, 1):
        part = square[:height, :width].flatten()
        out[row, : len(part)] = part
    return out


def random(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def tensor(shape):
        scale, shift = (0.1, 1.0) if len(shape) == 1 else (shape[-1] ** -0.5, 0.0)
        return (torch.randn(shape, generator=generator) * scale + shift).to(torch.bfloat16)

    return {name: tensor(shape) for name, (shape, _) in shapes.items()}


def fused(part):
    """What a rank of the release has in one tensor."""
    out, done = {}, set()
    for name, tensor in part.items():
        if name in done:
            continue
        stem, _, last = name.rpartition(".")
        if last == "wq":
            trio = [f"{stem}.{key}" for key in ("wq", "wk", "wv")]
            out[f"{stem}.wqkv.weight"] = torch.cat([part[key] for key in trio])
            done.update(trio)
        elif last == "w1":
            out[f"{stem}.mlp.fc1_weight"] = torch.cat([part[f"{stem}.w1"], part[f"{stem}.w3"]])
            done.update((f"{stem}.w1", f"{stem}.w3"))
        elif last.startswith("moe_w_"):
            out[name] = tensor.reshape(-1, tensor.shape[-1])
        else:
            out[name] = tensor
    return out


def split(shapes, weights, ranks):
    parts = []
    for rank in range(ranks):
        share = {}
        for name, tensor in weights.items():
            axis = shapes[name][1]
            share[name] = tensor if axis is None else tensor.chunk(ranks, axis)[rank].contiguous()
        parts.append(fused(share))
    return parts


def write(folder, params, shapes, ranks, tokenizer, lone=False, seed=0):
    folder.mkdir(parents=True)
    for rank, part in enumerate(split(shapes, random(shapes, seed), ranks)):
        torch.save(part, folder / ("consolidated.pth" if lone else f"consolidated.{rank:02}.pth"))
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tokenizer.model").write_bytes(tokenizer)
    return folder


def llama4_as_hf(params, weights):
    """A plain statement of what Hugging Face's names hold of the whole weights."""
    out = {}
    sees = "vision_args" in params
    text = "language_model." if sees else ""
    vision = {
        "conv1._linear.weight": "patch_embedding.linear.weight",
        "class_embedding": "class_embedding",
        "positional_embedding_vlm": "positional_embedding_vlm",
        "ln_pre": "layernorm_pre",
        "ln_post": "layernorm_post",
    }
    inner = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", "c_fc": "fc1", "c_proj": "fc2"}
    for name, tensor in weights.items():
        words = name.split(".")
        if name in ("tok_embeddings.weight", "norm.weight", "output.weight"):
            new = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}[words[0]]
            out[f"{text}{new}.weight"] = tensor
        elif name == "vision_projection.weight":
            out["multi_modal_projector.linear_1.weight"] = tensor
        elif "vision_adapter" in name:
            out[f"vision_model.vision_adapter.mlp.{inner[words[-2]]}.weight"] = tensor
        elif words[0] == "vision_embeddings" and "resblocks" in words:
            layer, rest = words[4], words[5:]
            if rest[0] in ("ln_1", "ln_2"):
                new = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}[rest[0]]
            else:
                new = {"attn": "self_attn", "mlp": "mlp"}[rest[0]] + "." + inner[rest[1]]
            out[f"vision_model.model.layers.{layer}.{new}.{rest[-1]}"] = tensor
        elif words[0] == "vision_embeddings":
            rest = ".".join(words[2:])
            (old,) = (key for key in vision if rest == key or rest.startswith(key + "."))
            out["vision_model." + rest.replace(old, vision[old], 1)] = tensor
        else:
            block, own = f"{text}model.layers.{words[1]}.", ".".join(words[2:])
            new = {
                "attention.wq": "self_attn.q_proj.weight",
                "attention.wk": "self_attn.k_proj.weight",
                "attention.wv": "self_attn.v_proj.weight",
                "attention.wo.weight": "self_attn.o_proj.weight",
                "attention.wqkv.layer_norm_weight": "input_layernorm.weight",
                "feed_forward.norm.weight": "post_attention_layernorm.weight",
                "feed_forward.mlp.layer_norm_weight": "post_attention_layernorm.weight",
                "feed_forward.w1": "feed_forward.gate_proj.weight",
                "feed_forward.w3": "feed_forward.up_proj.weight",
                "feed_forward.mlp.fc2_weight": "feed_forward.down_proj.weight",
                "feed_forward.w_in_shared_FD.weight": "feed_forward.shared_expert.gate_proj.weight",
                "feed_forward.w_swiglu_FD.weight": "feed_forward.shared_expert.up_proj.weight",
                "feed_forward.w_out_shared_DF.weight": "feed_forward.shared_expert.down_proj.weight",
                "feed_forward.experts.moe_w_out_eF_D": "feed_forward.experts.down_proj",
            }.get(own)
            if new:
                out[block + new] = tensor
            elif own.endswith("router_DE"):
                out[block + "feed_forward.router.weight"] = tensor.T.contiguous()
            elif own.endswith("moe_w_in_eD_F"):
                up = weights[name.replace("moe_w_in", "moe_w_swiglu")]
                out[block + "feed_forward.experts.gate_up_proj"] = torch.cat([tensor, up], -1)
            else:
                assert own.endswith("moe_w_swiglu_eD_F"), name
    return out


def grid(count):
    side = math.isqrt(count - 1)
    assert side * side == count - 1
    return side
