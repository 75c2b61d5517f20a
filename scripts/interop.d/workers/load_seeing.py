"""Loads a model that sees, strictly, and runs it: FOLDER OUT IDS(JSON). Saves its logits, and says what it read."""

import json
import sys

import torch
import transformers

folder, out, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
config = transformers.AutoConfig.from_pretrained(folder)
(name,) = config.architectures
model, told = getattr(transformers, name).from_pretrained(
    folder, output_loading_info=True, torch_dtype=torch.float32, attn_implementation="eager"
)
assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), told
with torch.no_grad():
    logits = model(input_ids=torch.tensor([ids])).logits[0]
assert torch.isfinite(logits).all()
result = {"logits": logits}
if name == "Llama4ForConditionalGeneration":
    generator = torch.Generator().manual_seed(1)
    size = config.vision_config.image_size
    pixels = torch.randn((1, 3, size, size), generator=generator)
    with torch.no_grad():
        seen = model.vision_model(pixels).last_hidden_state
        result["seen"] = model.multi_modal_projector(seen.reshape(-1, seen.shape[-1]))
torch.save(result, out)
generation = transformers.GenerationConfig.from_pretrained(folder)
print(json.dumps({"config": config.to_dict(), "eos": generation.eos_token_id, "pad": generation.pad_token_id}, default=str))
