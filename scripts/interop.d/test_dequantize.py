"""Packed and scaled weights, undone: the values that the libraries defining the schemes compute."""

import json

import pytest
import support
import torch
from safetensors.torch import load_file, save_file

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def converted(tmp_path, tensors, quantization, dtype):
    """The tensors of a directory with this quantisation after ckpt-convert --dequantize."""
    source, target = tmp_path / "packed", tmp_path / f"plain-{dtype}"
    source.mkdir(exist_ok=True)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "unheard-of", "torch_dtype": "bfloat16", "quantization_config": quantization}
    (source / "config.json").write_text(json.dumps(config))
    return plain(source, target, dtype)


def plain(source, target, dtype):
    support.run("convert", source, "--to", "hf", f"--dequantize={dtype}", "--out", target)
    assert not {"quantization", "quantization_config"} & set(json.loads((target / "config.json").read_text()))
    return load_file(target / "model.safetensors")


@pytest.mark.parametrize("scheme", ["compressed", "awq", "bitsandbytes", "mlx"])
def test_as_the_library_dequantises(tmp_path, scheme):
    """Every case of workers/quantize.py; what is only bigger is counted, and found sound."""
    for name in support.work_in("extra", "quantize", tmp_path, scheme):
        folder = tmp_path / name
        wanted = load_file(folder / "wanted.safetensors")["a.weight"]
        (folder / "wanted.safetensors").unlink()
        ours = plain(folder, tmp_path / f"{name}-plain", NAMES[wanted.dtype])
        assert set(ours) == {"a.weight", "norm.weight"}, name
        assert torch.equal(ours["a.weight"], wanted), name
        inspected = support.run("inspect", folder).document["inspect"]
        # A last word that is not full counts whole: how many of its numbers are meant is in the data.
        whole = wanted.shape[0] * -(-wanted.shape[1] // 32) * 32
        assert wanted.numel() + 4 <= inspected["parameters"] <= whole + 4, name
        support.run("verify", "--deep", folder)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
def test_gptq(tmp_path, bits, form):
    """Integers packed here along the inputs, groups in any order; `convert_gptq_file` of GPTQModel computes the same."""
    inputs, outputs, groups = 256, 96, 4
    generator = torch.Generator().manual_seed(bits)
    below = lambda *shape: torch.randint(0, 2**bits, shape, generator=generator)
    values, zeros = below(inputs, outputs), below(groups, outputs)
    scales = (torch.rand(groups, outputs, generator=generator) * 0.01).half()
    order = torch.randint(0, groups, (inputs,), generator=generator)
    stored = zeros if form == "gptq_v2" else (zeros - 1) % 2**bits
    tensors = {
        "a.qweight": packed(values.T, bits).T.contiguous(),
        "a.qzeros": packed(stored, bits),
        "a.scales": scales,
        "a.g_idx": order.int(),
        "a.bias": torch.ones(outputs).half(),
    }
    quantization = {"quant_method": "gptq", "bits": bits, "group_size": 64, "desc_act": True, "checkpoint_format": form}
    wanted = ((values.float() - zeros.float()[order]) * scales.float()[order]).T
    for dtype, name in NAMES.items():
        ours = converted(tmp_path, tensors, quantization, name)
        assert set(ours) == {"a.weight", "a.bias"}
        assert torch.equal(ours["a.weight"], wanted.to(dtype))
    # In half precision, as its kernels multiply.
    assert torch.equal(wanted.half(), (scales[order] * (values - zeros[order])).T)


def packed(numbers, bits):
    """Numbers of a few bits side by side, in words of 32 bits, row by row."""
    rows = []
    for row in numbers.tolist():
        whole = sum(number << bits * index for index, number in enumerate(row))
        rows.append([whole >> 32 * word & 0xFFFFFFFF for word in range(len(row) * bits // 32)])
    return torch.tensor(rows, dtype=torch.int64).to(torch.int32)


def test_nvfp4_of_modelopt(tmp_path):
    """Two scales, the product of which comes first, as `NVFP4QTensor.dequantize` has it."""
    generator = torch.Generator().manual_seed(9)
    weight = torch.randint(0, 256, (64, 128), dtype=torch.uint8, generator=generator)
    scale = (torch.rand(64, 16, generator=generator) * 400).to(torch.float8_e4m3fn)
    second = torch.tensor(0.000731)
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    codes = torch.stack((weight & 15, weight >> 4), -1).flatten(1).long()
    wanted = table[codes] * (scale.float() * second).repeat_interleave(16, 1)
    tensors = {"a.weight": weight, "a.weight_scale": scale, "a.weight_scale_2": second, "a.input_scale": torch.tensor(1.0)}
    for dtype in (torch.float32, torch.bfloat16):
        ours = converted(tmp_path, tensors, {"quant_method": "modelopt", "quant_algo": "NVFP4"}, NAMES[dtype])
        assert set(ours) == {"a.weight"}
        assert torch.equal(ours["a.weight"], wanted.to(dtype))


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
