"""What a tensor's bytes are, and the digests that expected.json records of them."""

import hashlib
import json

import torch

# torch's dtype -> its spelling in safetensors; below the line, dtypes that safetensors does not have and our own spelling.
SPELLING = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.float4_e2m1fn_x2: "F4",
    torch.complex64: "C64",
    # ---
    torch.complex32: "C32",
    torch.complex128: "C128",
    torch.qint8: "QI8",
    torch.quint8: "QU8",
    torch.qint32: "QI32",
    torch.bcomplex32: "BC32",
    torch.bits8: "BITS8",
    torch.bits1x8: "BITS1X8",
    torch.bits2x4: "BITS2X4",
    torch.bits4x2: "BITS4X2",
    torch.bits16: "BITS16",
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def value_bytes(tensor):
    """The elements in row-major order, little-endian, whatever the view looks like in its storage."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    tensor = tensor.resolve_conj().resolve_neg()
    size, start = tensor.element_size(), tensor.storage_offset()
    storage = bytes(tensor.untyped_storage())
    # The walk is by hand because several of these dtypes have no kernels, not even a copy.
    positions = [start]
    for length, stride in zip(tensor.shape, tensor.stride()):
        positions = [position + index * stride for position in positions for index in range(length)]
    return b"".join(storage[position * size : (position + 1) * size] for position in positions)


def entry(name, tensor, **more):
    """One line of expected.json."""
    shape = list(tensor.shape)
    if tensor.dtype == torch.float4_e2m1fn_x2:
        # torch counts bytes of two elements each, safetensors counts the elements.
        shape[-1] *= 2
    return {"name": name, "dtype": SPELLING[tensor.dtype], "shape": shape, "sha256": sha256(value_bytes(tensor)), **more}


def root(entries):
    """The root over a table of tensors: a line for each, sorted by the bytes of its name."""
    lines = [
        json.dumps([e["name"], e["dtype"], e["shape"], e["sha256"]], separators=(",", ":"), ensure_ascii=False) + "\n"
        for e in sorted(entries, key=lambda e: e["name"].encode())
    ]
    return sha256("".join(lines).encode())


def write(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
