"""A Hugging Face directory of two shards, made by transformers from the weights of tiny-llama3."""

import json

import digests
import llama
import tokenizers
import torch
import transformers
import vocabularies
from transformers.convert_slow_tokenizer import TikTokenConverter


def config(params, hidden):
    return transformers.LlamaConfig(
        vocab_size=params["vocab_size"],
        hidden_size=params["dim"],
        intermediate_size=hidden,
        num_hidden_layers=params["n_layers"],
        num_attention_heads=params["n_heads"],
        num_key_value_heads=params["n_kv_heads"],
        rms_norm_eps=params["norm_eps"],
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": params["rope_theta"],
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        max_position_embeddings=131072,
        tie_word_embeddings=True,
        bos_token_id=512,
        eos_token_id=513,
        dtype=torch.bfloat16,
    )


def tokenizer(model_file, names):
    """tokenizer.json by transformers' own converter, with Llama 3's special tokens and template."""
    converter = TikTokenConverter(
        str(model_file), pattern=vocabularies.LLAMA3_PATTERN, extra_special_tokens=list(names), add_prefix_space=False
    )
    fast = converter.converted()
    bos = "<|begin_of_text|>"
    fast.post_processor = tokenizers.processors.Sequence(
        [
            tokenizers.processors.ByteLevel(trim_offsets=False),
            tokenizers.processors.TemplateProcessing(
                single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, names[bos])]
            ),
        ]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast,
        bos_token=bos,
        eos_token="<|end_of_text|>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=131072,
        clean_up_tokenization_spaces=True,
    )


def make(folder):
    source = folder.parent / "tiny-llama3" / "mp1"
    params = json.loads((source / "params.json").read_text())
    weights = torch.load(source / "consolidated.00.pth", weights_only=True)
    state = llama.huggingface(weights, params, tied=True)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]

    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config(params, weights["layers.0.feed_forward.w1.weight"].shape[0]))
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = transformers.GenerationConfig(bos_token_id=512, eos_token_id=513)
    model.save_pretrained(folder, max_shard_size="200KB")

    ranks = params["vocab_size"] - vocabularies.SPECIALS
    tokenizer(source / "tokenizer.model", vocabularies.special_tokens(ranks)).save_pretrained(folder)

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 2, index["weight_map"]
    for path in folder.iterdir():
        path.chmod(0o644)  # the writer of safetensors leaves 0600
    entries = [digests.entry(name, state[name], file=file) for name, file in sorted(index["weight_map"].items())]
    digests.write(folder / "expected.json", {"root": digests.root(entries), "tensors": entries})
    check(folder)


def check(folder):
    """The directory must say the sentence that tiny-llama3 was trained on."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer(llama.PROMPT, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=60, do_sample=False, pad_token_id=512)
    text = tokenizer.decode(out[0], skip_special_tokens=True)
    assert text.startswith(llama.PROMPT + llama.CONTINUATION), text
