"""Checkpoints of torch.distributed: what several ranks save together, over gloo on one machine."""

import os
import pathlib

import digests
import torch
import torch.distributed as distributed
import torch.distributed.checkpoint as checkpoint
import torch.multiprocessing as multiprocessing
from torch.distributed.checkpoint import filesystem
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

RANKS = 4
PORT = "29571"


def whole():
    """The values before they are cut: rows that do not divide by the ranks, fewer rows than ranks, two ways at once."""
    generator = torch.Generator().manual_seed(7)
    random = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {
        "rows": random(7, 6),
        "columns": random(6, 7).to(torch.bfloat16),
        "both": random(10, 6),
        "copies": random(5),
        "few": random(2, 3),
        "bytes": torch.randint(0, 255, (8, 4), generator=generator, dtype=torch.uint8),
    }


def cut(mesh, grid):
    """The same values, each rank holding its part."""
    ways = {
        "rows": (mesh, [Shard(0)]),
        "columns": (mesh, [Shard(1)]),
        "both": (grid, [Shard(0), Shard(1)]),
        "copies": (mesh, [Replicate()]),
        "few": (mesh, [Shard(0)]),
        "bytes": (mesh, [Shard(0)]),
    }
    return {name: distribute_tensor(value, *ways[name]) for name, value in whole().items()}


def rank(number, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=PORT, RANK=str(number), WORLD_SIZE=str(RANKS))
    torch.set_num_threads(1)
    # A save's number is random and would be another one each time; the folder's path would be that of this machine.
    filesystem._generate_uuid = lambda: "0" * 36
    os.chdir(folder)
    distributed.init_process_group("gloo", rank=number, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    grid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = cut(mesh, grid)
    state = {
        "app": {"model": model, "optim": {"state": {"rows": {"exp_avg": model["rows"], "step": torch.tensor(3.0)}}}},
        "step": 12,
        "settings": {"lr": 1e-3, "name": "run"},
    }
    checkpoint.save(state, checkpoint_id="ranks")
    writer = filesystem.FileSystemWriter("threads", thread_count=2)
    checkpoint.save({"model": model}, storage_writer=writer)
    writer = filesystem.FileSystemWriter("items", single_file_per_rank=False)
    checkpoint.save({"model": model}, storage_writer=writer)
    checkpoint.save({"model": model}, checkpoint_id="each-rank", use_collectives=False)
    kind = filesystem.SerializationFormat.SAFETENSORS
    writer = filesystem.FileSystemWriter("safetensors", serialization_format=kind)
    checkpoint.save({"rows": model["rows"]}, storage_writer=writer)
    named = {name: model[name] for name in ("rows", "columns", "few", "copies")}
    writer = checkpoint.HuggingFaceStorageWriter(path="hf-shards", save_distributed=True)
    checkpoint.save(named, storage_writer=writer)
    pathlib.Path("dtensor").mkdir(exist_ok=True)
    distributed.barrier()
    if number == 2:
        torch.save({"rows": model["rows"], "copies": model["copies"]}, "dtensor/rank2.pt")
        values = {"rows": model["rows"].to_local(), "copies": model["copies"].to_local()}
        entries = [digests.entry(name, value, file="dtensor/rank2.pt") for name, value in values.items()]
        digests.write(pathlib.Path("dtensor.json"), entries)
    distributed.destroy_process_group()


def make(folder):
    import json

    multiprocessing.spawn(rank, args=(str(folder),), nprocs=RANKS)
    here = os.getcwd()
    os.chdir(folder)
    filesystem._generate_uuid = lambda: "0" * 36
    odd = {
        "view": torch.arange(20.0).view(4, 5)[:, 1:3],
        "channels": torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3).to(torch.float8_e4m3fn),
    }
    checkpoint.save(odd, checkpoint_id="alone", no_dist=True)
    os.chdir(here)

    values = whole()
    entry = digests.entry
    model = lambda prefix, file: [entry(prefix + name, value, file=file) for name, value in values.items()]  # noqa: E731
    optimizer = [
        entry("app.optim.state.rows.exp_avg", values["rows"], file="ranks"),
        entry("app.optim.state.rows.step", torch.tensor(3.0), file="ranks"),
    ]
    tensors = model("app.model.", "ranks") + optimizer
    for file in ("threads", "items", "each-rank"):
        tensors += model("model.", file)
    tensors += [entry("rows", values["rows"], file="safetensors")]
    tensors += [entry(name, values[name], file="hf-shards") for name in ("rows", "columns", "few", "copies")]
    tensors += [entry(name, value, file="alone") for name, value in odd.items()]
    told = folder / "dtensor.json"
    tensors += json.loads(told.read_text())
    told.unlink()
    digests.write(folder / "expected.json", {"torch": torch.__version__, "tensors": tensors})
