"""Token ids of every string of FILE (a JSON list), and what they decode to, by the tokenizer of DIR: DIR FILE [CLASS]."""

import json
import sys

import transformers

folder, file, *kind = sys.argv[1:]
tokenizer = getattr(transformers, kind[0] if kind else "AutoTokenizer").from_pretrained(folder)
with open(file, encoding="utf-8") as lines:
    strings = json.load(lines)
ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in strings]
print(
    json.dumps(
        {
            "class": type(tokenizer).__name__,
            "size": len(tokenizer),
            "special": [tokenizer.bos_token, tokenizer.eos_token],
            "ids": ids,
            "opening": tokenizer("a", add_special_tokens=True)["input_ids"],
            "text": [tokenizer.decode(i, skip_special_tokens=False, clean_up_tokenization_spaces=False) for i in ids],
        }
    )
)
