"""What torch and zipfile say of every file that is listed in LIST, one a line; written to OUT, a JSON row a file.

A row is {"zip": why zipfile refuses it, "load": ..., "mmap": why torch.load does, "tensors": {name: digest}}.
Tensors are those of the load that does not map; null without one, or where a name is no text.
"""

import hashlib
import json
import sys
import warnings
import zipfile

import torch

warnings.filterwarnings("ignore")


def testzip(file):
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except Exception as error:  # zipfile raises whatever struct, zlib and codecs do
        return f"{type(error).__name__}: {error}"
    return bad and f"BadCRC: {bad}"


def loaded(file, **mode):
    try:
        return torch.load(file, map_location="cpu", weights_only=True, **mode), None
    except Exception as error:  # as does the unpickler
        return None, f"{type(error).__name__}: {error}"


def tensors(value, path=()):
    """Every tensor of a nested value, named as documents name it."""
    if isinstance(value, torch.Tensor):
        yield ".".join(path), value
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise TypeError("a key that gives no name")
            yield from tensors(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from tensors(item, (*path, str(place)))


def digest(tensor):
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()


listed, out = sys.argv[1:]
with open(listed) as names, open(out, "w") as rows:
    for name in names.read().splitlines():
        value, load = loaded(name)
        _, mmap = loaded(name, mmap=True)
        verdict = {"zip": testzip(name), "load": load, "mmap": mmap, "tensors": None}
        if load is None:
            try:
                verdict["tensors"] = {path: digest(tensor) for path, tensor in tensors(value)}
            except TypeError:
                pass
            except Exception as error:  # a tensor that loads and cannot be read
                verdict["load"] = f"{type(error).__name__}: {error}"
        rows.write(json.dumps(verdict) + "\n")
print(json.dumps("done"))
