"""Our verdict on many damaged files against that of zipfile and torch.load, and against the safetensors library.

What they refuse, we must have said something about. What we refuse and they accept must be a strictness that is listed
here with its reason. Where both accept, every value must be the same.
"""

import json
import random

import archives
import pytest
import support

# Enough for every damage to meet many kinds of file; --full goes further.
FILES = 20_000 if support.FULL else 2_000
GROUPS = 4

# Rules by which we refuse what zipfile reads and torch loads, both with and without mmap, and why we do.
STRICTER = {
    "zip-compressed": "torch maps compressed bytes as numbers where it maps at all",
    "zip-crc": "torch looks at no checksum, and zipfile only at those of the last member of a name",
    "zip-duplicate": "which of two members counts depends on the reader",
    "zip-invalid": "the 32-bit and the 64-bit end record contradict each other, and readers choose differently",
    "zip-mismatch": "readers that go by local headers see another archive",
    "zip-truncated": "a comment or an empty member reaches beyond the end of the file",
    "zip-overlap": "bytes that belong to two members",
    "zip-leading": "bytes that only some readers skip",
    "torch-record-missing": "of a member that is not within the file",
    "tensor-absent": "a tensor whose record was refused",
    "pickle-invalid": "behind a broken part that torch does not come to",
    "pickle-trailing": "a second pickle that torch does not come to",
    "pickle-incomplete": "the same, for want of an end",
    "tensor-duplicate": "two keys that are one name when they are joined",
    "not-a-checkpoint": "the damage left no tensor in it",
    "nan": "numbers, not the archive",
    "inf": "numbers, not the archive",
}


def ours(tool, listed, *more):
    """The documents about the files of a list. The exit code is that of the worst."""
    return support.run(tool, "-q", "--json", *more, "--paths-from", listed, expect=(1, 2)).documents


def complaints(document):
    findings = document["verify"]["findings"] if "verify" in document else []
    said = {finding["id"] for finding in findings}
    grave = {finding["id"] for finding in findings if finding["severity"] == "error"}
    if document["status"] == "error":
        said.add(document["error"]["id"])
        grave.add(document["error"]["id"])
    # That a tensor has no elements, say, is no complaint about the file.
    return said - {"tensor-empty", "dtype-mixed"}, grave


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_torch_files(group, tmp_path):
    numbers = range(group, FILES, GROUPS)
    kinds = {}
    for number in numbers:
        kind, data = archives.damaged(number)
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        kinds[str(path)] = f"{number} {kind}"
    listed = tmp_path / "list"
    listed.write_text("".join(f"{path}\n" for path in kinds))
    support.work("5.23.0", "verdicts", listed, tmp_path / "verdicts")
    theirs = [json.loads(line) for line in (tmp_path / "verdicts").read_text().splitlines()]
    verified, hashed = ours("verify", listed, "--deep"), ours("hash", listed)
    assert len(theirs) == len(verified) == len(hashed) == len(kinds)

    wrong, accepted, compared = [], 0, 0
    for name, verdict, seen, digests in zip(kinds.values(), theirs, verified, hashed):
        said, grave = complaints(seen)
        refused = [verdict[reader] for reader in ("zip", "load", "mmap") if verdict[reader]]
        accepted += not refused
        if refused and not said:
            wrong.append(f"{name}: nothing said, though: {refused[0]}")
        elif not refused and grave - STRICTER.keys():
            wrong.append(f"{name}: refused for {sorted(grave - STRICTER.keys())}, and everything reads it")
        if verdict["tensors"] is not None and not grave and digests["status"] == "ok":
            compared += 1
            read = {row["name"]: row["digest"] for row in digests["hash"]["tensors"]}
            if read != verdict["tensors"]:
                wrong.append(f"{name}: other values")
    assert not wrong, f"{len(wrong)} of {len(kinds)}\n" + "\n".join(wrong[:40])
    # The damages are neither all fatal nor all harmless.
    assert accepted > len(kinds) / 10 and compared > len(kinds) / 10, (accepted, compared)


# Rules by which we refuse what the safetensors library reads: a name or a field that is there twice.
STRICTER_SAFETENSORS = {"safetensors-duplicate", "nan", "inf", "too-large"}


def safetensors_file(draw):
    """A small file of that format, by the library, and then damaged."""
    import safetensors.torch

    table = {f"t{place}": archives.tensor(draw).contiguous().clone() for place in range(draw.randrange(1, 4))}
    data = safetensors.torch.save({name: tensor for name, tensor in table.items()}, metadata={"format": "pt"})
    damages = (archives.flipped, archives.cut, archives.doubled, archives.inserted, archives.zeroed, archives.lengthened)
    length = int.from_bytes(data[:8], "little")
    place = draw.random()
    if place < 0.2:
        return data[: 8 + length] + archives.flipped(draw, data[8 + length :])
    if place < 0.8:
        # Most of what can go wrong is in the header.
        header = draw.choice(damages[:4])(draw, data[8 : 8 + length])
        size = len(header) if draw.random() < 0.8 else length
        return size.to_bytes(8, "little") + header + data[8 + length :]
    return draw.choice(damages)(draw, data)


def test_damaged_safetensors_files(tmp_path):
    import safetensors
    import safetensors.torch

    paths = []
    for number in range(FILES):
        paths.append(tmp_path / f"{number}.safetensors")
        paths[-1].write_bytes(safetensors_file(random.Random(number)))
    listed = tmp_path / "list"
    listed.write_text("".join(f"{path}\n" for path in paths))
    verified, hashed = ours("verify", listed, "--deep"), ours("hash", listed)
    wrong, accepted = [], 0
    for path, seen, digests in zip(paths, verified, hashed):
        said, grave = complaints(seen)
        try:
            with safetensors.safe_open(path, "pt") as file:
                table = {name: file.get_tensor(name) for name in file.keys()}
        except Exception as error:  # the library raises its own, and torch's
            if not grave:
                wrong.append(f"{path.stem}: {error}")
            continue
        accepted += 1
        if grave - STRICTER_SAFETENSORS:
            wrong.append(f"{path.stem}: refused for {sorted(grave)}, and the library reads it")
        elif not grave:
            read = {row["name"]: row["digest"] for row in digests["hash"]["tensors"]}
            if read != {name: support.digest(tensor) for name, tensor in table.items()}:
                wrong.append(f"{path.stem}: other values")
    assert not wrong, f"{len(wrong)} of {len(paths)}\n" + "\n".join(wrong[:40])
    assert accepted > len(paths) / 10, accepted
