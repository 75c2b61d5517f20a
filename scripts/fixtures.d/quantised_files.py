"""A weight in each way of quantisation that a config can name: integers of a few bits packed by hand, as the libraries lay them."""

import json

import digests
import torch
from safetensors.torch import save_file

ROWS, COLUMNS, GROUP = 16, 64, 32


def make(folder):
    entries = []
    for method, (settings, tensors) in methods().items():
        path = folder / method
        path.mkdir()
        tensors |= {"norm.weight": torch.ones(4, dtype=torch.bfloat16)}
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
        # MLX names no method: its settings alone say it.
        config = {"quantization": settings} if method == "mlx" else {"quantization_config": {"quant_method": method} | settings}
        (path / "config.json").write_text(json.dumps({"model_type": "unheard-of"} | config) + "\n")
        file = f"{method}/model.safetensors"
        entries += [digests.entry(name, tensors[name], file=file) for name in sorted(tensors)]
    digests.write(folder / "expected.json", {"torch": torch.__version__, "tensors": entries})


def methods():
    """method -> what its config says of it, its tensors"""
    below = lambda end, *shape: torch.randint(0, end, shape)  # noqa: E731
    words = lambda *shape: torch.randint(-(2**31), 2**31, shape, dtype=torch.int32)  # noqa: E731
    scales = lambda *shape: torch.rand(*shape) * 0.01 + 0.001  # noqa: E731
    fp8 = lambda: torch.randn(ROWS, COLUMNS).to(torch.float8_e4m3fn)  # noqa: E731
    groups = COLUMNS // GROUP
    by_input = {
        "a.qweight": words(COLUMNS // 8, ROWS),
        "a.qzeros": words(groups, ROWS // 8),
        "a.scales": scales(groups, ROWS).half(),
        "a.g_idx": torch.arange(COLUMNS, dtype=torch.int32) // GROUP,
    }
    by_output = {"a.qweight": words(COLUMNS, ROWS // 8), "a.qzeros": words(groups, ROWS // 8), "a.scales": scales(groups, ROWS).half()}
    packed = {
        "a.weight_packed": words(ROWS, COLUMNS // 8),
        "a.weight_scale": scales(ROWS, groups).bfloat16(),
        "a.weight_shape": torch.tensor([ROWS, COLUMNS]),
    }
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
    named = {"format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    micro = {"a.weight_blocks": below(256, 2, ROWS, groups, 16).to(torch.uint8), "a.weight_scales": below(8, 2, ROWS, groups).to(torch.uint8) + 120}
    eight = {"a.weight": below(256, ROWS, COLUMNS).to(torch.uint8).view(torch.int8), "a.SCB": scales(ROWS), "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
    nv = {
        "a.weight": below(256, ROWS, COLUMNS // 2).to(torch.uint8),
        "a.weight_scale": (torch.rand(ROWS, COLUMNS // 16) * 400).to(torch.float8_e4m3fn),
        "a.weight_scale_2": torch.tensor(0.0007),
    }
    affine = {"a.weight": words(ROWS, COLUMNS // 8).view(torch.uint32), "a.scales": scales(ROWS, groups).bfloat16(), "a.biases": scales(ROWS, groups).bfloat16()}
    four = {"bits": 4, "group_size": GROUP}
    return {
        "auto-round": (four | {"packing_format": "auto_round:auto_gptq", "sym": True}, {key: value.clone() for key, value in by_input.items()}),
        "awq": (four | {"zero_point": True, "version": "gemm"}, by_output),
        "bitsandbytes": ({"load_in_8bit": True}, eight),
        "compressed-tensors": (named, packed),
        "fbgemm_fp8": ({}, {"a.weight": fp8(), "a.weight_scale": scales(ROWS, 1)}),
        "fp8": ({"weight_block_size": [128, 128]}, {"a.weight": fp8(), "a.weight_scale_inv": scales(1, 1)}),
        "gptq": (four | {"desc_act": False, "checkpoint_format": "gptq"}, by_input),
        "mlx": (four, affine),
        "modelopt": ({"quant_algo": "NVFP4"}, nv),
        "mxfp4": ({}, micro),
    }
