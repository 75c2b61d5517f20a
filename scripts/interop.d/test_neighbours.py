"""Files of other frameworks, written by the frameworks themselves or by another's encoder: every tensor's digest is that of its values.

Flax is not installed. What it hands to msgpack is built here after `flax/serialization.py` and packed by the msgpack that pip
carries; ONNX is written by torch's own exporter and by the package onnx.
"""

import argparse
import io
import json
import tarfile
import warnings

import numpy
import pytest
import support
import torch
from pip._vendor import msgpack

NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.uint16: "U16", torch.int16: "I16", torch.uint32: "U32",
    torch.int32: "I32", torch.uint64: "U64", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64", torch.complex128: "C128",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
PLAIN = [dtype for dtype in NAMES if not str(dtype).startswith("torch.float8")]
SHAPES = [(), (0, 3), (7,), (3, 5), (2, 3, 4), (1, 2, 1, 3)]


def values(dtype, shape, seed=0):
    """Every bit pattern may occur that is a value of the dtype."""
    generator = torch.Generator().manual_seed(seed + len(shape))
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    size = torch.tensor([], dtype=dtype).element_size()
    count = int(numpy.prod(shape)) * size
    raw = torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape) if count else torch.zeros(shape, dtype=dtype)


def digest(tensor):
    tensor = tensor.detach()
    return support.digest(tensor.reshape(1) if tensor.dim() == 0 else tensor)


def holds(path, table):
    """Our table of the path is this one, and so is what torch loads of it when it is converted."""
    section = support.run("hash", path).document["hash"]
    wanted = {name: (NAMES[tensor.dtype], list(tensor.shape), digest(tensor)) for name, tensor in table.items()}
    assert {t["name"]: (t["dtype"], t["shape"], t["digest"]) for t in section["tensors"]} == wanted
    out = path.with_name(f"{path.name}.converted.pth")
    support.convert(path, "torch", out)
    support.same(torch.load(out, weights_only=True), table)


# --- numpy ------------------------------------------------------------------------------------------------------------


def as_torch(array):
    """The values in this machine's order."""
    return torch.from_numpy(numpy.array(array, order="C", copy=True).astype(array.dtype.newbyteorder("=")))


def arrays():
    for dtype in PLAIN:
        if dtype == torch.bfloat16:
            continue
        for shape in SHAPES:
            array = values(dtype, shape).numpy()
            for order in "CF":
                for end in "<>":
                    name = f"{NAMES[dtype]}-{'x'.join(map(str, shape))}-{order}{'le' if end == '<' else 'be'}"
                    yield name, numpy.array(array.astype(array.dtype.newbyteorder(end)), order=order)


def test_arrays_of_numpy(tmp_path):
    for number, (name, array) in enumerate(arrays()):
        if number % 7 == 0:
            numpy.save(tmp_path / f"{name}.npy", array)
            holds(tmp_path / f"{name}.npy", {name: as_torch(array)})


@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_archives_of_numpy(save, tmp_path):
    table = dict(arrays())
    save(tmp_path / "a.npz", **table)
    holds(tmp_path / "a.npz", {name: as_torch(array) for name, array in table.items()})


# --- Flax -------------------------------------------------------------------------------------------------------------


def plain(leaf):
    """`_msgpack_ext_pack` of Flax: arrays are extension 1, numbers of numpy 3, complex ones of Python 2."""
    if isinstance(leaf, torch.Tensor):
        data = leaf.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        name = str(leaf.dtype).removeprefix("torch.")
        return msgpack.ExtType(1, msgpack.packb((tuple(leaf.shape), name, data), use_bin_type=True))
    if isinstance(leaf, numpy.generic):
        inner = msgpack.packb(((), leaf.dtype.name, leaf.tobytes()), use_bin_type=True)
        return msgpack.ExtType(3, inner)
    if isinstance(leaf, complex):
        return msgpack.ExtType(2, msgpack.packb((leaf.real, leaf.imag)))
    return leaf


def test_trees_of_flax(tmp_path):
    table = {f"params.layer_{number}.{NAMES[dtype]}": values(dtype, SHAPES[number % 5 + 1], number) for number, dtype in enumerate(PLAIN)}
    table["params.large.kernel"] = values(torch.float32, (70000,))
    tree = {"step": 2**40, "rate": 1e-4, "name": "run", "none": None, "pair": complex(1, 2), "count": numpy.int32(7)}
    for name, tensor in table.items():
        *path, last = name.split(".")
        place = tree
        for key in path:
            place = place.setdefault(key, {})
        place[last] = tensor
    # More than fifteen keys, and more than 65535, are written in other ways.
    tree["many"] = {str(number): number for number in range(70000)}
    (tmp_path / "model.msgpack").write_bytes(msgpack.packb(tree, default=plain, strict_types=True))
    section = support.run("hash", tmp_path / "model.msgpack").document["hash"]
    ours = {t["name"]: (t["dtype"], t["shape"], t["digest"]) for t in section["tensors"]}
    # A number of numpy's is an array without dimensions.
    table["count"] = torch.tensor(7, dtype=torch.int32)
    assert ours == {name: (NAMES[tensor.dtype], list(tensor.shape), digest(tensor)) for name, tensor in table.items()}


# --- ONNX -------------------------------------------------------------------------------------------------------------


class Weights(torch.nn.Module):
    """A parameter or buffer of each dtype that the exporter has constants of; all reach the output."""

    DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        for dtype in self.DTYPES:
            value = (torch.randn(3, 4) * 3).to(dtype)
            name = str(dtype).removeprefix("torch.") + "_"
            if dtype.is_floating_point:
                self.register_parameter(name, torch.nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.linear = torch.nn.Linear(4, 2)

    def forward(self, x):
        for name, value in self.state_dict(keep_vars=True).items():
            x = x + value.float().sum() if "linear" not in name else x
        return self.linear(x)


def test_initializers_that_torch_exports(tmp_path, monkeypatch):
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

    # It looks for custom functions with the package onnx, and there are none.
    monkeypatch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda model, _: model)
    model = Weights().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(2, 4),), str(tmp_path / "model.onnx"), dynamo=False, do_constant_folding=False, keep_initializers_as_inputs=True
        )
    holds(tmp_path / "model.onnx", dict(model.state_dict()))


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("threshold", [0, 64])
def test_values_of_onnx_in_other_files(one_file, threshold, tmp_path):
    import onnx

    table = {NAMES[dtype]: values(dtype, (3, 5)) for dtype in PLAIN if dtype not in (torch.bfloat16, torch.bool)}
    table |= {f"layer.{number}": values(torch.float32, (number, 16)) for number in range(1, 5)}
    tensors = [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in table.items()]
    graph = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    folder = tmp_path / "model"
    folder.mkdir()
    where = "weights.bin" if one_file else None
    onnx.save_model(
        onnx.helper.make_model(graph), str(folder / "model.onnx"), save_as_external_data=True,
        all_tensors_to_one_file=one_file, location=where, size_threshold=threshold, convert_attribute=False,
    )  # fmt: skip
    assert len(list(folder.iterdir())) > 1
    holds(folder / "model.onnx", table)
    (folder / "model.onnx.converted.pth").unlink()
    holds(folder, table)


# --- NeMo -------------------------------------------------------------------------------------------------------------


def member(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("zipped", [True, False])
def test_archives_of_nemo(form, zipped, tmp_path):
    table = {f"model.{NAMES[dtype]}.weight": values(dtype, (3, 4)) for dtype in NAMES}
    table["model.view"] = values(torch.float32, (6, 4)).t()[1:3]
    weights = saved(table, _use_new_zipfile_serialization=zipped)
    with tarfile.open(tmp_path / "model.nemo", "w:", format=form) as archive:
        member(archive, "./model_config.yaml", b"target: nemo.Model\nhidden_size: 4\n")
        member(archive, "./" + "a" * 90 + "/tokenizer.vocab", b"words")
        member(archive, "./model_weights.ckpt", weights)
    holds(tmp_path / "model.nemo", table)


@pytest.mark.parametrize(("ranks", "stages"), [(2, 1), (4, 1), (2, 2)])
def test_archives_of_nemo_with_ranks(ranks, stages, tmp_path):
    shapes = {
        "input_layernorm.weight": ((8,), None),
        "self_attention.linear_qkv.weight": ((24, 8), 0),
        "self_attention.linear_proj.weight": ((8, 8), 1),
        "mlp.linear_fc1.weight": ((32, 8), "gated"),
        "mlp.linear_fc2.weight": ((8, 16), 1),
    }

    def part(tensor, way, rank):
        if way == "gated":
            return torch.cat([half.chunk(ranks, 0)[rank] for half in tensor.chunk(2, 0)])
        return tensor if way is None else tensor.chunk(ranks, way)[rank].clone()

    table = {}
    with tarfile.open(tmp_path / "model.nemo", "w:") as archive:
        member(archive, "./model_config.yaml", f"tensor_model_parallel_size: {ranks}\n".encode())
        whole = [{name: values(torch.float32, shape, seed) for name, (shape, _) in shapes.items()} for seed in range(stages)]
        for rank in range(ranks):
            for stage in range(stages):
                state = {f"model.decoder.layers.0.{name}": part(whole[stage][name], way, rank) for name, (_, way) in shapes.items()}
                folder = f"mp_rank_{rank:02d}" + (f"_{stage:03d}" if stages > 1 else "")
                member(archive, f"./{folder}/model_weights.ckpt", saved(state))
    for stage, layer in enumerate(whole):
        table |= {f"decoder.layers.{stage}.{name}": tensor for name, tensor in layer.items()}
    holds(tmp_path / "model.nemo", table)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("ranks", "stages", "shares"), [(1, 1, 2), (2, 1, 2), (2, 2, 4)])
def test_ranks_of_megatron_that_share_experts(grouped, ranks, stages, shares, tmp_path):
    """Experts as modules of their own and as Transformer Engine numbers them; ranks hold them one after the other."""
    arguments = {"tensor_model_parallel_size": ranks, "pipeline_model_parallel_size": stages, "expert_model_parallel_size": shares}
    called = (lambda number, name: f"experts.{name}{number}") if grouped else (lambda number, name: f"experts.local_experts.{number}.{name}")
    each, table = 2, {}
    folder = tmp_path / "iter_0000003"
    for stage in range(stages):
        router = values(torch.float32, (each * shares, 8), stage)
        experts = [(values(torch.float32, (32, 8), 10 * stage + number), values(torch.float32, (8, 16), 10 * stage + number)) for number in range(each * shares)]
        at = f"decoder.layers.{stage}.mlp."
        table[at + "router.weight"] = router
        for number, (into, out) in enumerate(experts):
            table |= {at + called(number, "linear_fc1.weight"): into, at + called(number, "linear_fc2.weight"): out}
        for rank in range(ranks):
            for share in range(shares):
                model = {"decoder.layers.0.mlp.router.weight": router}
                for number in range(each):
                    into, out = experts[share * each + number]
                    into = torch.cat([half.chunk(ranks, 0)[rank] for half in into.chunk(2, 0)])
                    model["decoder.layers.0.mlp." + called(number, "linear_fc1.weight")] = into
                    model["decoder.layers.0.mlp." + called(number, "linear_fc2.weight")] = out.chunk(ranks, 1)[rank].clone()
                state = {"args": argparse.Namespace(**arguments), "iteration": 3, "model": model}
                place = folder / (f"mp_rank_{rank:02d}" + (f"_{stage:03d}" if stages > 1 else "") + f"_{share:03d}")
                place.mkdir(parents=True)
                torch.save(state, place / "model_optim_rng.pt")
    holds(folder, table)


# --- torch ------------------------------------------------------------------------------------------------------------


def views():
    base = values(torch.float32, (8, 6), 3)
    table = {NAMES[dtype]: values(dtype, (3, 4)) for dtype in NAMES}
    return table | {"t": base.t(), "row": base[3], "step": base[1::2, ::3], "spread": base[:, :1].expand(8, 5), "scalar": base[2, 2]}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_before_1_6(protocol, tmp_path):
    table = views()
    torch.save(table, tmp_path / "old.pt", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    holds(tmp_path / "old.pt", table)


def test_tars_of_2016_as_torch_reads_them(fixtures, tmp_path):
    """torch writes them no more: the committed one is held against what torch loads of it."""
    path = tmp_path / "tar_of_2016.pt"
    path.write_bytes((fixtures / "neighbours" / "torch" / "tar_of_2016.pt").read_bytes())
    loaded = torch.load(path, weights_only=False)
    holds(path, {"w": loaded["w"], "b": loaded["b"], "part.0": loaded["part"][0]})


def test_programs_of_torch_jit(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2).to(torch.bfloat16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model), tmp_path / "model.pt")
        holds(tmp_path / "model.pt", dict(torch.jit.load(tmp_path / "model.pt").state_dict()))


def test_programs_of_torch_export(tmp_path):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = Weights()
            self.register_buffer("columns", torch.arange(8.0).reshape(2, 4).t())
            self.tied = self.weights.linear.weight

        def forward(self, x):
            return self.weights(x) + self.columns.sum() + self.tied.sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Model(), (torch.randn(2, 4),))
        torch.export.save(program, tmp_path / "model.pt2")
        loaded = torch.export.load(tmp_path / "model.pt2")
    holds(tmp_path / "model.pt2", dict(loaded.state_dict))
    assert json.loads(support.run("inspect", tmp_path / "model.pt2").out)["inspect"]["formats"] == ["pt2"]
