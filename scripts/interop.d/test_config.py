"""config.json and generation_config.json are read to the same values by three generations of transformers."""

import pytest
import support

LLAMA31_SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
SAMPLING = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}

# name -> what must be read; the values of params.json and of the tensors, and what each release is known to say
EXPECTED = {
    "llama31": {
        "hidden_size": 128,
        "intermediate_size": 448,
        "num_hidden_layers": 3,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 8,
        "vocab_size": 768,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA31_SCALING,
        "tie_word_embeddings": False,
        "dtype": "torch.bfloat16",
        # A vocabulary of 512 ranks puts the special tokens there and not at 128000.
        "bos_token_id": 512,
        "eos_token_id": 513,
    },
    "tiny-llama3": {
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 176,
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA31_SCALING | {"factor": 32.0},
        "tie_word_embeddings": True,
        "dtype": "torch.bfloat16",
        "bos_token_id": 512,
        "eos_token_id": 513,
    },
    "tiny-llama2": {
        "num_key_value_heads": 4,
        "vocab_size": 448,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "dtype": "torch.float16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "instruct": {
        "vocab_size": 128256,
        "rope_scaling": LLAMA31_SCALING,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
    },
}


@pytest.fixture(scope="module")
def read(fixtures, llama31, real_llama3, tmp_path_factory):
    """version -> name -> values"""
    home = tmp_path_factory.mktemp("configs")
    sources = {
        "llama31": llama31[4],
        "tiny-llama3": fixtures / "tiny-llama3" / "mp2",
        "tiny-llama2": fixtures / "tiny-llama2" / "mp2",
        "instruct": real_llama3,
    }
    assert sources.keys() == EXPECTED.keys()
    for name, source in sources.items():
        support.convert(source, "hf", home / name)
    folders = [home / name for name in EXPECTED]
    return {
        version: dict(zip(EXPECTED, support.work(version, "read_config", *folders), strict=True))
        for version in support.ENVIRONMENTS
    }


@pytest.mark.parametrize("version", support.ENVIRONMENTS)
@pytest.mark.parametrize("name", EXPECTED)
def test_values(name, version, read):
    found = read[version][name]
    assert {key: found[key] for key in EXPECTED[name]} == EXPECTED[name]
    assert found["architectures"] == ["LlamaForCausalLM"] and found["model_type"] == "llama"
    assert found["rms_norm_eps"] == 1e-05
    ends = {key: found[key] for key in ("bos_token_id", "eos_token_id")}
    assert found["generation"] == ends | SAMPLING


@pytest.mark.parametrize("name", EXPECTED)
def test_every_version_reads_the_same(name, read):
    first, *others = (read[version][name] for version in support.ENVIRONMENTS)
    assert all(other == first for other in others)


def test_a_config_of_the_present_is_read_by_us(fixtures, tmp_path):
    """hf-tiny's config.json is of transformers 5, which older ones misread; ours of the same model must not be."""
    support.convert(fixtures / "hf-tiny", "meta", tmp_path / "meta")
    support.convert(tmp_path / "meta", "hf", tmp_path / "hf")
    for version in support.ENVIRONMENTS:
        (found,) = support.work(version, "read_config", tmp_path / "hf")
        assert found["rope_theta"] == 500000.0 and found["rope_scaling"]["factor"] == 32.0, version
