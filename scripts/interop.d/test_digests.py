"""Digests are reproduced by the libraries themselves, with the very lines that the contract gives for it."""

import hashlib
import json

import pytest
import support
import torch


def reproduced(tensor):
    """The contract's line, as it stands."""
    t = tensor.reshape(1) if tensor.dim() == 0 else tensor  # torch views no scalar as bytes
    return hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def hashed(*arguments):
    return support.run("hash", *arguments).document["hash"]


@pytest.mark.parametrize("ranks", (1, 2, 8))
def test_tensors_of_a_meta_checkpoint(ranks, llama31):
    import models

    section = hashed(llama31[ranks])
    whole = models.join(models.LLAMA31, support.load_meta(llama31[ranks]))
    assert {t["name"]: t["digest"] for t in section["tensors"]} == {name: reproduced(t) for name, t in whole.items()}
    assert {t["name"]: t["shape"] for t in section["tensors"]} == {name: list(t.shape) for name, t in whole.items()}


def test_tensors_of_a_hugging_face_checkpoint(llama31_hf):
    section = hashed(llama31_hf[1])
    table = support.load_hf(llama31_hf[1])
    assert {t["name"]: (t["digest"], t["dtype"]) for t in section["tensors"]} == {n: (reproduced(t), "BF16") for n, t in table.items()}


@pytest.mark.parametrize("file", ("dtypes.pt", "views.pt", "tied.pt", "parameters.pt", "lazy_bits.pt", "rare_dtypes.pt"))
def test_tensors_of_a_torch_file(file, fixtures):
    entries = json.loads((fixtures / "torch" / "expected.json").read_text())["tensors"]
    expected = {entry["name"]: (entry["dtype"], entry["shape"], entry["sha256"]) for entry in entries if entry["file"] == file}
    section = hashed(fixtures / "torch" / file)
    assert {t["name"]: (t["dtype"], t["shape"], t["digest"]) for t in section["tensors"]} == expected


def test_the_root_by_jq(llama31_hf):
    line = f"ckpt-hash {llama31_hf[2]} | tee out.json | jq -c '.hash.tensors[]|[.name,.dtype,.shape,.digest]' | sha256sum"
    said = support.shell(line, cwd=llama31_hf[2].parent).stdout.split()[0]
    assert said == json.loads((llama31_hf[2].parent / "out.json").read_text())["hash"]["root"]


def test_the_files_root_by_jq(llama31_hf):
    line = f"ckpt-hash {llama31_hf[2]} | tee out.json | jq -c '.hash.files[]|[.path,.size,.digest]' | sha256sum"
    said = support.shell(line, cwd=llama31_hf[2].parent).stdout.split()[0]
    assert said == json.loads((llama31_hf[2].parent / "out.json").read_text())["hash"]["files_root"]


@pytest.mark.parametrize("family", ("tiny-llama3", "tiny-llama2"))
def test_one_model_has_one_canonical_root(family, fixtures, tmp_path):
    expected = json.loads((fixtures / family / "expected.json").read_text())["canonical"]
    support.convert(fixtures / family / "mp1", "hf", tmp_path / "hf", "--max-shard-size", "100KB")
    support.convert(tmp_path / "hf", "meta", tmp_path / "mp4", "--mp", 2)
    for folder in (fixtures / family / "mp1", fixtures / family / "mp2", tmp_path / "hf", tmp_path / "mp4"):
        section = hashed(folder, "--canonical")
        found = [{"name": t["name"], "dtype": t["dtype"], "shape": t["shape"], "sha256": t["digest"]} for t in section["tensors"]]
        assert found == expected["tensors"], folder
        assert section["root"] == expected["root"], folder


def test_the_canonical_root_of_what_transformers_saved(fixtures):
    expected = json.loads((fixtures / "hf-tiny" / "expected.json").read_text())["root"]
    assert hashed(fixtures / "hf-tiny", "--canonical")["root"] == expected
    assert hashed(fixtures / "tiny-llama3" / "mp2", "--canonical")["root"] == expected


def test_equal_roots_and_against_agree(fixtures, llama31, llama31_hf):
    support.run("verify", llama31[4], "--against", llama31_hf[1])
    support.run("verify", fixtures / "hf-tiny", "--against", fixtures / "tiny-llama3" / "mp2")
    support.run("verify", fixtures / "hf-tiny", "--against", llama31_hf[1], expect=1)


def test_sha256sum_checks_our_list(llama31_hf):
    support.shell(f"ckpt-hash --format sha256sum . | sha256sum -c --strict -", cwd=llama31_hf[1])
