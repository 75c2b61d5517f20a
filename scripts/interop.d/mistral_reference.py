"""mistral_common's own tokenizers, without the two packages that it wants for schemas of tools and for languages of speech."""

import sys
import types


def missing(name, **names):
    """Stands in for a module that no text is encoded with."""
    try:
        __import__(name)
    except ModuleNotFoundError:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(names)


missing("jsonschema", Draft7Validator=None)
missing("jsonschema.exceptions", SchemaError=Exception, ValidationError=Exception)
missing("pydantic_extra_types")
missing("pydantic_extra_types.language_code", LanguageAlpha2=str)

from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer  # noqa: E402
from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: E402


def tokenizer(path):
    """The reader of a file by its name."""
    return (Tekkenizer.from_file if "tekken" in path.name else SentencePieceTokenizer)(path)
