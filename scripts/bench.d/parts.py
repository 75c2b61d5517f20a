"""What is measured, against what, and what it should reach. Each part returns the rows of the table it adds."""

import filecmp
import json
import os
import pathlib
import shutil

from inputs import Failure, size
from timing import in_turns, measure, short, warm

# Targets. Times as ratios of one run of the bench, since machines differ; memory in bytes.
COPY = 1.2
TRANSFORMERS = 8
MEMORY = 128 * 10**6
# The same program's peak differs by this much from run to run.
MEMORY_NOISE = 1.05
OPENSSL = 1.15
INSPECT_FULL = 0.3
INSPECT_ONE = 0.01

BIN = pathlib.Path(os.environ["CKPT_BIN"])
ORACLE = pathlib.Path(os.environ["CKPT_ORACLE"])


class Row:
    """One line of the table; `met` is None where there is no target."""

    def __init__(self, what, figure, against="", ratio="", target="", met=None):
        self.cells, self.met = [what, figure, against, ratio, target], met


def seconds(value):
    return f"{value * 1e3:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def megabytes(value):
    return f"{value / 1e6:.0f} MB"


def gigabytes(value):
    return f"{value / 1e9:.2f} GB"


def tool(name, *arguments):
    return [BIN / f"ckpt-{name}", *arguments]


def document(run_output):
    """The one document a tool printed."""
    (line,) = run_output.splitlines()
    return json.loads(line)


def converter(inputs, source, keep=None):
    """A function that converts, checks that it was done, and removes the result or leaves it as `keep`."""

    def once():
        target = inputs.target("hf")
        run = measure(tool("convert", source, "--to", "hf", "--out", target), sync=True)
        if document(run.out)["status"] != "ok" or not list(target.glob("model*.safetensors")):
            raise Failure(f"ckpt-convert {source} did not convert: {run.out}")
        if keep and not (inputs.out / keep).exists():
            target.rename(inputs.out / keep)
        else:
            shutil.rmtree(target)
        return run

    return once


def copier(inputs, source):
    def once():
        target = inputs.target("copy")
        run = measure(["cp", "--reflink=never", "-r", source, target], sync=True)
        shutil.rmtree(target)
        return run

    return once


def convert(inputs, runs):
    source = inputs.meta()
    inputs.room(3 * size(source))
    warm(source)
    # What the conversion writes is less than it reads, the head being stored once: the second copy says what that gains.
    converter(inputs, source, keep="converted")()
    converted = inputs.out / "converted"
    written = size(converted)
    ours, copied, rewritten = "ckpt-convert", "cp of the source", "cp of the result"
    contestants = {ours: converter(inputs, source), copied: copier(inputs, source), rewritten: copier(inputs, converted)}
    results = in_turns(contestants, runs)
    shutil.rmtree(converted)
    mine, theirs, smaller = results[ours].seconds, results[copied].seconds, results[rewritten].seconds
    what = f"`ckpt-convert --to hf`, {gigabytes(size(source))} of Llama 3.2 1B, then `sync`"
    against = f"`cp --reflink=never` of the same files, then `sync`: {seconds(theirs)}"
    less = f"the same of the {gigabytes(written)} that come out: {seconds(smaller)}"
    return [
        Row(what, seconds(mine), against, f"{mine / theirs:.2f} ×", f"at most {COPY} ×", mine <= COPY * theirs),
        Row("", seconds(mine), less, f"{mine / smaller:.2f} ×"),
    ]


def memory(inputs, runs):
    small, large = inputs.meta(), inputs.larger()
    inputs.room(2 * size(large))
    first = in_turns({"ckpt-convert": converter(inputs, small)}, min(runs, 3))["ckpt-convert"].memory
    second = in_turns({"ckpt-convert, larger": converter(inputs, large)}, 1)["ckpt-convert, larger"].memory
    times = size(large) / size(small)
    return [
        Row("peak memory of `ckpt-convert`", megabytes(first), target=f"under {megabytes(MEMORY)}", met=first < MEMORY),
        Row(
            f"its peak memory on {gigabytes(size(large))} of Llama 3.2 3B",
            megabytes(second),
            f"{times:.1f} times smaller: {megabytes(first)}",
            f"{second / first:.2f} ×",
            f"no higher (noise: {MEMORY_NOISE})",
            second <= MEMORY_NOISE * first and second < MEMORY,
        ),
    ]


def transformers(inputs, runs):
    source = inputs.meta()
    inputs.room(5 * size(source))
    warm(source)
    script = "transformers.models.llama.convert_llama_weights_to_hf"

    def theirs():
        target = inputs.target("theirs")
        command = [ORACLE / "hf447" / "bin" / "python", "-m", script, "--input_dir", source, "--output_dir", target]
        return measure([*command, "--llama_version", "3.2", "--num_shards", "1"], sync=True)

    ours, script_runs = "ckpt-convert", "transformers 4.47.1"
    results = in_turns({ours: converter(inputs, source, keep="ours"), script_runs: theirs}, min(runs, 2))
    # A race is fair when both arrive at the same place.
    if not filecmp.cmp(inputs.out / "ours" / "model.safetensors", inputs.out / "theirs" / "model.safetensors", shallow=False):
        raise Failure("ckpt-convert and transformers made different weights of the same source")
    shutil.rmtree(inputs.out / "ours")
    shutil.rmtree(inputs.out / "theirs")
    mine, other = results[ours], results[script_runs]
    against = f"`convert_llama_weights_to_hf` of transformers 4.47.1: {seconds(other.seconds)}, {megabytes(other.memory)}"
    faster = other.seconds / mine.seconds
    return [
        Row(
            "the same conversion, to the same bytes",
            f"{seconds(mine.seconds)}, {megabytes(mine.memory)}",
            against,
            f"{faster:.1f} times faster",
            f"at least {TRANSFORMERS} times",
            faster >= TRANSFORMERS,
        )
    ]


def digests(inputs, runs):
    file = inputs.one_file()
    warm(file)
    contestants = {
        "ckpt-hash": lambda: measure(tool("hash", file)),
        "openssl": lambda: measure(["openssl", "dgst", "-sha256", "-r", file]),
        "sha256sum": lambda: measure(["sha256sum", file]),
    }
    results = in_turns(contestants, runs)
    hashed = document(results["ckpt-hash"].all[0].out)["hash"]
    said = {name: results[name].all[0].out.split()[0] for name in ("openssl", "sha256sum")}
    said |= {f"ckpt-hash, {entry['path']}": entry["digest"] for entry in hashed["files"]}
    if len(said) != 3 or len(set(said.values())) != 1:
        raise Failure(f"the digests of {file} differ: {said}")
    if not hashed["tensors"]:
        raise Failure(f"ckpt-hash listed no tensors of {file}")
    length = size(file)

    def speed(name):
        return f"{seconds(results[name].seconds)}, {length / results[name].seconds / 1e6:.0f} MB/s"

    def ratio(name):
        return results["ckpt-hash"].seconds / results[name].seconds

    what = f"`ckpt-hash`, {gigabytes(length)} of safetensors: the file and each tensor"
    mine, openssl, coreutils = (speed(name) for name in ("ckpt-hash", "openssl", "sha256sum"))
    to_openssl, to_coreutils = ratio("openssl"), ratio("sha256sum")
    goal, met = f"at most {OPENSSL} ×", to_openssl <= OPENSSL
    return [
        Row(what, mine, f"`openssl dgst -sha256`, the file: {openssl}", f"{to_openssl:.2f} ×", goal, met),
        Row("", mine, f"`sha256sum`, the file: {coreutils}", f"{to_coreutils:.2f} ×"),
        Row("its peak memory", megabytes(results["ckpt-hash"].memory)),
    ]


def inspect(inputs, runs):
    headers, file = inputs.headers(), inputs.one_file()
    full, said = short(tool("inspect", headers), max(runs, 10))
    counted = sum(entry["tensors"] for entry in document(said)["inspect"]["dtypes"].values())
    if counted != inputs.header_tensors():
        raise Failure(f"ckpt-inspect counts {counted} tensors where {inputs.header_tensors()} were made")
    peak = measure(tool("inspect", headers)).memory
    one, _ = short(tool("inspect", file), max(runs, 20))
    what = f"`ckpt-inspect`, {counted:,} tensors in {shards(headers)} shards"
    at_once, at_hand = f"under {INSPECT_FULL} s", f"under {INSPECT_ONE * 1e3:.0f} ms"
    return [
        Row(what, seconds(full), target=at_once, met=full < INSPECT_FULL),
        Row("its peak memory", megabytes(peak)),
        Row("`ckpt-inspect`, one file of Llama 3.2 1B", seconds(one), target=at_hand, met=one < INSPECT_ONE),
    ]


def shards(headers):
    return len(list(headers.glob("*.safetensors")))


PARTS = {
    "convert": convert,
    "memory": memory,
    "transformers": transformers,
    "hash": digests,
    "inspect": inspect,
}
