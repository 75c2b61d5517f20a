"""Writes the safetensors headers of releases at full size, without the data: headers.py HOME NAME..."""

import json
import pathlib
import sys

import torch
import transformers

home, names = pathlib.Path(sys.argv[1]), sys.argv[2:]

SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LARGE = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 100,
    "num_attention_heads": 64,
    "cross_attention_layers": list(range(3, 100, 5)),
}
SEES4 = {"hidden_size": 1408, "image_size": 336, "vision_output_dim": 4096}

# name -> the class, its config's class, what the release sets of the text's config and of the vision tower's
RELEASES = {
    "Llama-3.2-11B-Vision": ("Mllama", {"rope_scaling": SCALING}, {}),
    "Llama-3.2-90B-Vision": ("Mllama", LARGE | {"rope_scaling": SCALING}, {"image_size": 560}),
    "Llama-4-Scout-17B-16E": ("Llama4", {}, SEES4),
    "Llama-4-Maverick-17B-128E": ("Llama4", {"num_local_experts": 128, "interleave_moe_layer_step": 2}, SEES4),
    "Llama-Guard-4-12B": ("Llama4", {"num_local_experts": 0, "moe_layers": []}, SEES4),
}

told = {}
for name in names:
    family, text, vision = RELEASES[name]
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision)
    config.torch_dtype = torch.bfloat16
    config.architectures = [f"{family}ForConditionalGeneration"]
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForConditionalGeneration")(config)
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for key, tensor in model.state_dict().items():
        size = tensor.numel() * 2
        header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (home / name).mkdir()
    config.save_pretrained(home / name)
    with (home / name / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    told[name] = end // 2
print(json.dumps(told))
