"""safetensors files, good ones by the library and malformed ones by hand, with the library's own verdict on each."""

import json
import re
import struct

import digests
import safetensors
import safetensors.torch
import torch
import torch_files

# What safetensors cannot hold.
FOREIGN = {"complex32", "complex128", "bits8"}


def header(data):
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length])


def pack(head, data=b"", length=None):
    """A file of the given header, JSON text or an object, and an honest or a lying length."""
    if not isinstance(head, bytes):
        head = json.dumps(head, separators=(",", ":")).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make(folder):
    entries = []

    def record(file, table):
        found = header((folder / file).read_bytes())
        for name, value in table.items():
            entry = digests.entry(name, value, file=file)
            assert (entry["dtype"], entry["shape"]) == (found[name]["dtype"], found[name]["shape"]), (name, entry, found[name])
            entries.append(entry)

    def save(file, table, metadata):
        # The header lists metadata in no fixed order, so one key is as many as a reproducible file can have.
        safetensors.torch.save_file(table, folder / file, metadata=metadata)
        (folder / file).chmod(0o644)
        record(file, table)

    table = {name: value for name, value in torch_files.every_dtype().items() if name not in FOREIGN}
    table["odd_length"] = torch.arange(3, dtype=torch.uint8)
    table['name with spaces, "quotes", \\ and \u00e9 \U0001f600'] = torch.arange(2.0)
    save("dtypes.safetensors", table, {"format": "pt"})

    raw = {
        "f4": ("F4", [2, 8], bytes(range(8))),
        "f6_e2m3": ("F6_E2M3", [4, 4], bytes(range(12))),
        "f6_e3m2": ("F6_E3M2", [8], bytes(range(6))),
        "e8m0": ("F8_E8M0", [5], bytes(range(5))),
    }
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, value) in raw.items():
        head[name] = tensor(dtype, shape, len(data), len(data) + len(value))
        data += value
        entries.append({"name": name, "dtype": dtype, "shape": shape, "sha256": digests.sha256(value), "file": "subbyte.safetensors"})
    text = json.dumps(head, separators=(",", ":"))
    (folder / "subbyte.safetensors").write_bytes(pack((text + " " * (-len(text) % 8)).encode(), data))
    with safetensors.safe_open(folder / "subbyte.safetensors", "pt") as opened:
        assert sorted(opened.keys()) == sorted(raw)

    # Tied weights as save_model leaves them: one tensor, and its other name in the metadata.
    model = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4, bias=False) for name in ("a", "b")})
    model["b"].weight = model["a"].weight
    safetensors.torch.save_model(model, folder / "aliases.safetensors")
    (folder / "aliases.safetensors").chmod(0o644)
    assert header((folder / "aliases.safetensors").read_bytes())["__metadata__"] == {"b.weight": "a.weight"}
    record("aliases.safetensors", {"a.weight": model["a"].weight})

    # No metadata at all, and a header whose length is no multiple of eight, as some writers leave it.
    (folder / "unaligned.safetensors").write_bytes(pack({"a": tensor("F32", [2], 0, 8)}, struct.pack("<2f", 1, 2)))
    record("unaligned.safetensors", {"a": torch.tensor([1.0, 2.0])})

    sharded(folder, entries)
    digests.write(folder / "expected.json", {"safetensors": safetensors.__version__, "tensors": entries})


def sharded(folder, entries):
    from huggingface_hub import split_torch_state_dict_into_shards

    state = {
        f"blocks.{layer}.{part}.weight": torch.randn(16, 16).bfloat16() for layer in range(4) for part in ("up", "gate", "down")
    }
    state["head.weight"] = torch.randn(32, 16).bfloat16()
    plan = split_torch_state_dict_into_shards(state, max_shard_size=2048)
    target = folder / "sharded"
    target.mkdir()
    for file, names in plan.filename_to_tensors.items():
        safetensors.torch.save_file({name: state[name] for name in names}, target / file, metadata={"format": "pt"})
        (target / file).chmod(0o644)
        entries += [digests.entry(name, state[name], file=f"sharded/{file}") for name in names]
    index = {"metadata": plan.metadata, "weight_map": dict(sorted(plan.tensor_to_filename.items()))}
    (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


# --- malformed --------------------------------------------------------------------------------------------------------

F32_PAIR = tensor("F32", [2], 0, 8)
PAIR_TEXT = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def one(entry, size=8):
    return pack({"a": entry}, bytes(size))


def two(first, second, size):
    return pack({"a": first, "b": second}, bytes(size))


def text(body, size=8):
    return pack(body, bytes(size))


# name of the file -> its bytes; a few are legal though they look wrong, which is as much worth knowing
CASES = {
    # lengths
    "empty_file": b"",
    "seven_bytes": bytes(7),
    "length_only": pack(b""),
    "header_past_end": pack({}, length=1000),
    "header_length_huge": pack({}, length=2**63),
    "header_length_all_ones": pack({}, length=2**64 - 1),
    "header_over_limit": pack({}, length=100_000_001),
    "no_tensors": pack({}),
    # where the data lie
    "good": one(F32_PAIR),
    "trailing_data": one(F32_PAIR, 9),
    "truncated_data": one(F32_PAIR, 7),
    "hole_at_start": one(tensor("F32", [2], 4, 12), 12),
    "hole_between": two(tensor("F32", [1], 0, 4), tensor("F32", [1], 8, 12), 12),
    "overlap": two(F32_PAIR, tensor("F32", [2], 4, 12), 12),
    "same_range": two(F32_PAIR, F32_PAIR, 8),
    "size_mismatch": one(tensor("F32", [3], 0, 8)),
    "end_before_begin": one(tensor("F32", [2], 8, 0)),
    "offset_overflow": one(tensor("F32", [2], 2**64 - 4, 2**64 - 1)),
    "empty_in_the_middle": pack(
        {"a": tensor("F32", [1], 0, 4), "z": tensor("F32", [0, 5], 4, 4), "b": tensor("F32", [1], 4, 8)}, bytes(8)
    ),
    "listed_out_of_order": pack({"b": tensor("F32", [1], 4, 8), "a": tensor("F32", [1], 0, 4)}, bytes(8)),
    # shapes
    "negative_shape": one(tensor("F32", [-2], 0, 8)),
    "fractional_shape": one(tensor("F32", [2.0], 0, 8)),
    "shape_overflow": one(tensor("F32", [2**40, 2**40], 0, 8)),
    "shape_over_u64": text(b'{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}}'),
    "shape_not_a_number": text(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}'),
    "shape_is_a_string": text(b'{"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}}'),
    "scalar": one(tensor("F64", [], 0, 8)),
    # dtypes
    "unknown_dtype": one(tensor("F128", [1], 0, 16), 16),
    "lowercase_dtype": one(tensor("f32", [2], 0, 8)),
    "odd_f4": one(tensor("F4", [3], 0, 2), 2),
    "whole_f6": one(tensor("F6_E2M3", [4], 0, 3), 3),
    "bool_of_two": pack({"a": tensor("BOOL", [2], 0, 2)}, b"\x02\xff"),
    # names and keys
    "empty_name": pack({"": F32_PAIR}, bytes(8)),
    "duplicate_equal": text(b'{"a":' + PAIR_TEXT + b',"a":' + PAIR_TEXT + b"}"),
    "duplicate_other_dtype": text(b'{"a":' + PAIR_TEXT + b',"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}'),
    "duplicate_by_escape": text(b'{"a":' + PAIR_TEXT + b',"\\u0061":' + PAIR_TEXT + b"}"),
    "duplicate_two_ranges": text(b'{"a":' + PAIR_TEXT + b',"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', 16),
    "duplicate_field": text(b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}'),
    "unknown_field": one(F32_PAIR | {"x": 1}),
    "missing_field": one({"dtype": "F32", "shape": [2]}),
    "three_offsets": one({"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}),
    # metadata
    "metadata_number": pack({"__metadata__": {"a": 1}, "a": F32_PAIR}, bytes(8)),
    "metadata_null": pack({"__metadata__": None, "a": F32_PAIR}, bytes(8)),
    "metadata_list": pack({"__metadata__": [], "a": F32_PAIR}, bytes(8)),
    "metadata_duplicate": text(b'{"__metadata__":{"k":"1","k":"2"},"a":' + PAIR_TEXT + b"}"),
    # text
    "not_utf8": text(b'{"\xff":' + PAIR_TEXT + b"}"),
    "byte_order_mark": pack(b"\xef\xbb\xbf{}"),
    "array": pack(b"[]"),
    "leading_space": text(b' {"a":' + PAIR_TEXT + b"}"),
    "trailing_spaces": text(b'{"a":' + PAIR_TEXT + b"}    "),
    "trailing_nuls": text(b'{"a":' + PAIR_TEXT + b"}\x00\x00\x00"),
    "trailing_comma": text(b'{"a":' + PAIR_TEXT + b",}"),
    "deeply_nested": pack(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "two_objects": pack(b"{}{}"),
}


def make_bad(folder):
    verdicts = {}
    for name, data in CASES.items():
        path = folder / f"{name}.safetensors"
        path.write_bytes(data)
        try:
            with safetensors.safe_open(path, "pt") as opened:
                tensors = {key: opened.get_slice(key) for key in sorted(opened.keys())}
                verdicts[path.name] = {
                    "accepted": True,
                    "tensors": {key: [value.get_dtype(), value.get_shape()] for key, value in tensors.items()},
                }
        except Exception as error:
            # Of two tensors at fault the library names either, so the name is left out.
            verdicts[path.name] = {"accepted": False, "error": re.sub(r" `[ab]`", "", str(error))}
    digests.write(folder / "expected.json", {"safetensors": safetensors.__version__, "verdicts": verdicts})
