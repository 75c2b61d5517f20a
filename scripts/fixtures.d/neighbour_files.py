"""Files of other frameworks: numpy's arrays, Flax's msgpack, NeMo's tars, torch's exported programs and its tar of 2016."""

import argparse
import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile

import digests
import numpy
import torch
from safetensors.torch import save_file

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128".split()


def of(array):
    """The same values as torch has them, in this machine's byte order."""
    return torch.from_numpy(numpy.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")).copy()).reshape(array.shape)


class Bundle:
    def __init__(self, folder):
        self.folder, self.tensors = folder, []
        self.random = numpy.random.default_rng(5)

    def path(self, file):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def record(self, file, table):
        for name, value in table.items():
            value = value if isinstance(value, torch.Tensor) else of(value)
            self.tensors.append(digests.entry(name, value, file=file))

    def floats(self, *shape):
        return self.random.standard_normal(shape).astype("f4")


def make(folder):
    bundle = Bundle(folder)
    for part in (arrays, archives, mlx, flax, onnx, nemo, nemo_of_ranks, megatron, megatron_experts, wrapped, exported, scripted, tar_of_2016, refused):
        part(bundle)
    digests.write(folder / "expected.json", {"torch": torch.__version__, "numpy": numpy.__version__, "tensors": bundle.tensors})


# --- numpy ------------------------------------------------------------------------------------------------------------


def arrays(bundle):
    w = bundle.floats(3, 4)
    table = {"plain": w, "columns": numpy.asfortranarray(w), "swapped": w.astype(">f4"), "scalar": numpy.float64(2.5)}
    table["cube"] = numpy.asfortranarray(bundle.random.integers(0, 9, (2, 3, 4), dtype="i2")).astype(">i2", order="K")
    table["nothing"] = numpy.zeros((0, 3), order="F")
    for name, array in table.items():
        numpy.save(bundle.path(f"numpy/{name}.npy"), array)
        bundle.record(f"numpy/{name}.npy", {name: numpy.asarray(array)})
    with open(bundle.path("numpy/version2.npy"), "wb") as file:
        numpy.lib.format.write_array(file, w, version=(2, 0))
    bundle.record("numpy/version2.npy", {"version2": w})


def archives(bundle):
    table = {name: bundle.random.integers(0, 2, (2, 3)).astype(name) for name in DTYPES}
    table["layers.0.weight"] = numpy.asfortranarray(bundle.floats(4, 3))
    table["big"] = bundle.floats(5).astype(">f4")
    table["scalar"] = numpy.int64(7)
    # ml_dtypes' bfloat16 is saved as raw bytes.
    half = torch.randn(2, 3).to(torch.bfloat16)
    raw = half.view(torch.int16).numpy().view("V2")
    others = {"names": numpy.array(["a", "bc"]), "settings": numpy.array({"lr": 1e-3}, dtype=object)}
    numpy.savez(bundle.path("numpy/dtypes.npz"), bfloat16=raw, **table, **others)
    numpy.savez_compressed(bundle.path("numpy/packed.npz"), bfloat16=raw, **table)
    table = {name: numpy.asarray(array) for name, array in table.items()}
    for file in ("numpy/dtypes.npz", "numpy/packed.npz"):
        bundle.record(file, table)
        bundle.record(file, {"bfloat16": half})


def mlx(bundle):
    w = bundle.floats(2, 8)
    save_file({"w": of(w)}, bundle.path("mlx/weights.safetensors"), {"format": "mlx"})
    numpy.savez(bundle.path("mlx/weights.npz"), w=w)
    for file in ("mlx/weights.safetensors", "mlx/weights.npz"):
        bundle.record(file, {"w": w})


# --- Flax -------------------------------------------------------------------------------------------------------------


def pack(value):
    """msgpack of what Flax hands to it (`flax/serialization.py`): arrays are extension 1, a list of shape, dtype and bytes."""
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        count = len(value)
        return (bytes([0x80 | count]) if count < 16 else struct.pack(">BH", 0xDE, count)) + items
    if isinstance(value, (list, tuple)):
        return bytes([0x90 | len(value)]) + b"".join(map(pack, value))
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else struct.pack(">BI", 0xCE, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else struct.pack(">BB", 0xD9, len(data))) + data
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, numpy.ndarray):
        value = of(value)
    name = str(value.dtype).removeprefix("torch.")
    data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    inner = pack([list(value.shape), name, data])
    return struct.pack(">BIb", 0xC9, len(inner), 1) + inner


def chunked(array, size):
    """What Flax makes of an array that is larger than a gigabyte; here than `size` elements."""
    flat = array.reshape(-1)
    numbered = lambda items: {str(index): item for index, item in enumerate(items)}  # noqa: E731
    chunks = [flat[start : start + size] for start in range(0, flat.size, size)]
    return {"__msgpack_chunked_array__": True, "shape": numbered(array.shape), "chunks": numbered(chunks)}


def flax(bundle):
    table = {"params.dense.kernel": bundle.floats(3, 4), "params.dense.bias": bundle.floats(4), "opt_state.0.count": numpy.int32(3)}
    table = {name: of(numpy.asarray(array)) for name, array in table.items()}
    table["params.norm.scale"] = torch.randn(4).to(torch.bfloat16)
    table["params.embed"] = torch.randn(5, 3)
    tree = {
        "step": 300,
        "params": {
            "dense": {"kernel": table["params.dense.kernel"], "bias": table["params.dense.bias"]},
            "norm": {"scale": table["params.norm.scale"]},
            "embed": chunked(table["params.embed"].numpy(), 6),
        },
        "opt_state": {"0": {"count": table["opt_state.0.count"]}, "1": {}},
        "rate": 0.5,
        "name": "a run",
    }
    bundle.path("flax/model.msgpack").write_bytes(pack(tree))
    bundle.record("flax/model.msgpack", table)


# --- ONNX -------------------------------------------------------------------------------------------------------------


def varint(number):
    """A number as Protocol Buffers write it; a negative one has ten bytes."""
    number &= 2**64 - 1
    low, rest = number & 0x7F, number >> 7
    return bytes([low]) if rest == 0 else bytes([low | 0x80]) + varint(rest)


def message(*fields):
    """Fields by number: text and bytes with their length, numbers as varints."""
    whole = b""
    for number, value in fields:
        value = value.encode() if isinstance(value, str) else value
        data = varint(value) if isinstance(value, int) else varint(len(value)) + value
        whole += varint(number << 3 | (0 if isinstance(value, int) else 2)) + data
    return whole


def onnx(bundle):
    """The bytes that onnx.save writes for a graph with weights of all the ways it has to hold values (`onnx.proto`)."""
    w, bias = bundle.floats(3, 4), numpy.arange(-2, 2)
    half = torch.randn(2, 2).to(torch.bfloat16)
    table = {"w": of(w), "bias": of(bias), "typed": of(w[0]), "half": half, "one": torch.tensor(2.5, dtype=torch.float64)}
    table["bytes"] = torch.tensor([1, 200, 3], dtype=torch.uint8)
    sizes = lambda shape: b"".join(map(varint, shape))  # noqa: E731
    initializers = [
        message((1, sizes((3, 4))), (2, 1), (8, "w"), (9, w.tobytes())),
        message((1, 4), (2, 7), (7, b"".join(map(varint, map(int, bias)))), (8, "bias")),
        message((1, 4), (2, 1), (4, w[0].tobytes()), (8, "typed")),
        message((1, sizes((2, 2))), (2, 16), (5, b"".join(varint(int(x) & 0xFFFF) for x in half.view(torch.int16).reshape(-1))), (8, "half")),
        message((2, 11), (8, "one"), (10, struct.pack("<d", 2.5))),
        message((1, 3), (2, 2), (5, b"".join(map(varint, (1, 200, 3)))), (8, "bytes")),
    ]
    model = lambda *tensors: message((1, 10), (2, "by hand"), (7, message((2, "g"), *((5, tensor) for tensor in tensors))), (8, message((2, 21))))  # noqa: E731
    bundle.path("onnx/model.onnx").write_bytes(model(*initializers))
    bundle.record("onnx/model.onnx", table)
    # Values in a file beside the model: with all that may be said of their place, and with nothing but its name.
    entry = lambda key, value: (13, message((1, key), (2, str(value))))  # noqa: E731
    values = b"before" + w.tobytes() + half.view(torch.uint8).numpy().tobytes()
    place = (entry("location", "external.onnx.data"), entry("offset", 6), entry("length", w.nbytes), entry("checksum", "none"))
    outside = [
        message((1, sizes((3, 4))), (2, 1), (8, "w"), *place, (14, 1)),
        message((1, sizes((2, 2))), (2, 16), (8, "half"), entry("location", "external.onnx.data"), entry("offset", 6 + w.nbytes), (14, 1)),
        message((1, 4), (2, 1), (8, "whole"), entry("location", "values/whole.bin"), (14, 1)),
    ]
    bundle.path("onnx-external/external.onnx").write_bytes(model(*outside, initializers[1]))
    bundle.path("onnx-external/external.onnx.data").write_bytes(values)
    bundle.path("onnx-external/values/whole.bin").write_bytes(w[1].tobytes())
    for path in ("onnx-external/external.onnx", "onnx-external"):
        bundle.record(path, {"w": of(w), "half": half, "whole": of(w[1]), "bias": of(bias)})
    for name, location in (("absent", "w.data"), ("outside", "../numpy/plain.npy")):
        tensor = message((1, 4), (2, 1), (8, "w"), entry("location", location), (14, 1))
        bundle.path(f"refused/{name}.onnx").write_bytes(model(tensor))


# --- tars -------------------------------------------------------------------------------------------------------------


def tar(path, members, mode="w:"):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    # Two blocks of zeros end a tar; Python fills a record of twenty.
    data = whole.getvalue()
    path.write_bytes(data.rstrip(b"\0") + bytes(1024 + -len(data.rstrip(b"\0")) % 512) if mode == "w:" else data)


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def nemo(bundle):
    table = {"model.embedding.weight": torch.randn(4, 3), "model.output.bias": torch.arange(4.0).to(torch.bfloat16)}
    config = b"target: nemo.collections.nlp.models.Some\nhidden_size: 3\ntokenizer:\n  library: megatron\n"
    members = {"./model_config.yaml": config, "./model_weights.ckpt": saved(table), "./tokenizer.model": b"words"}
    tar(bundle.path("nemo/model.nemo"), members)
    bundle.record("nemo/model.nemo", table)


# How tensor-parallel ranks share a tensor, by a part of its name (megatron-core); what is not here each has whole.
ROWS, COLUMNS, GATED = ("word_embeddings", "linear_qkv", "output_layer"), ("linear_proj", "linear_fc2"), ("linear_fc1",)


def cut(name, tensor, rank):
    """What one of two tensor-parallel ranks has of a tensor."""
    if any(word in name for word in ROWS):
        return tensor.chunk(2, 0)[rank].clone()
    if any(word in name for word in COLUMNS):
        return tensor.chunk(2, 1)[rank].clone()
    if any(word in name for word in GATED):
        return torch.cat([half.chunk(2, 0)[rank] for half in tensor.chunk(2, 0)])
    return tensor.clone()


def nemo_of_ranks(bundle):
    """NeMo's archive of two tensor-parallel ranks: a folder with weights of its own for each."""
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.randn(*shape, generator=generator).to(torch.bfloat16)  # noqa: E731
    at = "model.decoder.layers.0."
    table = {
        "model.embedding.word_embeddings.weight": random(8, 4),
        at + "input_layernorm.weight": random(4),
        at + "self_attention.linear_qkv.weight": random(12, 4),
        at + "self_attention.linear_proj.weight": random(4, 4),
        at + "mlp.linear_fc1.weight": random(12, 4),
        at + "mlp.linear_fc2.weight": random(4, 6),
    }
    config = b"target: nemo.collections.nlp.models.Some\ntensor_model_parallel_size: 2\npipeline_model_parallel_size: 1\n"
    members = {"./model_config.yaml": config}
    for rank in range(2):
        members[f"./mp_rank_{rank:02d}/model_weights.ckpt"] = saved({name: cut(name, tensor, rank) for name, tensor in table.items()})
    tar(bundle.path("nemo/ranks.nemo"), members)
    bundle.record("nemo/ranks.nemo", {name.removeprefix("model."): tensor for name, tensor in table.items()})
    del members["./mp_rank_01/model_weights.ckpt"]
    tar(bundle.path("refused/one_of_two.nemo"), members)


def megatron(bundle):
    """What two ranks of tensor by two of pipeline parallelism save, two layers a stage, in the layout of megatron-core."""
    layers, width, inner, vocabulary = 4, 8, 12, 16
    table = {"embedding.word_embeddings.weight": torch.randn(vocabulary, width)}
    for layer in range(layers):
        at = f"decoder.layers.{layer}."
        table[at + "input_layernorm.weight"] = torch.randn(width)
        table[at + "self_attention.linear_qkv.weight"] = torch.randn(2 * width, width)
        table[at + "self_attention.linear_qkv.bias"] = torch.randn(2 * width)
        table[at + "self_attention.linear_proj.weight"] = torch.randn(width, width)
        table[at + "pre_mlp_layernorm.weight"] = torch.randn(width)
        table[at + "mlp.linear_fc1.weight"] = torch.randn(2 * inner, width)
        table[at + "mlp.linear_fc2.weight"] = torch.randn(width, inner)
    table["decoder.final_layernorm.weight"] = torch.randn(width)
    table["output_layer.weight"] = torch.randn(vocabulary, width)
    table = {name: tensor.to(torch.bfloat16) for name, tensor in table.items()}

    arguments = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "num_layers": layers, "swiglu": True}
    bundle.path("megatron/latest_checkpointed_iteration.txt").write_text("7")
    for stage in range(2):
        for rank in range(2):
            model = {}
            for name, tensor in table.items():
                if "layers." in name:
                    _, _, number, rest = name.split(".", 3)
                    if int(number) // 2 == stage:
                        model[f"decoder.layers.{int(number) % 2}.{rest}"] = cut(name, tensor, rank)
                        model[f"decoder.layers.{int(number) % 2}.mlp.linear_fc1._extra_state"] = None
                elif (stage == 0) == name.startswith("embedding"):
                    model[name] = cut(name, tensor, rank)
            state = {"args": argparse.Namespace(**arguments), "checkpoint_version": 3.0, "iteration": 7, "model": model}
            state["rng_state"] = [{"torch_rng_state": torch.arange(16, dtype=torch.uint8)}]
            file = f"megatron/iter_0000007/mp_rank_{rank:02d}_{stage:03d}/model_optim_rng.pt"
            torch.save(state, bundle.path(file))
    bundle.record("megatron", table)


def megatron_experts(bundle):
    """Two ranks of tensor by two of expert parallelism, and no pipeline: the second number of a folder is that of the experts."""
    generator = torch.Generator().manual_seed(6)
    random = lambda *shape: torch.randn(*shape, generator=generator).to(torch.bfloat16)  # noqa: E731
    at, each = "decoder.layers.0.", 2
    whole = {
        "embedding.word_embeddings.weight": random(8, 4),
        at + "self_attention.linear_qkv.weight": random(12, 4),
        at + "mlp.router.weight": random(4, 4),
        at + "mlp.shared_experts.linear_fc1.weight": random(8, 4),
        at + "mlp.shared_experts.linear_fc2.weight": random(4, 4),
    }
    experts = [{"linear_fc1.weight": random(12, 4), "linear_fc2.weight": random(4, 6)} for _ in range(4)]
    sizes = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 1, "expert_model_parallel_size": 2}
    for rank in range(2):
        for share in range(2):
            model = {name: cut(name, tensor, rank) for name, tensor in whole.items()}
            for number, expert in enumerate(experts[share * each :][:each]):
                for name, tensor in expert.items():
                    model[f"{at}mlp.experts.local_experts.{number}.{name}"] = cut(name, tensor, rank)
            state = {"args": argparse.Namespace(**sizes), "checkpoint_version": 3.0, "iteration": 3, "model": model}
            torch.save(state, bundle.path(f"megatron-experts/mp_rank_{rank:02d}_{share:03d}/model_optim_rng.pt"))
    numbered = enumerate(experts)
    own = {f"{at}mlp.experts.local_experts.{number}.{name}": tensor for number, expert in numbered for name, tensor in expert.items()}
    bundle.record("megatron-experts", whole | own)


def parts():
    """Values before they are cut over ranks: rows that do not divide, fewer rows than ranks, columns, copies."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"rows": (7, 4), "few": (2, 3), "columns": (3, 6), "copies": (5,), "plain": (2,)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def rank(number, count, folder):
    import os

    import torch.distributed as distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29583", RANK=str(number), WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=number, world_size=count)
    mesh = init_device_mesh("cpu", (count,))
    ways = {"rows": Shard(0), "few": Shard(0), "columns": Shard(1), "copies": Replicate()}
    table = parts()
    state = {name: distribute_tensor(table[name], mesh, [way]) for name, way in ways.items()}
    torch.save({"model": state | {"plain": table["plain"]}, "step": 5}, f"{folder}/rank_{number}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def wrapped(bundle):
    """What each of three ranks saves by `torch.save` of its `DTensor`s."""
    folder = bundle.path("dtensor/rank_0.pt").parent
    torch.multiprocessing.spawn(rank, args=(3, str(folder)), nprocs=3)
    bundle.record("dtensor", {f"model.{name}": tensor for name, tensor in parts().items()})


def tar_of_2016(bundle):
    """Written by hand after `legacy_load` of torch, which is asked whether it reads the same."""
    weight, bias = torch.arange(12.0).reshape(3, 4), torch.arange(4).to(torch.int32)
    storages, tensors, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pickle.dump(3, storages, 2)
    for key, kind, values in ((11, torch.FloatStorage, weight), (12, torch.IntStorage, bias), (13, torch.ByteStorage, b"")):
        pickle.dump((key, "cpu", kind), storages, 2)
        data = b"" if values == b"" else values.numpy().tobytes()
        storages.write(struct.pack("<q", len(data) // 4) + data)
    pickle.dump([(14, 11, 4, 8)], storages, 2)
    pickle.dump(3, tensors, 2)
    views = [
        (21, 11, torch.FloatTensor, (4, 3), (1, 4), 0),
        (22, 12, torch.IntTensor, (4,), (1,), 0),
        (23, 14, torch.FloatTensor, (2, 2), (2, 1), 3),
    ]
    for key, storage, kind, size, stride, offset in views:
        pickle.dump((key, storage, kind), tensors, 2)
        numbers = [*size, *stride, offset]
        tensors.write(struct.pack(f"<i4x{len(numbers)}q", len(size), *numbers))

    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            return str(value) if isinstance(value, Key) else None

    class Key(int):
        pass

    Writer(pickled, 2).dump({"w": Key(21), "b": Key(22), "part": [Key(23)], "epoch": 3})
    path = bundle.path("torch/tar_of_2016.pt")
    members = {"sys_info": pickle.dumps({"protocol_version": 1000}, 2)}
    members |= {"pickle": pickled.getvalue(), "tensors": tensors.getvalue(), "storages": storages.getvalue()}
    tar(path, members)
    loaded = torch.load(path, weights_only=False)
    wanted = {"w": weight.t(), "b": bias, "part.0": weight.reshape(-1)[7:11].reshape(2, 2)}
    for name, tensor in (("w", loaded["w"]), ("b", loaded["b"]), ("part.0", loaded["part"][0])):
        assert torch.equal(tensor, wanted[name]), name
    bundle.record("torch/tar_of_2016.pt", wanted)


# --- torch.export -----------------------------------------------------------------------------------------------------


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.embed = torch.nn.Embedding(5, 4, dtype=torch.bfloat16)
        self.register_buffer("columns", torch.arange(6.0).reshape(2, 3).t())
        self.tied = self.linear.weight
        self.factors = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, x):
        parts = (self.columns, self.embed.weight.float(), self.tied, self.factors)
        return self.linear(x) + sum(part.sum() for part in parts)


def exported(bundle):
    import warnings

    warnings.simplefilter("ignore")
    program = torch.export.export(Small(), (torch.randn(2, 4),))
    whole = io.BytesIO()
    torch.export.save(program, whole)
    # The sample inputs and the program itself are most of the file and no weights; the id is another one each time.
    path = bundle.path("torch/exported.pt2")
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if not any(part in name for part in ("/models/", "/sample_inputs/", "/serialization_id")):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    bundle.record("torch/exported.pt2", program.state_dict)
    # As torch wrote them until 2.8.
    state = {name: tensor.detach() for name, tensor in program.state_dict.items()}
    with zipfile.ZipFile(bundle.path("torch/exported_2_5.pt2"), "w") as target:
        members = {"version": b"8.2", "serialized_exported_program.json": b"{}", "serialized_state_dict.pt": saved(state)}
        for name, data in members.items():
            target.writestr(zipfile.ZipInfo(name), data)
    bundle.record("torch/exported_2_5.pt2", state)


def scripted(bundle):
    """TorchScript, without the places of its source in this file and without the id, which is another one each time."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2, bias=False).to(torch.bfloat16))
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(model), whole)
    path = bundle.path("torch/scripted.pt")
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if not name.endswith((".debug_pkl", "/serialization_id")):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    bundle.record("torch/scripted.pt", torch.jit.load(path).state_dict())


# --- what is named and not read ---------------------------------------------------------------------------------------


def refused(bundle):
    numpy.save(bundle.path("refused/objects.npy"), numpy.array([{"a": 1}, [2]], dtype=object))
    numpy.save(bundle.path("refused/texts.npy"), numpy.array(["a", "bc"]))
    numpy.save(bundle.path("refused/float8.npy"), numpy.zeros(4, "V1"))
    numpy.savez(bundle.path("refused/objects.npz"), w=bundle.floats(2), parts=numpy.array([bundle.floats(2), None], dtype=object))
    tar(bundle.path("refused/packed.nemo"), {"./model_config.yaml": b"a: 1\n"}, "w:bz2")
    tar(bundle.path("refused/other.tar"), {"notes.txt": b"nothing here"})
    # What is known by its first bytes, or its last: no library here writes these, and nothing else of them is looked at.
    for file, data in {
        "weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(24),
        "manifest.ocdbt": b"\x0c\xdb\x3a\x2a" + bytes(24),
        "model.ckpt.index": bytes(range(1, 40)) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
        "packed.zst": b"\x28\xb5\x2f\xfd" + bytes(range(1, 9)),
        "packed.7z": b"7z\xbc\xaf\x27\x1c" + bytes(range(1, 27)),
        "packed.rar": b"Rar!\x1a\x07\x01\x00" + bytes(range(1, 9)),
    }.items():
        bundle.path(f"refused/{file}").write_bytes(data)
    words = b"weights, packed by hand\n"
    bundle.path("refused/packed.gz").write_bytes(gzip.compress(words, mtime=0))
    bundle.path("refused/packed.bz2").write_bytes(bz2.compress(words))
    bundle.path("refused/packed.xz").write_bytes(lzma.compress(words))
    bundle.path("refused/bare.pkl").write_bytes(pickle.dumps({"step": 3, "rate": 0.5}, 4))
    with zipfile.ZipFile(bundle.path("refused/model.keras"), "w") as archive:
        for name, data in {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
