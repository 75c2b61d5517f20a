"""Quantises small weights with the real libraries: a folder for each case, and what the library makes of it again.

    quantize.py OUT SCHEME

Every folder OUT/NAME holds model.safetensors, config.json and wanted.safetensors; the last has the weights in the dtype
in which the library gives them. Prints the names.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

ROWS, COLUMNS = 96, 256


def noise(seed, *shape):
    return torch.randn(*(shape or (ROWS, COLUMNS)), generator=torch.Generator().manual_seed(seed)) * 0.05


def save(out, name, tensors, config, wanted):
    folder = out / name
    folder.mkdir(parents=True)
    tensors = {key: value.contiguous() for key, value in tensors.items()} | {"norm.weight": torch.ones(4, dtype=torch.bfloat16)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "unheard-of", "torch_dtype": "bfloat16"} | config
    (folder / "config.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in wanted.items()}, folder / "wanted.safetensors")
    return name


def compressed(out):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    def case(name, form, dtype=torch.bfloat16, columns=COLUMNS, **args):
        args = QuantizationArgs(**args)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        weight = noise(len(name), ROWS, columns).to(dtype)
        state = {"weight": weight}
        group = args.group_size or columns
        blocks = weight.unflatten(-1, (-1, group)).float()
        low, high = blocks.amin(-1), blocks.amax(-1)
        if args.strategy == "tensor":
            low, high = low.min().reshape(1), high.max().reshape(1)
        if args.strategy == "block":
            high_, wide = args.block_structure
            tiles = torch.nn.functional.pad(weight.float(), (0, -columns % wide, 0, -ROWS % high_))
            tiles = tiles.unflatten(1, (-1, wide)).unflatten(0, (-1, high_))
            low, high = tiles.amin((1, 3)), tiles.amax((1, 3))
        if form == "nvfp4-pack-quantized":
            state["weight_global_scale"] = generate_gparam(weight.min(), weight.max())
            low, high = low, high
        scale, zero = calculate_qparams(low, high, args, global_scale=state.get("weight_global_scale"))
        state["weight_scale"] = scale if form.startswith(("mx", "nv")) else scale.to(dtype)
        if not args.symmetric:
            state["weight_zero_point"] = zero
        compressor = BaseCompressor.get_value_from_registry(form)
        packed = compressor.compress(state, scheme)
        wanted = compressor.decompress(packed, scheme)["weight"]
        config = {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": json.loads(scheme.model_dump_json())}}
        tensors = {f"a.{key}": value for key, value in packed.items()}
        return save(out, name, tensors, {"quantization_config": config}, {"a.weight": wanted})

    for bits in range(2, 9):
        for symmetric in (True, False):
            kind = "even" if symmetric else "uneven"
            common = {"num_bits": bits, "type": "int", "symmetric": symmetric}
            yield case(f"pack-{bits}-{kind}-group", "pack-quantized", strategy="group", group_size=32, **common)
            yield case(f"pack-{bits}-{kind}-channel", "pack-quantized", strategy="channel", columns=250, **common)
    yield case("pack-half", "pack-quantized", torch.float16, num_bits=4, type="int", symmetric=False, strategy="group", group_size=64)
    yield case("pack-single", "pack-quantized", torch.float32, num_bits=4, type="int", symmetric=False, strategy="group", group_size=64)
    yield case("int-channel", "int-quantized", num_bits=8, type="int", symmetric=False, strategy="channel")
    yield case("int-group", "int-quantized", num_bits=8, type="int", symmetric=True, strategy="group", group_size=64)
    yield case("float-channel", "float-quantized", num_bits=8, type="float", symmetric=True, strategy="channel")
    yield case("float-tensor", "float-quantized", num_bits=8, type="float", symmetric=True, strategy="tensor")
    yield case("float-block", "float-quantized", torch.float32, num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[64, 128])
    yield case("nvfp4", "nvfp4-pack-quantized", num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16)
    micro = {"type": "float", "symmetric": True, "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
    yield case("mxfp4", "mxfp4-pack-quantized", num_bits=4, **micro)
    yield case("mxfp6", "mxfp6-pack-quantized", num_bits=6, **micro)
    yield case("mxfp8", "mxfp8-quantized", num_bits=8, **micro)


def awq(out):
    """Random words in AutoAWQ's order, read by the converter that compressed-tensors has for them."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter

    for group in (32, 128, -1):
        generator = torch.Generator().manual_seed(group)
        words = lambda *shape: torch.randint(-(2**31), 2**31, shape, dtype=torch.int32, generator=generator)
        groups = COLUMNS // group if group > 0 else 1
        scales = (torch.rand(groups, ROWS, generator=generator) * 0.01).half()
        tensors = {"a.qweight": words(COLUMNS, ROWS // 8), "a.qzeros": words(groups, ROWS // 8), "a.scales": scales}
        config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
        converter = AutoAWQConverter(group_size=group if group > 0 else COLUMNS)
        made = {key.removeprefix("a."): value for key, value in converter.process(dict(tensors)).items()}
        scheme = converter._build_quant_config().config_groups["config_group_0"]
        wanted = BaseCompressor.get_value_from_registry("pack-quantized").decompress(made, scheme)["weight"]
        yield save(out, f"awq-{group}", tensors, {"quantization_config": config}, {"a.weight": wanted})


def bitsandbytes(out):
    import bitsandbytes.functional as bnb

    method = {"quant_method": "bitsandbytes"}
    for kind in ("nf4", "fp4"):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for block in (64, 256):
                for nested in (False, True):
                    weight = noise(block).to(dtype)
                    packed, state = bnb.quantize_4bit(weight, blocksize=block, quant_type=kind, compress_statistics=nested)
                    wanted = bnb.dequantize_4bit(packed, state)
                    tensors = {"a.weight": packed} | {f"a.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
                    name = f"{kind}-{str(dtype).removeprefix('torch.')}-{block}-{'nested' if nested else 'plain'}"
                    config = {"quantization_config": method | {"load_in_4bit": True, "bnb_4bit_quant_type": kind}}
                    yield save(out, name, tensors, config, {"a.weight": wanted})
    packed, largest, _ = bnb.int8_vectorwise_quant(noise(8).half())
    wanted = bnb.int8_vectorwise_dequant(packed, largest)
    tensors = {"a.weight": packed, "a.SCB": largest, "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
    yield save(out, "int8", tensors, {"quantization_config": method | {"load_in_8bit": True}}, {"a.weight": wanted})


def mlx(out):
    import mlx.core as mx
    import numpy

    def across(array):
        """The same in torch, which MLX cannot hand over in every dtype."""
        words = {mx.bfloat16: (mx.uint16, torch.bfloat16), mx.float16: (mx.uint16, torch.float16), mx.float32: (mx.uint32, torch.float32)}
        view, dtype = words.get(array.dtype, (array.dtype, None))
        tensor = torch.from_numpy(numpy.array(array.view(view)))
        return tensor.view(dtype) if dtype else tensor

    def case(name, dtype, mode, group, bits, named=False):
        weight = mx.array(noise(bits).numpy()).astype(dtype)
        parts = mx.quantize(weight, group_size=group, bits=bits, mode=mode)
        wanted = across(mx.dequantize(*parts, group_size=group, bits=bits, mode=mode))
        tensors = {f"a.{key}": across(part) for key, part in zip(("weight", "scales", "biases"), parts)}
        settings = {"group_size": group, "bits": bits} | ({} if mode == "affine" else {"mode": mode})
        if named:  # Said of the one module, and something else of all others.
            settings = {"group_size": 64, "bits": 4, "a": settings}
        return save(out, name, tensors, {"quantization": settings, "quantization_config": settings}, {"a.weight": wanted})

    for bits in (2, 3, 4, 5, 6, 8):
        for dtype in (mx.float32, mx.float16, mx.bfloat16):
            for group in (32, 128):
                yield case(f"affine-{bits}-{dtype}-{group}", dtype, "affine", group, bits)
    yield case("named", mx.bfloat16, "affine", 32, 8, named=True)
    yield case("mxfp4", mx.bfloat16, "mxfp4", 32, 4)
    yield case("nvfp4", mx.bfloat16, "nvfp4", 16, 4)
    yield case("mxfp8", mx.bfloat16, "mxfp8", 32, 8)


out, scheme = pathlib.Path(sys.argv[1]), sys.argv[2]
print(json.dumps(list({"compressed": compressed, "awq": awq, "bitsandbytes": bitsandbytes, "mlx": mlx}[scheme](out))))
