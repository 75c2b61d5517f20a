//! Tokenizer files: tiktoken ranks, SentencePiece models, tokenizer.json.
