"""Running programs and measuring them: wall time, peak memory, in turns."""

import json
import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from inputs import Failure


class Run:
    """One run of a program: seconds, peak resident bytes, and what it printed."""

    def __init__(self, seconds, memory, out):
        self.seconds, self.memory, self.out = seconds, memory, out


class Runs:
    """The runs of one contestant."""

    def __init__(self):
        self.all = []

    @property
    def seconds(self):
        return statistics.median(run.seconds for run in self.all)

    @property
    def memory(self):
        return max(run.memory for run in self.all)


def finish(command):
    """Runs it to its end; stopped on the way, stops it and all that it started before anything is removed."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            out, err = child.communicate()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def measure(command, sync=False, codes=(0,)):
    """Runs it once, to one of these exit codes; with `sync`, until what it wrote is on the disk.

    GNU time measures the memory: a child of this process would be charged with the memory of the fork before it became
    another program.
    """
    command = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        if sync:
            os.sync()
        begun = time.perf_counter()
        timed = ["/usr/bin/time", "-f", "%M", "-o", report, *command]
        done = finish(timed)
        if sync:
            os.sync()
        seconds = time.perf_counter() - begun
        if done.returncode not in codes:
            raise Failure(f"exit {done.returncode} from {' '.join(command)}\n{done.stderr}{done.stdout[-2000:]}")
        kib = int(pathlib.Path(report).read_text().splitlines()[-1])
    return Run(seconds, kib * 1024, done.stdout)


def in_turns(contestants, runs):
    """Each of the functions once, then each again in the other order, and so on: a busy minute hits all of them."""
    results = {name: Runs() for name in contestants}
    for number in range(runs):
        order = list(contestants)
        for name in order if number % 2 == 0 else reversed(order):
            run = contestants[name]()
            results[name].all.append(run)
            print(f"bench: {name}: {run.seconds:.2f} s, {run.memory / 1e6:.0f} MB", file=sys.stderr)
    return results


def short(command, runs, codes=(0,)):
    """Seconds of something too short for one clock reading, by hyperfine; and what it prints."""
    command = [str(word) for word in command]
    done = finish(command)
    if done.returncode not in codes:
        raise Failure(f"exit {done.returncode} from {' '.join(command)}\n{done.stderr}{done.stdout[-2000:]}")
    line = shlex.join(command)
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        options = ["-N", "--ignore-failure", "--style", "none", "--warmup", "2", "--runs", str(runs)]
        timed = finish(["hyperfine", *options, "--export-json", report, line])
        if timed.returncode:
            raise Failure(f"hyperfine failed on {line}\n{timed.stderr}")
        (result,) = json.loads(pathlib.Path(report).read_text())["results"]
    if not set(result["exit_codes"]) <= set(codes):
        raise Failure(f"{line} ended differently from run to run: {result['exit_codes']}")
    print(f"bench: {os.path.basename(command[0])}: {result['median'] * 1e3:.1f} ms", file=sys.stderr)
    return result["median"], done.stdout


def warm(path):
    """Reads a file or the files of a directory, so that every contestant finds them in memory."""
    path = pathlib.Path(path)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb", buffering=0) as stream:
                while stream.read(1 << 22):
                    pass
