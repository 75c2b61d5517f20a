"""A tiny random model of each family, as transformers saves it; of those that llama.cpp has under a name of its own, a GGUF."""

import re

import digests
import gguf
import numpy
import torch
import transformers
from safetensors.torch import load_file

TEXT = {
    "vocab_size": 32,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# A head that is not the quotient, as in Mistral-Nemo, Qwen 3 and Gemma.
OWN_HEAD = TEXT | {"head_dim": 6}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 6}
SIGLIP = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "vision_use_head": False,
}

# Of two layers the first attends to images.
MLLAMA = {
    "text_config": TEXT | {"cross_attention_layers": [0], "rope_scaling": {"rope_type": "default"}},
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "num_attention_heads": 16,
        "image_size": 8,
        "patch_size": 4,
        "max_num_tiles": 4,
        "vision_output_dim": 96,
    },
}
# As llama.cpp has it: attention is scaled by the size of a head.
GEMMA = OWN_HEAD | {"query_pre_attn_scalar": OWN_HEAD["head_dim"]}
# Of two layers the second has experts.
LLAMA4 = TEXT | {"head_dim": 4, "num_local_experts": 2, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 16}
LLAMA4_VISION = {
    "hidden_size": 8,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "vision_output_dim": 12,
    "projector_input_dim": 12,
    "projector_output_dim": 12,
}

# family -> the class's name without its ending, its config's class, its settings, llama.cpp's name if it has one of its own
FAMILIES = {
    "gemma": ("GemmaForCausalLM", "GemmaConfig", OWN_HEAD, None),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GEMMA, "gemma2"),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {"text_config": OWN_HEAD, "vision_config": SIGLIP, "mm_tokens_per_image": 1},
        None,
    ),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", GEMMA, "gemma3"),
    "llama4": (
        "Llama4ForConditionalGeneration",
        "Llama4Config",
        {"text_config": LLAMA4, "vision_config": LLAMA4_VISION},
        None,
    ),
    "llama4_text": ("Llama4ForCausalLM", "Llama4TextConfig", LLAMA4, None),
    "mistral": ("MistralForCausalLM", "MistralConfig", OWN_HEAD | {"sliding_window": None}, None),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", TEXT | {"num_local_experts": 2}, "llama"),
    "mllama": ("MllamaForConditionalGeneration", "MllamaConfig", MLLAMA, None),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", TEXT, "phi3"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", TEXT, "qwen2"),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        TEXT | EXPERTS | {"shared_expert_intermediate_size": 10},
        "qwen2moe",
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", OWN_HEAD, "qwen3"),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", OWN_HEAD | EXPERTS | {"norm_topk_prob": True}, "qwen3moe"),
}


def make(folder):
    entries = []
    for name, (model, config, settings, architecture) in FAMILIES.items():
        torch.manual_seed(0)
        config = getattr(transformers, config)(**settings)
        made = getattr(transformers, model)(config).to(torch.bfloat16)
        for parameter in made.parameters():
            # Norms and biases begin as ones and zeros; values that differ show what is done to them.
            parameter.data += torch.randn_like(parameter) * 0.05
        for key, parameter in made.named_parameters():
            # Each tile has one embedding, wherever a shape of an image has it.
            if name == "mllama" and ("tile_embedding." in key or "tile_positional_embedding.embedding" in key):
                parameter.data = by_ratio(parameter.data, config.vision_config.supported_aspect_ratios)
        made.save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        weights = load_file(folder / name / "model.safetensors")
        entries += [digests.entry(key, weights[key], file=f"{name}/model.safetensors") for key in sorted(weights)]
        if architecture:
            entries += written(folder, name, architecture, config, weights)
        if name == "mixtral":
            entries += written(folder, name, architecture, config, weights, apart=True)
    digests.write(folder / "expected.json", {"transformers": transformers.__version__, "tensors": entries})


def by_ratio(table, ratios):
    """Rows of an image's shapes, made of one square of tiles; zeros where there is no tile."""
    tiles = max(rows for rows, _ in ratios)
    square = table[0].reshape(tiles, -1)[:, None] + table[1].reshape(1, tiles, -1)
    out = torch.zeros_like(table).reshape(len(table), tiles, -1)
    for number, (rows, columns) in enumerate(ratios, 1):
        out[number, : rows * columns] = square[:rows, :columns].reshape(rows * columns, -1)
    return out.reshape(table.shape)


def written(folder, name, architecture, config, weights, apart=False):
    """The same in GGUF, under the names of gguf-py's own map; llama.cpp keeps Gemma's norms with the one that is added to them,
    Llama's queries and keys in Meta's order, and the experts of a layer in one tensor, but for files of early 2024.
    """
    (number,) = (number for number, own in gguf.MODEL_ARCH_NAMES.items() if own == architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    file = f"{name}-apart.gguf" if apart else f"{name}.gguf"
    writer = gguf.GGUFWriter(folder / file, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if getattr(config, "moe_intermediate_size", None):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if getattr(config, "shared_expert_intermediate_size", None):
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    held, stacks = {}, {}
    for key, tensor in weights.items():
        values = tensor.float() + (name.startswith("gemma") and key.endswith("norm.weight"))
        count = heads.get(key.split(".")[-2]) if architecture == "llama" else None
        if count:
            rows, columns = values.shape
            values = values.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        expert = re.search(r"\.experts\.(\d+)\.", key)
        own = names.get_name(key.replace(expert[0], ".experts.") if expert else key, try_suffixes=(".weight", ".bias"))
        if expert and apart:
            own = own.replace("_exps", f".{expert[1]}")
        if expert and not apart:
            stacks.setdefault(own, {})[int(expert[1])] = values
        else:
            # One row is a row.
            held[own] = values[0] if "ffn_gate_inp_shexp" in own else values
    held |= {own: torch.stack([values[number] for number in sorted(values)]) for own, values in stacks.items()}
    entries = []
    for own, values in held.items():
        writer.add_tensor(own, numpy.ascontiguousarray(values.numpy()))
        entries.append(digests.entry(own, values, file=file))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return entries
