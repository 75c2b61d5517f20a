"""Tokenizers in Meta's two forms, trained on our own text."""

import base64
import io
import json

import sentencepiece
import tiktoken
from tiktoken import _educational

# Llama 3's splitting pattern; the byte pairs are learnt from the pieces it makes.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_NAMED = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}
SPECIALS = 256


def special_tokens(ranks):
    """Llama 3's 256 special tokens, behind the ranks."""
    tokens, spare = {}, 0
    for slot in range(SPECIALS):
        name = LLAMA3_NAMED.get(slot)
        if name is None:
            name, spare = f"<|reserved_special_token_{spare}|>", spare + 1
        tokens[name] = ranks + slot
    return tokens


def tiktoken_model(text, ranks):
    """The bytes of a tokenizer.model as Llama 3 has it: `base64 rank` lines."""
    learnt = _educational.bpe_train(text, ranks, LLAMA3_PATTERN, visualise=None)
    # The learner numbers single bytes by value. Published files have the printable ones first; no merge depends on it.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printable + [byte for byte in range(256) if byte not in printable]
    pieces = [bytes([byte]) for byte in order] + sorted((p for p in learnt if len(p) > 1), key=learnt.get)
    return b"".join(base64.b64encode(piece) + f" {rank}\n".encode() for rank, piece in enumerate(pieces))


def tiktoken_encoding(model):
    """tiktoken's own reader of those lines."""
    lines = (line.split() for line in model.splitlines())
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in lines}
    return tiktoken.Encoding(
        "tiny-llama3", pat_str=LLAMA3_PATTERN, mergeable_ranks=ranks, special_tokens=special_tokens(len(ranks))
    )


def sentencepiece_model(text, pieces, control=()):
    """The bytes of a tokenizer.model as Llama 1 and 2 have it; Mistral's of version 3 have more control tokens."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        max_sentencepiece_length=16,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        control_symbols=list(control),
        unk_surface=" \u2047 ",
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def sentencepiece_encoding(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


# How Mistral's code cuts text before it looks for tokens: letters by case, digits one by one.
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tekken(text, ranks, special, spare, version="v3"):
    """The bytes of a tekken.json: `ranks` tokens that count and `spare` more that do not, behind `special` ids."""
    learnt = _educational.bpe_train(text, ranks + spare, TEKKEN_PATTERN, visualise=None)
    vocab = []
    for piece, rank in sorted(learnt.items(), key=lambda item: item[1]):
        try:
            spelt = piece.decode()
        except UnicodeDecodeError:
            spelt = None
        vocab.append({"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": spelt})
    config = {
        "pattern": TEKKEN_PATTERN,
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": special + ranks,
        "default_num_special_tokens": special,
        "version": version,
    }
    return json.dumps({"config": config, "vocab": vocab}, ensure_ascii=False, indent=4).encode()
