"""Adapters of the tiny Llama in hf-tiny, as PEFT, torchtune and llama-stack leave them, and what PEFT merges them to."""

import json
import pathlib
import shutil

import digests
import peft
import safetensors.torch
import torch
import transformers

BASE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "hf-tiny"
PROJECTIONS = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj"}
HEADS = {"q_proj": 4, "k_proj": 2}


def base():
    return transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16)


def saved(folder, **settings):
    """An adapter whose values are all random, as PEFT saves it; returns its tensors."""
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(base(), config)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
        elif "magnitude" in name:
            value.data *= 1 + 0.1 * torch.randn_like(value)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "hf-tiny"
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def torchtunes(tensors):
    """The same under torchtune's names and in its order of rows."""
    table = {}
    for name, tensor in tensors.items():
        layer, _, projection, part = name.removeprefix("base_model.model.model.layers.").split(".", 3)
        part = {"lora_A.weight": "lora_a.weight", "lora_B.weight": "lora_b.weight", "lora_magnitude_vector": "magnitude"}[part]
        heads = HEADS.get(projection)
        if heads and part != "lora_a.weight":
            shape = tensor.shape
            tensor = tensor.reshape(heads, 2, shape[0] // heads // 2, -1).transpose(1, 2).reshape(shape).contiguous()
        table[f"layers.{layer}.attn.{PROJECTIONS[projection]}.{part}"] = tensor
    return table


def merged(folder):
    """Digests of the weights that PEFT's merge changes."""
    state = peft.PeftModel.from_pretrained(base(), folder).merge_and_unload().state_dict()
    return {name: digests.sha256(digests.value_bytes(tensor)) for name, tensor in state.items() if ".self_attn." in name}


def make(folder):
    expected = {}
    for name, settings in (("lora", {}), ("rslora", {"use_rslora": True}), ("dora", {"use_dora": True})):
        tensors = saved(folder / name, **settings)
        expected[name] = {"merged": merged(folder / name), "torchtune": {key: digests.sha256(digests.value_bytes(tensor)) for key, tensor in torchtunes(tensors).items()}}
    # llama-stack's save in Meta's form: the adapter alone in its folder, no config anywhere.
    lora = safetensors.torch.load_file(folder / "lora" / "adapter_model.safetensors")
    (folder / "meta" / "adapter").mkdir(parents=True)
    torch.save(torchtunes(lora), folder / "meta" / "adapter" / "adapter.pth")
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 768, "norm_eps": 1e-5, "rope_theta": 500000.0}
    (folder / "meta" / "params.json").write_text(json.dumps(params))
    # And in Hugging Face's: torchtune's file on top, PEFT's below with half a config, the base's config.
    (folder / "stack" / "adapter").mkdir(parents=True)
    torch.save(torchtunes(lora), folder / "stack" / "adapter_model.pt")
    safetensors.torch.save_file(lora, folder / "stack" / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"r": 2, "lora_alpha": 3, "target_modules": list(PROJECTIONS), "peft_type": "LORA"}
    (folder / "stack" / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    (folder / "stack" / "config.json").write_bytes((BASE / "config.json").read_bytes())
    # A DoRA in both forms, as torchtune leaves them but for the magnitudes, which are in PEFT's order here.
    (folder / "twin").mkdir()
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(folder / "dora" / file, folder / "twin" / file)
    torch.save(torchtunes(safetensors.torch.load_file(folder / "dora" / "adapter_model.safetensors")), folder / "twin" / "adapter_model.pt")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
