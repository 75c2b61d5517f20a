"""Our .pth files load in torch in every mode it has, and hold what they should."""

import itertools
import json
import os
import zipfile

import pytest
import support
import torch

MODES = [dict(weights_only=weights_only, mmap=mmap) for weights_only, mmap in itertools.product((True, False), repeat=2)]


@pytest.fixture(scope="module")
def dtypes(fixtures, tmp_path_factory):
    """Every dtype of safetensors that torch has, as one .pth."""
    out = tmp_path_factory.mktemp("dtypes") / "dtypes.pth"
    support.convert(fixtures / "safetensors" / "dtypes.safetensors", "torch", out)
    return out


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_dtype(mode, dtypes, fixtures):
    import safetensors.torch

    expected = safetensors.torch.load_file(fixtures / "safetensors" / "dtypes.safetensors")
    loaded = torch.load(dtypes, **mode)
    assert list(map(type, loaded)) == [str] * len(expected)
    support.same(loaded, expected)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("ranks", (1, 2))
def test_meta_shards(ranks, mode, fixtures, tmp_path):
    support.convert(fixtures / "hf-tiny", "meta", tmp_path / "meta", "--mp", ranks)
    files = sorted((tmp_path / "meta").glob("*.pth"))
    assert [file.name for file in files] == [f"consolidated.{rank:02}.pth" for rank in range(ranks)]
    for file in files:
        first = torch.load(fixtures / "tiny-llama3" / f"mp{ranks}" / file.name, weights_only=True)
        support.same(torch.load(file, **mode), first)


def test_loaded_onto_the_meta_device(dtypes):
    assert all(tensor.device.type == "meta" for tensor in torch.load(dtypes, map_location="meta").values())


def test_data_are_aligned_and_checksummed(dtypes):
    with zipfile.ZipFile(dtypes) as archive:
        assert archive.testzip() is None
        data = dtypes.read_bytes()
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            if "/data/" in info.filename:
                names, extra = (int.from_bytes(data[info.header_offset + at : info.header_offset + at + 2], "little") for at in (26, 28))
                assert (info.header_offset + 30 + names + extra) % 64 == 0, info.filename


def test_the_same_bytes_every_time(fixtures, tmp_path):
    for name in ("one", "two"):
        support.convert(fixtures / "hf-tiny", "meta", tmp_path / name, "--mp", 2)
    for file in os.listdir(tmp_path / "one"):
        assert support.sha256(tmp_path / "one" / file) == support.sha256(tmp_path / "two" / file), file


def test_there_and_back_through_safetensors(dtypes, fixtures, tmp_path):
    import safetensors.torch

    support.convert(dtypes, "safetensors", tmp_path / "back.safetensors")
    expected = safetensors.torch.load_file(fixtures / "safetensors" / "dtypes.safetensors")
    support.same(safetensors.torch.load_file(tmp_path / "back.safetensors"), expected)


@pytest.mark.parametrize("file", ("dtypes.pt", "views.pt", "tied.pt", "module_state.pt", "parameters.pt", "lazy_bits.pt", "protocol4.pt"))
def test_what_torch_wrote_is_kept(file, fixtures, tmp_path):
    """torch -> ours -> torch, on the fixtures whose every value is an ordinary tensor."""
    support.convert(fixtures / "torch" / file, "torch", tmp_path / "out.pth")
    loaded = torch.load(tmp_path / "out.pth", weights_only=True)
    entries = json.loads((fixtures / "torch" / "expected.json").read_text())["tensors"]
    expected = {entry["name"]: entry["sha256"] for entry in entries if entry["file"] == file}
    assert {name: support.digest(tensor.resolve_conj().resolve_neg()) for name, tensor in loaded.items()} == expected


@pytest.mark.full
def test_more_than_four_gibibytes(tmp_path):
    """Sizes and offsets that need the 64-bit fields of the archive."""
    import struct

    length = 5 << 30
    head = json.dumps(
        {
            "large": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]},
            "small": {"dtype": "U8", "shape": [4], "data_offsets": [length, length + 4]},
        },
        separators=(",", ":"),
    ).encode()
    source = tmp_path / "large.safetensors"
    with open(source, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.seek(length - 1, os.SEEK_CUR)
        file.write(b"\x07\x01\x02\x03\x04")
    support.convert(source, "torch", tmp_path / "large.pth")
    loaded = torch.load(tmp_path / "large.pth", weights_only=True, mmap=True)
    assert loaded["small"].tolist() == [1, 2, 3, 4]
    assert loaded["large"].shape == (length,) and loaded["large"][-1] == 7 and loaded["large"][0] == 0
