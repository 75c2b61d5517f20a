"""The text that the chat template of DIR makes of every message list of FILE, with and without the next turn's opening."""

import json
import sys

import transformers

folder, file = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
with open(file, encoding="utf-8") as lines:
    dialogs = json.load(lines)
texts = [
    [tokenizer.apply_chat_template(dialog, tokenize=False, add_generation_prompt=opening) for opening in (True, False)]
    for dialog in dialogs
]
ids = [tokenizer(text[0], add_special_tokens=False)["input_ids"] for text in texts]
print(json.dumps({"texts": texts, "ids": ids}))
