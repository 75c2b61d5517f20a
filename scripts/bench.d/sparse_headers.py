#!/usr/bin/env python3
"""Makes the headers of a mixture of a trillion parameters: real names, shapes, shards and index, and no data.

The model is shaped like Kimi-K2-Thinking: 61 layers, the first dense, then 384 routed experts each, whose weights
are packed four bits wide (compressed-tensors, `pack-quantized`, groups of 32); one shard a layer and one for what
stands outside the layers. The files are sparse: 594 GB long, some tens of MB on disk.

    sparse_headers.py DIR [--layers 61] [--experts 384]

Only the standard library is used.
"""

import argparse
import json
import math
import os
import struct

HIDDEN = 7168
VOCABULARY = 163840
DENSE = 18432
EXPERT = 2048
HEADS = 64
QUERY_RANK, KEY_RANK = 1536, 512
PLAIN, ROTARY, VALUE = 128, 64, 128
GROUP = 32
BYTES = {"BF16": 2, "F32": 4, "I32": 4}


def attention(prefix):
    """The compressed queries and keys of one layer, and its norms."""
    own = prefix + "self_attn."
    return [
        (own + "q_a_proj.weight", "BF16", [QUERY_RANK, HIDDEN]),
        (own + "q_a_layernorm.weight", "BF16", [QUERY_RANK]),
        (own + "q_b_proj.weight", "BF16", [HEADS * (PLAIN + ROTARY), QUERY_RANK]),
        (own + "kv_a_proj_with_mqa.weight", "BF16", [KEY_RANK + ROTARY, HIDDEN]),
        (own + "kv_a_layernorm.weight", "BF16", [KEY_RANK]),
        (own + "kv_b_proj.weight", "BF16", [HEADS * (PLAIN + VALUE), KEY_RANK]),
        (own + "o_proj.weight", "BF16", [HIDDEN, HEADS * VALUE]),
        (prefix + "input_layernorm.weight", "BF16", [HIDDEN]),
        (prefix + "post_attention_layernorm.weight", "BF16", [HIDDEN]),
    ]


def projections(width):
    """Name, rows and columns of a gated feed-forward layer."""
    return [("gate_proj", width, HIDDEN), ("up_proj", width, HIDDEN), ("down_proj", HIDDEN, width)]


def layer(number, experts):
    """One layer's tensors: name, dtype, shape."""
    prefix = f"model.layers.{number}."
    tensors = attention(prefix)
    if number == 0:
        for name, rows, columns in projections(DENSE):
            tensors.append((f"{prefix}mlp.{name}.weight", "BF16", [rows, columns]))
        return tensors
    tensors.append((prefix + "mlp.gate.weight", "BF16", [experts, HIDDEN]))
    tensors.append((prefix + "mlp.gate.e_score_correction_bias", "F32", [experts]))
    for name, rows, columns in projections(EXPERT):
        tensors.append((f"{prefix}mlp.shared_experts.{name}.weight", "BF16", [rows, columns]))
    for expert in range(experts):
        for name, rows, columns in projections(EXPERT):
            own = f"{prefix}mlp.experts.{expert}.{name}."
            tensors.append((own + "weight_packed", "I32", [rows, columns // 8]))
            tensors.append((own + "weight_scale", "BF16", [rows, columns // GROUP]))
            tensors.append((own + "weight_shape", "I32", [2]))
    return tensors


def outside():
    """What stands outside the layers."""
    return [
        ("lm_head.weight", "BF16", [VOCABULARY, HIDDEN]),
        ("model.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN]),
        ("model.norm.weight", "BF16", [HIDDEN]),
    ]


def write_shard(path, tensors):
    """Writes the header and leaves the data a hole. Returns the bytes of the data."""
    header, reached = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape in sorted(tensors, key=lambda tensor: (-BYTES[tensor[1]], tensor[0])):
        end = reached + math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [reached, end]}
        reached = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + reached)
    return reached


def config(layers, experts):
    """The part of config.json that says what the model is."""
    weights = {"num_bits": 4, "group_size": GROUP, "strategy": "group", "symmetric": True, "type": "int"}
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "kimi_k2",
        "hidden_size": HIDDEN,
        "intermediate_size": DENSE,
        "moe_intermediate_size": EXPERT,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": QUERY_RANK,
        "kv_lora_rank": KEY_RANK,
        "qk_nope_head_dim": PLAIN,
        "qk_rope_head_dim": ROTARY,
        "v_head_dim": VALUE,
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-05,
        "rope_theta": 50000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
            "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"],
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--layers", type=int, default=61)
    parser.add_argument("--experts", type=int, default=384)
    wanted = parser.parse_args()
    os.makedirs(wanted.directory, exist_ok=True)
    groups = [layer(number, wanted.experts) for number in range(wanted.layers)] + [outside()]
    weights, total = {}, 0
    for number, tensors in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{len(groups):06d}.safetensors"
        total += write_shard(os.path.join(wanted.directory, name), tensors)
        weights.update((tensor, name) for tensor, _, _ in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weights.items()))}
    for name, value in (
        ("model.safetensors.index.json", index),
        ("config.json", config(wanted.layers, wanted.experts)),
        ("generation_config.json", {"max_length": 262144}),
    ):
        with open(os.path.join(wanted.directory, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
    print(f"{wanted.directory}: {len(weights)} tensors in {len(groups)} shards, {total} bytes of nothing")


if __name__ == "__main__":
    main()
