"""What every check shares: the tools, the environments, and a few models made once."""

import pathlib

import models
import pytest
import support
import torch


def pytest_configure(config):
    torch.set_num_threads(1)
    config.addinivalue_line("markers", "full: takes minutes or gigabytes; only with scripts/interop --full")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="only with scripts/interop --full")
    for item in items:
        if "full" in item.keywords and not support.FULL:
            item.add_marker(skip)


def pytest_report_header():
    return [f"tools: {support.BIN}", f"oracle: {support.ORACLE}"]


@pytest.fixture(scope="session")
def fixtures():
    """The committed folder tests/fixtures, to be read only."""
    return pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures"


@pytest.fixture(scope="session")
def llama31(tmp_path_factory):
    """Random Llama 3.1 style models in Meta's format, one for each number of model-parallel ranks."""
    home = tmp_path_factory.mktemp("llama31")
    return {ranks: models.write(home / f"mp{ranks}", models.LLAMA31, ranks) for ranks in (1, 2, 4, 8)}


@pytest.fixture(scope="session")
def llama31_hf(llama31, tmp_path_factory):
    """The same, converted by us."""
    home = tmp_path_factory.mktemp("llama31-hf")
    out = {}
    for ranks, folder in llama31.items():
        out[ranks] = home / f"mp{ranks}"
        support.convert(folder, "hf", out[ranks])
    return out


@pytest.fixture(scope="session")
def real_llama3(tmp_path_factory):
    """A model of one thin layer behind the real Llama 3 tokenizer, an instruct model by its name."""
    folder = tmp_path_factory.mktemp("real") / "Llama-3.1-8B-Instruct"
    return models.write(folder, models.THIN_LLAMA3, 1, tokenizer=models.llama3_tokenizer())


@pytest.fixture(scope="session")
def real_sentencepiece(tmp_path_factory):
    """A model of one thin layer behind a published SentencePiece model of 32000 pieces."""
    folder = tmp_path_factory.mktemp("real") / "llama-2-7b"
    return models.write(folder, models.THIN_LLAMA2, 1, tokenizer=models.mistral_tokenizer())
