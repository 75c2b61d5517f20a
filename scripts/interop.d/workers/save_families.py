"""Saves a tiny random model of each class named, with the transformers of its environment: save_families.py HOME NAME..."""

import json
import pathlib
import sys

import torch
import transformers

home, names = pathlib.Path(sys.argv[1]), sys.argv[2:]

TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# A head that is not the quotient, as in Mistral-Nemo, Qwen 3 and Gemma.
OWN_HEAD = TEXT | {"head_dim": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SIGLIP = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 14,
    "vision_use_head": False,
}
# Layer 2 of the language model attends to the image; the vision tower's second part sees all tiles.
MLLAMA = {
    "text_config": TEXT
    | {
        "num_hidden_layers": 4,
        "cross_attention_layers": [2],
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_global_layers": 3,
        "num_attention_heads": 3,
        "image_size": 28,
        "patch_size": 14,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [1],
        "vision_output_dim": 48,
    },
}
LLAMA4 = OWN_HEAD | {"num_hidden_layers": 4, "num_local_experts": 4, "intermediate_size": 24, "intermediate_size_mlp": 40}
LLAMA4_VISION = {
    "hidden_size": 24,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 14,
    "vision_output_dim": 40,
    "projector_input_dim": 40,
    "projector_output_dim": 40,
}
PARTS = {"text_config": OWN_HEAD, "vision_config": SIGLIP, "mm_tokens_per_image": 1}

# name -> the class, its config's class, its settings
MODELS = {
    "mistral": ("MistralForCausalLM", "MistralConfig", OWN_HEAD | {"sliding_window": None}),
    "mistral-tied": ("MistralForCausalLM", "MistralConfig", TEXT | {"tie_word_embeddings": True}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", TEXT | {"num_local_experts": 4}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", TEXT),
    "qwen2-tied": ("Qwen2ForCausalLM", "Qwen2Config", TEXT | {"tie_word_embeddings": True}),
    "qwen2-moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        TEXT | EXPERTS | {"shared_expert_intermediate_size": 40, "mlp_only_layers": [1]},
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", OWN_HEAD),
    "qwen3-biased": ("Qwen3ForCausalLM", "Qwen3Config", OWN_HEAD | {"attention_bias": True}),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", OWN_HEAD | EXPERTS),
    "qwen3-moe-mixed": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", OWN_HEAD | EXPERTS | {"decoder_sparse_step": 2}),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", OWN_HEAD),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", OWN_HEAD),
    "gemma3-text": ("Gemma3ForCausalLM", "Gemma3TextConfig", OWN_HEAD),
    "gemma3": ("Gemma3ForConditionalGeneration", "Gemma3Config", PARTS),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", TEXT),
    "phi3-tied": ("Phi3ForCausalLM", "Phi3Config", TEXT | {"tie_word_embeddings": True}),
    "mllama": ("MllamaForConditionalGeneration", "MllamaConfig", MLLAMA),
    "llama4": (
        "Llama4ForConditionalGeneration",
        "Llama4Config",
        {"text_config": LLAMA4 | {"interleave_moe_layer_step": 2}, "vision_config": LLAMA4_VISION},
    ),
    "llama4-dense": (
        "Llama4ForConditionalGeneration",
        "Llama4Config",
        {"text_config": LLAMA4 | {"moe_layers": [], "num_local_experts": 0}, "vision_config": LLAMA4_VISION},
    ),
    "llama4-text": ("Llama4ForCausalLM", "Llama4TextConfig", LLAMA4 | {"attention_bias": True}),
    "llama-biased": ("LlamaForCausalLM", "LlamaConfig", TEXT | {"attention_bias": True, "mlp_bias": True}),
}

for name in names or MODELS:
    model, config, settings = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**settings)).to(torch.bfloat16)
    for parameter in made.parameters():
        # Norms and biases begin as ones and zeros; values that differ show what is done to them.
        parameter.data += torch.randn_like(parameter) * 0.05
    made.save_pretrained(home / name)
print(json.dumps({"transformers": transformers.__version__, "models": names or list(MODELS)}))
