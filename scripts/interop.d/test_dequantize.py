"""Packed and scaled weights, undone: the values that the libraries defining the schemes compute."""

import json

import torch
from safetensors.torch import load_file, save_file

import support


def converted(tmp_path, tensors, quantization, dtype):
    """The tensors of a directory with this quantisation after ckpt-convert --dequantize."""
    source, target = tmp_path / "packed", tmp_path / f"plain-{dtype}"
    source.mkdir(exist_ok=True)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "unheard-of", "torch_dtype": "bfloat16", "quantization_config": quantization}
    (source / "config.json").write_text(json.dumps(config))
    support.run("convert", source, "--to", "hf", f"--dequantize={dtype}", "--out", target)
    assert "quantization_config" not in json.loads((target / "config.json").read_text())
    return load_file(target / "model.safetensors")


def test_blocks_of_fp8(tmp_path):
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(200, 300, generator=generator).to(torch.float8_e4m3fn)
    scale = torch.rand(2, 3, generator=generator) + 0.01
    tensors = {"a.weight": weight, "a.weight_scale_inv": scale, "b.weight": torch.ones(3, dtype=torch.bfloat16)}
    spread = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[:200, :300]
    wanted = weight.float() * spread
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    for dtype, form in [("F32", torch.float32), ("BF16", torch.bfloat16)]:
        ours = converted(tmp_path, tensors, quantization, dtype)
        assert set(ours) == {"a.weight", "b.weight"}
        assert torch.equal(ours["a.weight"], wanted.to(form))


def test_mxfp4_as_transformers_unpacks_it(tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    generator = torch.Generator().manual_seed(6)
    blocks = torch.randint(0, 256, (3, 10, 4, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(110, 140, (3, 10, 4), dtype=torch.uint8, generator=generator)
    wanted = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
    tensors = {"experts.gate_up_proj_blocks": blocks, "experts.gate_up_proj_scales": scales}
    ours = converted(tmp_path, tensors, {"quant_method": "mxfp4"}, "BF16")
    assert set(ours) == {"experts.gate_up_proj"}
    assert torch.equal(ours["experts.gate_up_proj"], wanted.contiguous())
