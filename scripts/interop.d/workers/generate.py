"""The greedy continuation of PROMPT by the model of DIR, in this transformers: DIR PROMPT TOKENS."""

import json
import sys

import torch
import transformers

torch.set_num_threads(1)
folder, prompt, tokens = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
out = model.generate(**inputs, max_new_tokens=int(tokens), do_sample=False, temperature=None, top_p=None, pad_token_id=0)
print(
    json.dumps(
        {
            "ids": inputs["input_ids"][0].tolist(),
            "text": tokenizer.decode(out[0], skip_special_tokens=True),
            "missing": sorted(map(str, info["missing_keys"])),
            "unexpected": sorted(map(str, info["unexpected_keys"])),
        }
    )
)
