"""torch.save files: each storage class and rebuild function, and archives that are odd in form but whole in content."""

import argparse
import collections
import io
import struct
import sys
import zipfile

import digests
import numpy
import torch
from torch.utils.serialization import config


class Bundle:
    """The files of one folder and what expected.json says of them."""

    def __init__(self, folder):
        self.folder, self.tensors = folder, []

    def save(self, file, value, **options):
        torch.save(value, self.folder / file, **options)
        self.record(file, value)

    def record(self, file, value, **more):
        for path, tensor in walk(value):
            if tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu":
                self.tensors.append(digests.entry(".".join(map(str, path)), tensor, file=file, **more))


def walk(value, path=()):
    """Paths and tensors of nested containers, in their own order."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from walk(item, (*path, index))


def make(folder):
    bundle = Bundle(folder)
    for part in (dtypes, views, containers, special, protocols, archives, odd_archives):
        part(bundle)
    digests.write(folder / "expected.json", {"torch": torch.__version__, "tensors": bundle.tensors})


# --- values -----------------------------------------------------------------------------------------------------------


def every_dtype():
    table = {}
    for name in "float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz".split():
        table[name] = torch.randn(3, 5).to(getattr(torch, name))
    for name in "int64 int32 int16 int8 uint8 uint16 uint32 uint64".split():
        table[name] = torch.randint(0, 100, (3, 5)).to(getattr(torch, name))
    for name in "complex64 complex128 complex32".split():
        table[name] = torch.randn(3, 5, dtype=torch.complex64).to(getattr(torch, name))
    table["bool"] = torch.rand(3, 5) > 0.5
    # No conversion reaches these; their bytes are given.
    table["float8_e8m0fnu"] = torch.arange(120, 135, dtype=torch.uint8).reshape(3, 5).view(torch.float8_e8m0fnu)
    table["float4_e2m1fn_x2"] = torch.arange(15, dtype=torch.uint8).reshape(3, 5).view(torch.float4_e2m1fn_x2)
    table["bits8"] = torch.arange(15, dtype=torch.uint8).reshape(3, 5).view(torch.bits8)
    table["scalar"] = torch.tensor(1.5)
    table["empty"] = torch.empty(0, 4)
    return table


def dtypes(bundle):
    bundle.save("dtypes.pt", every_dtype())
    # Dtypes that hardly any checkpoint has, and no other format.
    raw = torch.arange(16, dtype=torch.uint8).view(4, 4)
    names = ("bits1x8", "bits2x4", "bits4x2", "bits16", "bcomplex32")
    bundle.save("rare_dtypes.pt", {name: raw.view(getattr(torch, name)) for name in names})


def views(bundle):
    base = torch.arange(24, dtype=torch.float32)
    bundle.save(
        "views.pt",
        collections.OrderedDict(
            base=base,
            transposed=base.view(4, 6).t(),
            slice=base[5:9],
            every_third=base[::3],
            expanded=base[2:3].expand(4),
            expanded_rows=base[:3].expand(2, 3),
            permuted=base.view(2, 3, 4).permute(2, 0, 1),
            diagonal=base[:16].view(4, 4).diagonal(),
            small_of_large=torch.arange(1000, dtype=torch.int16)[10:12],
            column_bf16=torch.randn(5, 3).bfloat16()[:, 1],
            # uint16 goes through the newer rebuild function, where the storage counts bytes and the view elements.
            slice_u16=torch.arange(12, dtype=torch.int32).to(torch.uint16)[7:10],
            transposed_u32=torch.arange(6, dtype=torch.int64).to(torch.uint32).view(2, 3).t(),
            empty_at_end=base[24:],
        ),
    )
    tied = torch.randn(8, 4)
    names = {"embed.weight": tied, "head.weight": tied, "copy.weight": tied.clone()}
    bundle.save("tied.pt", collections.OrderedDict(names))
    # Conjugation and negation are flags on the tensor; the bytes on disk are those before them.
    lazy = torch.randn(4, dtype=torch.complex64).conj()
    bundle.save("lazy_bits.pt", {"conj": lazy, "neg": torch.randn(4, dtype=torch.complex64).conj().imag})


class Unheard(dict):
    """A class that no reader knows; its items are reachable all the same."""


class Holder:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Tagged(torch.Tensor):
    """A tensor subclass: saved through _rebuild_from_type_v2."""


def containers(bundle):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    # The state dict of a module is an OrderedDict that carries _metadata as an attribute, not as an item.
    bundle.save("module_state.pt", net.state_dict())
    bundle.save(
        "parameters.pt",
        {"weight": torch.nn.Parameter(torch.randn(2, 3)), "frozen": torch.nn.Parameter(torch.randn(3), requires_grad=False)},
    )

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    state = {
        "model": {name: tensor.detach().clone() for name, tensor in net.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "global_step": 1200,
        "loss": 0.25,
        "best": None,
        "tags": ("a", "b"),
        "flag": True,
        "large": 2**70,
        "negative": -5,
        "bytes": b"\x00\xff",
        "text": "h\u00e9 \U0001f600",
        "set": {1},
        "shape": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "layers": [{"w": torch.ones(2)}, {"w": torch.zeros(2)}],
    }
    bundle.save("training_state.pt", state)

    module_name = __name__
    try:
        # The pickle must name classes that exist nowhere, so they borrow another module's name while they are saved.
        for cls in (Unheard, Holder):
            cls.__module__ = "a_project.that_is_not_installed"
        fake = type(sys)("a_project.that_is_not_installed")
        fake.Unheard, fake.Holder = Unheard, Holder
        sys.modules["a_project"] = type(sys)("a_project")
        sys.modules["a_project.that_is_not_installed"] = fake
        weights = torch.arange(4.0)
        torch.save(
            {
                "weight": weights,
                "args": argparse.Namespace(lr=1e-3, name="run"),
                "config": Holder(depth=2, inner=Holder(width=3)),
                "extra": Unheard(a=1),
            },
            bundle.folder / "unknown_classes.pt",
        )
        bundle.record("unknown_classes.pt", {"weight": weights})
    finally:
        for cls in (Unheard, Holder):
            cls.__module__ = module_name
        del sys.modules["a_project"], sys.modules["a_project.that_is_not_installed"]

    torch.save(
        {
            "weight": torch.arange(3.0),
            "state": ("MT19937", numpy.arange(5, dtype=numpy.uint32), 5, 0, 0.0),
            "scalar": numpy.float64(1.25),
            "array": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        },
        bundle.folder / "numpy_inside.pt",
    )
    bundle.record("numpy_inside.pt", {"weight": torch.arange(3.0)})

    tagged = torch.arange(2.0).as_subclass(Tagged)
    tagged.note = "carried along"
    attributed = torch.arange(3.0)
    attributed.note = "a plain tensor with an attribute"
    torch.save({"tagged": tagged, "attributed": attributed}, bundle.folder / "subclass.pt")
    bundle.record("subclass.pt", {"tagged": tagged.as_subclass(torch.Tensor), "attributed": attributed})

    stated = torch.nn.Parameter(torch.arange(2.0))
    stated.note = "a parameter with an attribute"
    bundle.save("parameter_with_state.pt", {"stated": stated})

    torch.save(net, bundle.folder / "whole_module.pt")
    torch.save(
        {"untyped": torch.arange(4, dtype=torch.uint8).untyped_storage(), "weight": torch.ones(2)},
        bundle.folder / "bare_storage.pt",
    )
    bundle.record("bare_storage.pt", {"weight": torch.ones(2)})

    # Meta's Llama 4 files hold such streams beside the weights.
    bundle.save("bytesio_inside.pt", {"weight": torch.arange(2.0), "_extra_state": io.BytesIO(b"\x01\x02\x03")})


# --- tensors that are more, or less, than strided bytes ---------------------------------------------------------------


def special(bundle):
    quantized = {
        "per_tensor": torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 3, torch.qint8),
        "per_tensor_u8": torch.quantize_per_tensor(torch.randn(2, 2), 0.1, 3, torch.quint8),
        "per_tensor_i32": torch.quantize_per_tensor(torch.randn(2, 2), 0.1, 0, torch.qint32),
        "per_channel": torch.quantize_per_channel(
            torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2]), 0, torch.qint8
        ),
    }
    torch.save(quantized, bundle.folder / "quantized.pt")
    bundle.tensors += [
        digests.entry(name, tensor, file="quantized.pt", note="stored integers") for name, tensor in quantized.items()
    ]

    where = torch.tensor([[0, 1, 1], [2, 0, 2]])
    coo = torch.sparse_coo_tensor(where, torch.tensor([3.0, 4.0, 5.0]), (2, 3)).coalesce()
    csr = torch.tensor([[0, 0, 3.0], [4, 0, 5]]).to_sparse_csr()
    torch.save({"coo": coo, "csr": csr, "dense": torch.ones(2)}, bundle.folder / "sparse.pt")
    for name, tensor in (
        ("coo::indices", coo.indices()),
        ("coo::values", coo.values()),
        ("csr::crow_indices", csr.crow_indices()),
        ("csr::col_indices", csr.col_indices()),
        ("csr::values", csr.values()),
        ("dense", torch.ones(2)),
    ):
        part = {"part_of": name.split("::")[0]} if "::" in name else {}
        bundle.tensors.append(digests.entry(name, tensor, file="sparse.pt", **part))

    blocks = torch.arange(16.0).view(4, 4)
    torch.save(
        {"csc": csr.to_dense().to_sparse_csc(), "bsr": blocks.to_sparse_bsr((2, 2)), "bsc": blocks.to_sparse_bsc((2, 2))},
        bundle.folder / "sparse_blocks.pt",
    )
    torch.save(
        {"nested": torch.nested.nested_tensor([torch.arange(2.0), torch.arange(3.0)]), "dense": torch.ones(2)},
        bundle.folder / "nested.pt",
    )
    bundle.record("nested.pt", {"dense": torch.ones(2)})

    meta = torch.empty(3, 4, device="meta")
    torch.save({"weight": torch.ones(2), "absent": meta}, bundle.folder / "meta.pt")
    bundle.record("meta.pt", {"weight": torch.ones(2)})
    absent = {"name": "absent", "dtype": "F32", "shape": [3, 4], "sha256": None, "file": "meta.pt", "note": "no data"}
    bundle.tensors.append(absent)

    with torch.serialization.skip_data():
        torch.save(small(), bundle.folder / "skipped_data.pt")
    bundle.record("skipped_data.pt", {name: torch.zeros_like(t) for name, t in small().items()}, note="holes of zeros")


def small():
    return {"a": torch.arange(10.0), "b": torch.arange(3)}


def protocols(bundle):
    for protocol in (2, 3, 4, 5):
        value = {"state": collections.OrderedDict(a=torch.arange(6.0).view(2, 3), n=torch.arange(3)), "note": "x" * 300}
        bundle.save(f"protocol{protocol}.pt", value, pickle_protocol=protocol)


# --- archives ---------------------------------------------------------------------------------------------------------


def archives(bundle):
    bundle.save("no_byteorder.pt", small(), _disable_byteorder_record=True)

    config.save.storage_alignment = 4096
    bundle.save("aligned_4096.pt", small())
    config.save.storage_alignment = 64

    torch.serialization.set_crc32_options(False)
    bundle.save("no_crc.pt", small())
    torch.serialization.set_crc32_options(True)

    # The format before torch 1.6: no archive at all, and storages named by their address, so no two runs agree.
    torch.save(small(), bundle.folder / "legacy.pt", _use_new_zipfile_serialization=False)
    bundle.record("legacy.pt", small(), note="not an archive")

    # Saved to a stream, the folder inside the archive is called `archive` and not after the file.
    stream = io.BytesIO()
    torch.save(small(), stream)
    (bundle.folder / "from_stream.pt").write_bytes(stream.getvalue())
    bundle.record("from_stream.pt", small())


def records(data):
    """A torch archive's records in order, by name without the root folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename.split("/", 1)[1]: stored(data, info) for info in archive.infolist()}


def stored(data, info):
    # Local headers of torch leave sizes to the data descriptor, so the length is the directory's.
    names, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
    start = info.header_offset + 30 + names + extra
    return data[start : start + info.file_size]


def repack(path, parts, method=zipfile.ZIP_STORED, root="archive", large=False):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in parts.items():
            # A fixed date, and zip64 fields where they are asked for: Python writes them at any size.
            info = zipfile.ZipInfo(f"{root}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            with archive.open(info, "w", force_zip64=large) as record:
                record.write(data)


def odd_archives(bundle):
    """Re-packed by hand; verdicts.json says what torch itself makes of each, mapped and not."""
    value = {
        "a": torch.arange(10.0),
        "b": torch.arange(3),
        "c": torch.tensor([1 + 2j, 3 - 4j]),
        "h": torch.arange(4, dtype=torch.bfloat16),
        "u": torch.arange(300, 303).to(torch.uint16),
    }
    stream = io.BytesIO()
    torch.save(value, stream)
    data = stream.getvalue()
    parts = records(data)
    folder = bundle.folder / "odd"
    folder.mkdir()

    repack(folder / "deflated.pt", parts, zipfile.ZIP_DEFLATED)
    repack(folder / "unaligned.pt", parts)
    repack(folder / "zip64.pt", parts, large=True)
    repack(folder / "renamed_root.pt", parts, root="my model (1)")
    swapped = dict(parts, byteorder=b"big")
    for index, width in enumerate((4, 8, 4, 2, 2)):
        swapped[f"data/{index}"] = numpy.frombuffer(parts[f"data/{index}"], f"<u{width}").byteswap().tobytes()
    repack(folder / "big_endian.pt", swapped)
    repack(folder / "no_version.pt", {name: part for name, part in parts.items() if name != "version"})
    repack(folder / "missing_storage.pt", {name: part for name, part in parts.items() if name != "data/1"})
    repack(folder / "short_storage.pt", dict(parts, **{"data/0": parts["data/0"][:-4]}))
    repack(folder / "long_storage.pt", dict(parts, **{"data/0": parts["data/0"] + bytes(8)}))
    (folder / "truncated.pt").write_bytes(data[:-100])
    (folder / "leading_bytes.pt").write_bytes(bytes(64) + data)
    (folder / "trailing_bytes.pt").write_bytes(data + bytes(64))
    flip = data.index(parts["data/0"]) + 5
    (folder / "flipped_bit.pt").write_bytes(data[:flip] + bytes([data[flip] ^ 1]) + data[flip + 1 :])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "nuls.pt").write_bytes(bytes(4096))

    verdicts = {}
    for path in sorted(folder.glob("*.pt")):
        verdicts[path.name] = {"load": verdict(path, value), "mmap": verdict(path, value, mmap=True)}
    digests.write(
        folder / "expected.json", {"verdict_of_torch": verdicts, "tensors": [digests.entry(name, t) for name, t in value.items()]}
    )


def verdict(path, value, **options):
    try:
        loaded = torch.load(path, weights_only=True, **options)
    except Exception as error:
        return {"loads": False, "error": type(error).__name__}
    wrong = [name for name in value if not torch.equal(loaded[name], value[name])]
    return {"loads": True, "wrong": wrong}
