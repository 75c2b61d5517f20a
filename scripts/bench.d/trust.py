"""What the verdicts and digests cost: reading everything, judging pickles, and the programs people use for each today."""

from inputs import Failure, size
from parts import ORACLE, Row, document, gigabytes, megabytes, seconds, shards, tool
from timing import in_turns, measure, short, warm

# Targets: times as ratios of one run of the bench, memory in bytes.
DEEP = 1.3
STATS = 3
DEEP_MEMORY = 64 * 10**6
STRUCTURE = 1.0
STRUCTURE_MEMORY = 300 * 10**6
MEMBERS = 1.0

EXTRA = ORACLE / "extra" / "bin"


def verified(*arguments):
    """ckpt-verify over what need not be a whole model: it has to have looked, whatever it says."""

    def once():
        run = measure(tool("verify", *arguments), codes=(0, 1))
        if document(run.out)["status"] == "error":
            raise Failure(f"ckpt-verify could not tell: {run.out[:2000]}")
        return run

    return once


def deep(inputs, runs):
    folder = inputs.halves()
    warm(folder)
    files = sorted(folder.glob("*.safetensors"))
    both = " & ".join(f"cat '{file}' >/dev/null" for file in files)
    contestants = {
        "ckpt-verify --deep": verified(folder, "--deep", "--jobs", "2"),
        "ckpt-verify --deep --stats": verified(folder, "--deep", "--stats", "--jobs", "2"),
        "cat": lambda: measure(["sh", "-c", f"{both} & wait"]),
    }
    results = in_turns(contestants, runs)
    cat = results["cat"].seconds
    rows = []
    for name, target in (("ckpt-verify --deep", DEEP), ("ckpt-verify --deep --stats", STATS)):
        ours = results[name]
        what = f"`{name}`, {gigabytes(size(folder))} of bf16 in two files, in memory"
        against = f"two `cat` to /dev/null at once: {seconds(cat)}"
        ratio = ours.seconds / cat
        rows.append(Row(what, seconds(ours.seconds), against, f"{ratio:.2f} ×", f"at most {target} ×", ratio <= target))
    peak = max(results[name].memory for name in contestants if name != "cat")
    limit = f"under {megabytes(DEEP_MEMORY)}"
    return [*rows, Row("their peak memory", megabytes(peak), target=limit, met=peak < DEEP_MEMORY)]


def manifests(inputs, runs):
    """The same digests by other programs: BLAKE3 against b3sum, a statement against the one of model-signing."""
    file = inputs.one_file()
    warm(file)
    key = inputs.out / "key.pem"
    measure(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
    signature = inputs.out / "model.sig"
    sign = [EXTRA / "python", "-m", "model_signing", "sign", "key", file.parent, "--private_key", key]
    contestants = {
        "ckpt-hash, blake3": lambda: measure(tool("hash", "--algorithm", "blake3", file)),
        "b3sum": lambda: measure(["b3sum", "--num-threads", "2", file]),
        "ckpt-hash, oms": lambda: measure(tool("hash", "--format", "oms", file.parent)),
        "model-signing": lambda: measure([*sign, "--signature", signature]),
    }
    results = in_turns(contestants, min(runs, 3))
    said = results["b3sum"].all[0].out.split()[0]
    (ours,) = document(results["ckpt-hash, blake3"].all[0].out)["hash"]["files"]
    if said != ours["digest"].removeprefix("blake3:"):
        raise Failure(f"the BLAKE3 digests of {file} differ: {said}, {ours}")
    length = gigabytes(size(file))

    def row(what, ours, theirs, by):
        ratio = results[ours].seconds / results[theirs].seconds
        against = f"{by}: {seconds(results[theirs].seconds)}, {megabytes(results[theirs].memory)}"
        mine = f"{seconds(results[ours].seconds)}, {megabytes(results[ours].memory)}"
        return Row(what, mine, against, f"{ratio:.2f} ×")

    return [
        row(f"`ckpt-hash --algorithm blake3`, {length}: the file and each tensor", "ckpt-hash, blake3", "b3sum", "`b3sum`, the file"),
        row(f"`ckpt-hash --format oms`, {length}", "ckpt-hash, oms", "model-signing", "`model_signing sign`, with the signature"),
    ]


def pickles(inputs, runs):
    """Judging the pickle of a checkpoint: of 3 GB in few tensors, and of very many tensors."""
    large, many = inputs.meta() / "consolidated.00.pth", inputs.members()
    warm(large)
    contestants = {
        "ckpt-verify": verified(large),
        "picklescan": lambda: measure([EXTRA / "picklescan", "--path", large]),
        "modelscan": lambda: measure([EXTRA / "modelscan", "--path", large]),
    }
    results = in_turns(contestants, min(runs, 3))
    rows = [
        Row(
            f"`ckpt-verify`, the structure of a `.pth` of {gigabytes(size(large))}" if name == "picklescan" else "",
            seconds(results["ckpt-verify"].seconds),
            f"`{name}`, its pickle: {seconds(results[name].seconds)}",
            f"{results['ckpt-verify'].seconds / results[name].seconds:.2f} ×",
        )
        for name in ("picklescan", "modelscan")
    ]
    judged, _ = short(tool("verify", many), max(runs, 5), codes=(0, 1))
    scanned = measure([EXTRA / "picklescan", "--path", many]).seconds
    goal = f"under {MEMBERS:.0f} s"
    against = f"`picklescan`: {seconds(scanned)}"
    what = f"`ckpt-verify`, a `.pth` of {inputs.MEMBERS:,} tensors"
    rows.append(Row(what, seconds(judged), against, f"{judged / scanned:.2f} ×", goal, judged < MEMBERS))
    return rows


def verify(inputs, runs):
    headers = inputs.headers()
    # Headers without data are no sound model, so "no" is an answer too; "could not tell" is not.
    full, said = short(tool("verify", headers), max(runs, 10), codes=(0, 1))
    if document(said)["status"] == "error":
        raise Failure(f"ckpt-verify could not tell: {said[:2000]}")
    peak = measure(tool("verify", headers), codes=(0, 1)).memory
    what = f"`ckpt-verify`, structure of those {shards(headers)} shards"
    at_once, small = f"under {STRUCTURE:.0f} s", f"under {megabytes(STRUCTURE_MEMORY)}"
    return [
        Row(what, seconds(full), target=at_once, met=full < STRUCTURE),
        Row("its peak memory", megabytes(peak), target=small, met=peak < STRUCTURE_MEMORY),
    ]


PARTS = {
    "manifests": manifests,
    "verify": verify,
    "deep": deep,
    "pickles": pickles,
}
