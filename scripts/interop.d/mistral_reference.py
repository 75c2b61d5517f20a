"""mistral_common's own tokenizers, by the name of their file."""

from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer


def tokenizer(path):
    """The reader of a file by its name."""
    return (Tekkenizer.from_file if "tekken" in path.name else SentencePieceTokenizer)(path)
