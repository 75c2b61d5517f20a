"""Running our tools and other environments, and comparing what comes out."""

import hashlib
import json
import os
import pathlib
import subprocess

import safetensors.torch
import torch

BIN = pathlib.Path(os.environ["CKPT_BIN"])
ORACLE = pathlib.Path(os.environ["CKPT_ORACLE"])
FULL = "CKPT_INTEROP_FULL" in os.environ
WORKERS = pathlib.Path(__file__).parent / "workers"

# The environments that load what we write, by their transformers.
ENVIRONMENTS = {"4.47.1": "hf447", "4.57.6": "hf457", "5.23.0": "base"}


class Outcome:
    """What a tool said: its documents, its exit code and its words."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def documents(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self):
        (only,) = self.documents
        return only


def run(tool, *arguments, expect=0, cwd=None, stdin=""):
    """One of our tools; `expect` is the exit code it owes, or several of which it owes one."""
    command = [BIN / f"ckpt-{tool}", *map(str, arguments)]
    outcome = Outcome(subprocess.run(command, capture_output=True, text=True, cwd=cwd, input=stdin))
    said = f"ckpt-{tool} {' '.join(map(str, arguments))}: exit {outcome.code}, not {expect}\n{outcome.err}{outcome.out[:4000]}"
    assert outcome.code == expect or (isinstance(expect, tuple) and outcome.code in expect), said
    return outcome


def convert(source, kind, out, *more):
    """A conversion that must succeed; returns its document."""
    document = run("convert", source, "--to", kind, "--out", out, *more).document
    assert document["status"] == "ok" and document["path"] == str(out), document
    return document


def shell(script, cwd=None, check=True, **variables):
    """A line of shell with our tools on the path."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | {name: str(value) for name, value in variables.items()}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0 or not check, f"{script}\n{done.stdout}{done.stderr}"
    return done


def work(version, worker, *arguments):
    """A script of workers/ in the environment of that transformers; returns the JSON on its last line."""
    return work_in(ENVIRONMENTS[version], worker, *arguments)


def work_in(environment, worker, *arguments):
    """The same, in an environment by its name; `extra` has the programs that are no library of models."""
    python = ORACLE / environment / "bin" / "python"
    command = [python, "-W", "ignore", WORKERS / f"{worker}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def llama_cpp(folder, jobs):
    """What llama.cpp makes of each job {"model", "texts", "ids", "logits"}, all in one process; none may be refused."""
    file = pathlib.Path(folder) / "jobs.json"
    file.write_text(json.dumps(jobs, default=str))
    made = work("5.23.0", "llama_cpp", file)
    for job, one in zip(jobs, made, strict=True):
        assert "refused" not in one, f"{job['model']}: {one['refused']}"
    return made


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def digest(tensor):
    """The digest of a tensor's values, as the protocol says anybody can reproduce it."""
    flat = tensor.detach().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()


def same(ours, theirs):
    """Two tables are equal in names, order apart, dtypes, shapes and every bit."""
    assert not ours.keys() ^ theirs.keys(), f"only in one: {sorted(ours.keys() ^ theirs.keys())}"
    for name, tensor in theirs.items():
        mine = ours[name]
        assert (mine.dtype, mine.shape) == (tensor.dtype, tensor.shape), name
        assert digest(mine) == digest(tensor), name


def load_hf(folder):
    """All tensors of a Hugging Face directory, by the index where there is one."""
    folder = pathlib.Path(folder)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return safetensors.torch.load_file(folder / "model.safetensors")
    weight_map = json.loads(index.read_text())["weight_map"]
    table = {}
    for file in sorted(set(weight_map.values())):
        part = safetensors.torch.load_file(folder / file)
        assert sorted(part) == sorted(name for name, at in weight_map.items() if at == file), file
        table |= part
    return table


def load_meta(folder):
    """What each rank of a Meta directory holds, loaded the strict way."""
    files = sorted(pathlib.Path(folder).glob("consolidated.*.pth"))
    return [torch.load(file, weights_only=True, mmap=True) for file in files]
