"""The table in Markdown, and its place in README.md."""

import os
import pathlib
import platform

from inputs import Failure

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEADS = ["what", "figure", "against", "ratio", "target", "met"]
MET = {True: "yes", False: "**no**", None: ""}


def machine():
    """Processor, cores, memory and system, as far as Linux tells."""

    def after(path, word):
        try:
            lines = pathlib.Path(path).read_text().splitlines()
        except OSError:
            return None
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(word)), None)

    model = after("/proc/cpuinfo", "model name") or platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory / 2**30:.0f} GiB of memory, {platform.system()} {platform.release()}"


def markdown(rows, runs, quick):
    lines = [" | ".join(["", *HEADS, ""]).strip(), "|---" * len(HEADS) + "|"]
    lines += [" | ".join(["", *row.cells, MET[row.met], ""]).strip() for row in rows]
    how = f"Medians of {runs} runs in turns (transformers: {min(runs, 2)}), milliseconds by hyperfine, page cache warm"
    note = f"{how}; {machine()}."
    if quick:
        note += " Small inputs, to try the bench: these figures say nothing."
    return "\n".join([*lines, "", note, ""])


def fill_readme(text):
    """Puts the table between its markers; a README without them gets a section at its end."""
    readme = README.read_text(encoding="utf-8")
    table = f"{BEGIN}\n\n{text}\n{END}\n"
    if BEGIN not in readme:
        readme = f"{readme.rstrip()}\n\n## Speed and memory\n\n`make bench` measures this and writes it here.\n\n{table}"
    else:
        before, rest = readme.split(BEGIN, 1)
        _, end, after = rest.partition(END)
        if not end:
            raise Failure(f"{README} has {BEGIN} without {END}")
        readme = before + table.rstrip() + after
    README.write_text(readme, encoding="utf-8")
