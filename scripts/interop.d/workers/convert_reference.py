"""transformers 4.47.1's own conversion: IN OUT VERSION RANKS VOCAB, repeated."""

import json
import sys

from transformers.models.llama.convert_llama_weights_to_hf import write_model

arguments = sys.argv[1:]
while arguments:
    source, target, version, ranks, vocab = arguments[:5]
    arguments = arguments[5:]
    write_model(target, source, llama_version=version, num_shards=int(ranks), vocab_size=int(vocab))
print(json.dumps("done"))
