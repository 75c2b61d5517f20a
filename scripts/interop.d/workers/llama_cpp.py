"""What llama.cpp itself makes of GGUF files: llama_cpp.py JOBS.

JOBS is a JSON file of a list of {"model": FILE, "texts": [...], "ids": [...], "logits": FILE}. Prints of each the ids of its
texts, without a token before them and with what the file says of special ones; the logits of all positions of `ids` go to
the file `logits` (torch). Of a model that does not load, prints {"refused": WHY}. The library is called as its header
declares it.
"""

import ctypes
import json
import os
import pathlib
import sys

import torch

LIBRARIES = pathlib.Path(os.environ["CKPT_LLAMA_CPP"])
(name,) = (path.name for path in LIBRARIES.glob("libllama.v*.so"))
llama = ctypes.CDLL(str(LIBRARIES / name), mode=ctypes.RTLD_GLOBAL)
(name,) = (path.name for path in LIBRARIES.glob("libggml.v*.so"))
ggml = ctypes.CDLL(str(LIBRARIES / name), mode=ctypes.RTLD_GLOBAL)


class Settings(ctypes.Structure):
    """A struct of parameters, as words: room for more than it has, which a callee on the other side does not look at."""

    _fields_ = [("words", ctypes.c_int32 * 64)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
POINTERS = (
    "model_load_from_file init_from_model model_get_vocab get_logits vocab_get_text".split(),
    "model_default_params context_default_params".split(),
)
for function in POINTERS[0]:
    getattr(llama, f"llama_{function}").restype = ctypes.c_void_p
for function in POINTERS[1]:
    getattr(llama, f"llama_{function}").restype = Settings
llama.llama_batch_init.restype = Batch
llama.llama_vocab_get_text.restype = ctypes.c_char_p

# Words of llama_context_params of this version, and what they are unless told: the type of attention's kernel, and of the
# two halves of the cache (1 is F16).
N_CTX, FLASH, TYPE_K, TYPE_V = 0, 13, 26, 27


def main(jobs_file):
    told = []
    log = LOG(lambda level, text, _: told.append(text))
    llama.llama_log_set(log, None)
    ggml.ggml_backend_load_all_from_path(str(LIBRARIES).encode())
    made = []
    for job in json.loads(pathlib.Path(jobs_file).read_text()):
        told.clear()
        made.append(run(job, told))
    print(json.dumps(made))


def run(job, told):
    model = llama.llama_model_load_from_file(job["model"].encode(), llama.llama_model_default_params())
    if not model:
        return {"refused": b"".join(told[-40:]).decode(errors="replace")}
    vocab = ctypes.c_void_p(llama.llama_model_get_vocab(ctypes.c_void_p(model)))
    room = (ctypes.c_int32 * 65536)()
    ids = []
    for text in job["texts"]:
        text = text.encode(errors="surrogatepass")
        count = llama.llama_tokenize(vocab, text, len(text), room, len(room), False, True)
        ids.append(list(room[:count]))
    settings = llama.llama_context_default_params()
    words = settings.words
    assert (words[FLASH], words[TYPE_K], words[TYPE_V]) == (-1, 1, 1), "another version: these words are others"
    # No kernel that rounds on the way, and a cache in single precision.
    words[FLASH], words[TYPE_K], words[TYPE_V] = 0, 0, 0
    context = ctypes.c_void_p(llama.llama_init_from_model(ctypes.c_void_p(model), settings))
    assert context, b"".join(told[-40:]).decode(errors="replace")
    batch = llama.llama_batch_init(len(job["ids"]), 0, 1)
    for place, token in enumerate(job["ids"]):
        batch.token[place], batch.pos[place], batch.n_seq_id[place], batch.logits[place] = token, place, 1, 1
        batch.seq_id[place][0] = 0
    batch.n_tokens = len(job["ids"])
    assert llama.llama_decode(context, batch) == 0
    size = llama.llama_vocab_n_tokens(vocab)
    logits = ctypes.cast(llama.llama_get_logits(context), ctypes.POINTER(ctypes.c_float * (size * batch.n_tokens)))
    torch.save(torch.tensor(logits.contents).reshape(batch.n_tokens, size), job["logits"])
    special = {part: getattr(llama, f"llama_vocab_{part}")(vocab) for part in ("bos", "eos", "pad")}
    # As long as it lives it holds its cache.
    llama.llama_free(context)
    llama.llama_model_free(ctypes.c_void_p(model))
    return {"ids": ids, "size": size, "add_bos": bool(llama.llama_vocab_get_add_bos(vocab) & 1), **special}


main(*sys.argv[1:])
