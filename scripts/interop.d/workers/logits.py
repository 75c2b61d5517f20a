"""Logits of IDS (a JSON list) by the model of DIR in single precision, and what was missing in it: DIR IDS."""

import json
import sys

import torch
import transformers

torch.set_num_threads(1)
folder, ids = sys.argv[1:]
model, info = transformers.AutoModelForCausalLM.from_pretrained(
    folder, output_loading_info=True, torch_dtype=torch.float32, attn_implementation="eager"
)
with torch.no_grad():
    logits = model(torch.tensor([json.loads(ids)])).logits[0]
told = {key: sorted(map(str, info[f"{key}_keys"])) for key in ("missing", "unexpected")}
print(json.dumps(told | {"logits": logits.tolist()}))
