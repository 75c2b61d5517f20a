"""What trainers save and what is made of it: torch.distributed's store, ZeRO, GGUF, packed weights; and very many files."""

import pathlib
import shutil

import safetensors
from inputs import Failure, size
from parts import ORACLE, Row, document, gigabytes, megabytes, seconds, tool
from timing import in_turns, measure, short, warm

# Targets: times as ratios of one run of the bench, memory in bytes.
FASTER = 5
COPY = 1.3
MEMORY = 200 * 10**6
MANY = 1.0

HERE = pathlib.Path(__file__).resolve().parent


def ours(inputs, source, file, *arguments):
    """A function that converts and removes the result; the last one stays until the next."""

    def once():
        target = inputs.out / file
        target.unlink(missing_ok=True)
        run = measure(tool("convert", source, "--out", target, *arguments), sync=True)
        if document(run.out)["status"] != "ok":
            raise Failure(f"ckpt-convert {source} did not convert: {run.out[:2000]}")
        return run

    return once


def theirs(inputs, environment, kind, source, file, *more):
    def once():
        target = inputs.out / file
        target.unlink(missing_ok=True)
        python = ORACLE / environment / "bin" / "python"
        return measure([python, "-W", "ignore", HERE / "theirs.py", kind, source, target, *more], sync=True)

    return once


def copied(inputs, source):
    """The bytes that come out, written once more."""

    def once():
        target = inputs.out / "copy"
        target.unlink(missing_ok=True)
        run = measure(["cp", "--reflink=never", source, target], sync=True)
        target.unlink()
        return run

    return once


def race(inputs, runs, what, other, ours_once, theirs_once, result, moved=True):
    """Rows of one race: against the other program, against a copy of the result, and the peak memory."""
    inputs.room(5 * size(ours_once[0]))
    warm(ours_once[0])
    first, second = "ckpt-convert", other[0]
    contestants = {first: ours_once[1], second: theirs_once}
    contestants[first]()
    contestants["cp"] = copied(inputs, inputs.out / result)
    results = in_turns(contestants, min(runs, 3))
    mine, their, copy = results[first], results[second], results["cp"]
    faster, ratio = their.seconds / mine.seconds, mine.seconds / copy.seconds
    against = f"{other[1]}: {seconds(their.seconds)}, {megabytes(their.memory)}"
    came = f"`cp` of the {gigabytes(size(inputs.out / result))} that come out, then `sync`: {seconds(copy.seconds)}"
    goal = f"at most {COPY} ×" if moved else ""
    figure = f"{seconds(mine.seconds)}, {megabytes(mine.memory)}"
    return [
        Row(what, figure, against, f"{faster:.1f} times faster", f"at least {FASTER} times", faster >= FASTER),
        Row("", figure, came, f"{ratio:.2f} ×", goal, ratio <= COPY if moved else None),
        Row("its peak memory", megabytes(mine.memory), target=f"under {megabytes(MEMORY)}", met=mine.memory < MEMORY),
    ]


def holds(file, other, names):
    """A race is fair when both arrive at the same place: a few tensors of ours against theirs, to the bit."""
    import torch

    loaded = torch.load(other, mmap=True, weights_only=False)
    if file.suffix == ".safetensors":
        mine = safetensors.safe_open(file, "pt").get_tensor
    else:
        mine = torch.load(file, mmap=True, weights_only=True).__getitem__
    for name, path in names.items():
        value = loaded
        for key in path:
            value = value[key]
        if not torch.equal(mine(name), value):
            raise Failure(f"{name} differs in {file} and {other}")


def dcp(inputs, runs):
    source = inputs.trainer("dcp", 2.6)
    mine = ours(inputs, source, "dcp.safetensors", "--to", "safetensors")
    what = f"`ckpt-convert --to safetensors`, {gigabytes(size(source))} of torch.distributed's store, then `sync`"
    other = ("dcp_to_torch_save", "`dcp_to_torch_save` of torch")
    rows = race(inputs, runs, what, other, (source, mine), theirs(inputs, "base", "dcp", source, "dcp.pt"), "dcp.safetensors")
    names = {f"model.{name}": ("model", name) for name in ("norm.weight", "layers.1.attention.wk.weight")}
    holds(inputs.out / "dcp.safetensors", inputs.out / "dcp.pt", names)
    return rows


def zero(inputs, runs):
    """Both write what `torch.load` reads, the tied head once."""
    source, script = inputs.trainer("zero", 5), inputs.zero_script()
    mine = ours(inputs, source, "zero.pt", "--to", "torch")
    what = f"`ckpt-convert --to torch`, {gigabytes(size(source))} of ZeRO 2 over four ranks, then `sync`"
    folder = inputs.out / "zero-theirs"

    def their():
        shutil.rmtree(folder, ignore_errors=True)
        return measure([ORACLE / "base" / "bin" / "python", "-W", "ignore", script, source, folder], sync=True)

    other = ("zero_to_fp32", "DeepSpeed's `zero_to_fp32.py`")
    rows = race(inputs, runs, what, other, (source, mine), their, "zero.pt")
    names = ("norm.weight", "layers.1.attention.wk.weight", "embed.weight")
    holds(inputs.out / "zero.pt", folder / "pytorch_model.bin", {name: (name,) for name in names})
    return rows


def gguf(inputs, runs):
    meta, source = inputs.meta(), inputs.out / "hf-for-gguf"
    measure(tool("convert", meta, "--to", "hf", "--out", source))
    rows = []
    for kind, moved in (("bf16", True), ("q8_0", False)):
        mine = ours(inputs, source, f"{kind}.gguf", "--to", "gguf", "--gguf-type", kind)
        what = f"`ckpt-convert --to gguf --gguf-type {kind}`, {gigabytes(size(source))} of Llama 3.2 1B, then `sync`"
        other = ("gguf-py", "the work of `convert_hf_to_gguf.py`, in gguf-py")
        their = theirs(inputs, "base", "gguf", source, f"{kind}-theirs.gguf", kind.upper())
        rows += race(inputs, runs, what, other, (source, mine), their, f"{kind}.gguf", moved)
        same_values(inputs.out / f"{kind}.gguf", inputs.out / f"{kind}-theirs.gguf")
    return rows


def same_values(mine, their):
    import gguf
    import numpy

    tables = [{tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors} for path in (mine, their)]
    for name in ("output_norm.weight", "blk.1.attn_k.weight", "blk.1.ffn_down.weight"):
        if not numpy.array_equal(tables[0][name], tables[1][name]):
            raise Failure(f"{name} differs in {mine} and {their}")


def packed(inputs, runs):
    source = inputs.trainer("packed", 2)
    mine = ours(inputs, source, "packed.safetensors", "--to", "safetensors", "--dequantize=BF16")
    what = f"`ckpt-convert --dequantize`, {gigabytes(size(source))} of four-bit weights, then `sync`"
    other = ("compressed-tensors", "compressed-tensors' own decompression")
    their = theirs(inputs, "extra", "packed", source, "packed-theirs.safetensors")
    rows = race(inputs, runs, what, other, (source, mine), their, "packed.safetensors", moved=False)
    # It is a kernel against a kernel: how much faster is told, and no target.
    for row in rows[:1]:
        row.cells[-1], row.met = "", None
    name = "model.layers.1.self_attn.k_proj.weight"
    first, second = (safetensors.safe_open(inputs.out / f"packed{end}.safetensors", "pt").get_tensor(name) for end in ("", "-theirs"))
    if not first.equal(second):
        raise Failure(f"{name} is dequantised differently")
    return rows


def many(inputs, runs):
    """Reading geometry of very many files, and planning a model of a trillion parameters again."""
    rows = []
    for kind, name in (("dcp-many", "torch.distributed's store"), ("zero-many", "ZeRO's states")):
        source = inputs.trainer(kind, 0.2)
        files = sum(1 for path in source.rglob("*") if path.is_file())
        taken, said = short(tool("inspect", source), max(runs, 5))
        if document(said)["status"] != "ok":
            raise Failure(f"ckpt-inspect {source}: {said[:2000]}")
        what = f"`ckpt-inspect`, {files:,} files of {name}"
        rows.append(Row(what, seconds(taken), target=f"under {MANY:.0f} s", met=taken < MANY))
    headers = inputs.headers()
    plan = measure(tool("convert", headers, "--to", "safetensors", "--max-shard-size", "20GB", "--dry-run", "--out", inputs.out / "plan"))
    if document(plan.out)["status"] != "ok":
        raise Failure(f"no plan was made: {plan.out[:2000]}")
    what = f"`ckpt-convert --dry-run --max-shard-size 20GB`, {inputs.header_tensors():,} tensors"
    rows.append(Row(what, f"{seconds(plan.seconds)}, {megabytes(plan.memory)}", target=f"under {megabytes(MEMORY)}", met=plan.memory < MEMORY))
    return rows


PARTS = {"dcp": dcp, "zero": zero, "gguf": gguf, "packed": packed, "many": many}
