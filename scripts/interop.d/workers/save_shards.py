"""This transformers' own save of a Hugging Face directory in shards: DIR OUT SIZE"""

import json
import sys

import torch
import transformers

folder, out, size = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.bfloat16)
model.save_pretrained(out, max_shard_size=size)
print(json.dumps("done"))
