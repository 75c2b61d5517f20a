"""Saves a tiny random model of each family with a tokenizer of its kind: save_speakers.py HOME TEXT NAME..."""

import io
import json
import pathlib
import sys

import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

home, text, names = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen2(folder):
    """As the files of Qwen 2 have it: byte pairs, and special tokens behind them."""
    made = tokenizers.Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN2), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    made.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train([str(text)], trainer)
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    made.add_tokens([AddedToken("<tool_call>", normalized=False)])
    kept = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template="{{ messages[0].content }}é"
    )
    kept.save_pretrained(folder)
    return {"vocab_size": 640, "bos_token_id": made.token_to_id("<|endoftext|>"), "eos_token_id": made.token_to_id("<|im_end|>")}


def pieces(prefix, names, **ids):
    """A SentencePiece model trained on the text, and the tokenizer that encodes as it does."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.read_text().splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=480,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        split_digits=True,
        user_defined_symbols=names,
        num_threads=1,
        minloglevel=2,
        **ids,
    )
    read = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids_of = {read.id_to_piece(number): number for number in range(len(read))}
    merges = []
    for whole in sorted(ids_of, key=lambda piece: -read.get_score(ids_of[piece])):
        number = ids_of[whole]
        if not (read.is_control(number) or read.is_unknown(number) or read.is_byte(number)):
            halves = [(whole[:cut], whole[cut:]) for cut in range(1, len(whole))]
            halves = [(left, right) for left, right in halves if left in ids_of and right in ids_of]
            merges += sorted(halves, key=lambda pair: (ids_of[pair[0]], ids_of[pair[1]]))
    made = tokenizers.Tokenizer(models.BPE(ids_of, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [piece for number, piece in enumerate(ids_of) if read.is_control(number) or read.is_unknown(number)]
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    made.add_tokens([AddedToken(name, normalized=False) for name in names])
    return made, model.getvalue()


def begins(made, bos):
    number = made.token_to_id(bos)
    made.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos}:1 $B:1", [(bos, number)])


def mistral(folder):
    """As the files of Mistral and Llama 2 have it."""
    made, _ = pieces(True, [], unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    begins(made, "<s>")
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    return {"vocab_size": 480, "bos_token_id": 1, "eos_token_id": 2}


def phi3(folder):
    """As Phi-3 has it: Llama 2's, and tokens behind it that only tokenizer.json knows."""
    made, model = pieces(True, [], unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    begins(made, "<s>")
    # llama.cpp knows by the model's name that these take the spaces after them along.
    made.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    strip = ("</s>", "<|im_start|>", "<|im_end|>")
    made.add_special_tokens([AddedToken(name, special=True, normalized=False, rstrip=True) for name in strip])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", pad_token="<|endoftext|>"
    ).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(model)
    return {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 480, "pad_token_id": 480}


def gemma(folder):
    """As the files of Gemma have it: no space before the text, and symbols of its own among the pieces."""
    names = ["<start_of_turn>", "<end_of_turn>", "\n\n"]
    made, _ = pieces(False, names, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>")
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    begins(made, "<bos>")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return {"vocab_size": 496, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# A head that is not the quotient, as in Mistral-Nemo, Qwen 3 and Gemma.
OWN_HEAD = TEXT | {"head_dim": 32}
# transformers' reader of GGUF takes no other for Qwen 3.
QWEN3_HEAD = TEXT | {"head_dim": 128}
# Nor another for Gemma; the window is shorter than the text that is tried.
GEMMA = TEXT | {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 8}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LONG = {
    "rope_type" if transformers.__version__ >= "5" else "type": "longrope",
    "long_factor": [1.0, 1.5, 2.5, 4.0, 5.0, 7.0, 9.5, 12.0],
    "short_factor": [1.0, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3],
}

# name -> the class, its config's class, its settings, its tokenizer
MODELS = {
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", TEXT | {"rope_theta": 1e6}, qwen2),
    "qwen2-tied": ("Qwen2ForCausalLM", "Qwen2Config", TEXT | {"tie_word_embeddings": True}, qwen2),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", QWEN3_HEAD, qwen2),
    "codestral": ("MistralForCausalLM", "MistralConfig", OWN_HEAD | {"sliding_window": None}, mistral),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", TEXT | {"num_local_experts": 4}, mistral),
    "qwen2-moe": ("Qwen2MoeForCausalLM", "Qwen2MoeConfig", TEXT | EXPERTS | {"shared_expert_intermediate_size": 64}, qwen2),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", QWEN3_HEAD | EXPERTS | {"norm_topk_prob": True}, qwen2),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GEMMA, gemma),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", GEMMA | {"num_hidden_layers": 7}, gemma),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", TEXT, phi3),
    "phi3-long": ("Phi3ForCausalLM", "Phi3Config", TEXT | {"rope_scaling": LONG, "original_max_position_embeddings": 32}, phi3),
}

for name in names or MODELS:
    model, config, settings, speak = MODELS[name]
    torch.manual_seed(0)
    said = speak(home / name)
    made = getattr(transformers, model)(getattr(transformers, config)(**settings, **said)).to(torch.bfloat16)
    for parameter in made.parameters():
        # Norms and biases begin as ones and zeros; values that differ show what is done to them. Strong weights make
        # logits that tell tokens apart.
        parameter.data += torch.randn_like(parameter) * 0.1
    made.save_pretrained(home / name)
print(json.dumps({"transformers": transformers.__version__, "models": names or list(MODELS)}))
