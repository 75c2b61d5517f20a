"""Every tensor of a conversion against transformers' own script, at every number of ranks, and all the way back."""

import json

import llama
import models
import pytest
import support
import torch
import vocabularies

RANKS = (1, 2, 4, 8)


@pytest.fixture(scope="module")
def llama2(tmp_path_factory):
    home = tmp_path_factory.mktemp("llama2")
    return {ranks: models.write(home / f"mp{ranks}", models.LLAMA2, ranks) for ranks in RANKS}


@pytest.fixture(scope="module")
def theirs(llama31, llama2, tmp_path_factory):
    """All eight models by the script of transformers 4.47.1, in one run of it."""
    home = tmp_path_factory.mktemp("theirs")
    arguments = []
    for ranks in RANKS:
        arguments += [llama31[ranks], home / f"llama31-mp{ranks}", "3.1", ranks, models.LLAMA31["vocab_size"]]
        arguments += [llama2[ranks], home / f"llama2-mp{ranks}", "2", ranks, 448]
    support.work("4.47.1", "convert_reference", *arguments)
    return home


@pytest.mark.parametrize("ranks", RANKS)
def test_bf16_file_equals_the_scripts(ranks, llama31_hf, theirs):
    ours, reference = llama31_hf[ranks], theirs / f"llama31-mp{ranks}"
    support.same(support.load_hf(ours), support.load_hf(reference))
    assert (ours / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()


@pytest.mark.parametrize("ranks", RANKS)
def test_fp16_keeps_the_bits_that_the_script_rounds_away(ranks, llama2, theirs, tmp_path):
    support.convert(llama2[ranks], "hf", tmp_path / "hf")
    ours, reference = support.load_hf(tmp_path / "hf"), support.load_hf(theirs / f"llama2-mp{ranks}")
    # The script writes bf16 whatever it reads; ours rounded the same way must give its bits.
    assert {tensor.dtype for tensor in ours.values()} == {torch.float16}
    support.same({name: tensor.bfloat16() for name, tensor in ours.items()}, reference)
    whole = models.join(models.LLAMA2, support.load_meta(llama2[ranks]))
    support.same(ours, llama.huggingface(whole, models.LLAMA2, tied=False))


def test_every_number_of_ranks_gives_the_same_model(llama31_hf):
    (one,) = {support.sha256(folder / "model.safetensors") for folder in llama31_hf.values()}
    assert len(one) == 64


def test_save_pretrained_of_the_present_writes_the_same_file(llama31_hf, tmp_path):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(llama31_hf[1], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert support.sha256(tmp_path / "model.safetensors") == support.sha256(llama31_hf[1] / "model.safetensors")


def test_shards_are_cut_as_transformers_cuts_them(llama31, llama31_hf, tmp_path):
    """In the model's order, as the published repositories are; transformers 5 has come to sort by name first."""
    support.convert(llama31[2], "hf", tmp_path / "ours", "--max-shard-size", "400KB")
    support.work("4.47.1", "save_shards", llama31_hf[1], tmp_path / "theirs", "400KB")
    ours, theirs = (json.loads((tmp_path / side / "model.safetensors.index.json").read_text()) for side in ("ours", "theirs"))
    assert len(set(theirs["weight_map"].values())) > 2
    assert ours["weight_map"] == theirs["weight_map"]
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    for file in set(theirs["weight_map"].values()):
        assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes(), file


@pytest.mark.parametrize("ranks", (1, 4))
def test_tied_head_is_told_by_its_bytes(ranks, tmp_path):
    source = models.write(tmp_path / "Llama-3.2-tiny", models.LLAMA31, ranks, tied=True)
    support.convert(source, "hf", tmp_path / "hf")
    assert "lm_head.weight" not in support.load_hf(tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert config["rope_scaling"]["factor"] == 32.0
    # Meta's loader is strict, so the way back writes the head again.
    support.convert(tmp_path / "hf", "meta", tmp_path / "meta", "--mp", ranks)
    for mine, first in zip(support.load_meta(tmp_path / "meta"), support.load_meta(source), strict=True):
        support.same(mine, first)


def test_key_heads_held_twice_count_once(tmp_path):
    """The 405B's sixteen ranks: eight key heads, each on two ranks, and a params.json that says sixteen."""
    params = models.LLAMA31 | {"n_heads": 16, "n_kv_heads": 8}
    tokenizer = vocabularies.tiktoken_model(llama.TEXT, 512)
    weights = models.random_weights(params, 768, torch.bfloat16)
    parts = models.split(params, weights, 8)
    doubled = []
    for rank in range(16):
        part = models.split(params, weights, 16)[rank] | {
            name: tensor for name, tensor in parts[rank // 2].items() if ".wk." in name or ".wv." in name
        }
        doubled.append({name: tensor.clone() for name, tensor in part.items()})
    source = models.write_weights(tmp_path / "mp16", params | {"n_kv_heads": 16}, doubled, tokenizer)
    support.convert(source, "hf", tmp_path / "hf")
    support.same(support.load_hf(tmp_path / "hf"), llama.huggingface(weights, params, tied=False))
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["num_key_value_heads"] == 8


@pytest.mark.parametrize("ranks", RANKS)
def test_llama3_round_trip_is_bit_for_bit(ranks, llama31, llama31_hf, tmp_path):
    support.convert(llama31_hf[1], "meta", tmp_path / "meta", "--mp", ranks)
    back = support.load_meta(tmp_path / "meta")
    # Three for the model and nine a layer: strict loading allows neither more nor fewer.
    assert {len(part) for part in back} == {3 + 9 * models.LLAMA31["n_layers"]}
    for mine, first in zip(back, support.load_meta(llama31[ranks]), strict=True):
        support.same(mine, first)
    assert (tmp_path / "meta" / "tokenizer.model").read_bytes() == (llama31[1] / "tokenizer.model").read_bytes()
    support.shell("md5sum -c --strict checklist.chk", cwd=tmp_path / "meta")
    support.convert(tmp_path / "meta", "hf", tmp_path / "again")
    assert support.sha256(tmp_path / "again" / "model.safetensors") == support.sha256(llama31_hf[1] / "model.safetensors")


@pytest.mark.parametrize("ranks", RANKS)
def test_llama2_round_trip_is_bit_for_bit(ranks, llama2, tmp_path):
    support.convert(llama2[1], "hf", tmp_path / "hf")
    support.convert(tmp_path / "hf", "meta", tmp_path / "meta", "--mp", ranks)
    for mine, first in zip(support.load_meta(tmp_path / "meta"), support.load_meta(llama2[ranks]), strict=True):
        mine.pop("rope.freqs", None)
        support.same(mine, first)
    assert (tmp_path / "meta" / "tokenizer.model").read_bytes() == (llama2[1] / "tokenizer.model").read_bytes()


@pytest.mark.parametrize("family", ("tiny-llama3", "tiny-llama2"))
@pytest.mark.parametrize("ranks", (1, 2))
def test_committed_fixtures_give_their_recorded_table(family, ranks, fixtures, tmp_path):
    """Shared and flattened storages, embeddings split by column, derived buffers: all in these two."""
    support.convert(fixtures / family / f"mp{ranks}", "hf", tmp_path / "hf")
    expected = json.loads((fixtures / family / "expected.json").read_text())["canonical"]["tensors"]
    found = {name: support.digest(tensor) for name, tensor in support.load_hf(tmp_path / "hf").items()}
    assert found == {entry["name"]: entry["sha256"] for entry in expected}


@pytest.mark.parametrize("dtype", ("f32", "f16", "bf16"))
def test_casts_round_to_nearest_even(dtype, tmp_path):
    source = models.write(tmp_path / "meta", models.LLAMA31, 2, dtype=torch.float32)
    support.convert(source, "hf", tmp_path / "hf", "--dtype", dtype)
    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    whole = llama.huggingface(models.join(models.LLAMA31, support.load_meta(source)), models.LLAMA31, tied=False)
    support.same(support.load_hf(tmp_path / "hf"), {name: tensor.to(target) for name, tensor in whole.items()})
