#!/usr/bin/env python3
"""What people use today, one run of it: theirs.py KIND SOURCE TARGET

    dcp     `dcp_to_torch_save` of torch itself
    gguf    the work of llama.cpp's convert_hf_to_gguf.py, which is in no package: tensors read one after the other, named by
            gguf-py's map, q and k in llama.cpp's order, rounded or quantised by gguf-py; without the vocabulary
    packed  compressed-tensors' own decompression of every weight, saved by safetensors
"""

import json
import pathlib
import sys

import torch


def dcp(source, target):
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(source, target)


def gguf(source, target, kind):
    import gguf
    import numpy
    from safetensors import safe_open

    config = json.loads((source / "config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    kind = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(target, "llama", use_temp_file=False)
    # As the script does with what it reads lazily: the table first, then the values one after the other.
    files = [safe_open(file, "pt") for file in sorted(source.glob("*.safetensors"))]
    work = [(file, key) for file in files for key in file.keys()]
    for file, key in work:
        shape = file.get_slice(key).get_shape()
        own = gguf.GGMLQuantizationType.F32 if len(shape) == 1 else kind
        size = gguf.quant_shape_to_byte_shape(shape, own) if own != gguf.GGMLQuantizationType.F32 else shape
        dtype = "f4" if own == gguf.GGMLQuantizationType.F32 else "u1"
        count = 1
        for extent in size:
            count *= extent
        writer.add_tensor_info(names.get_name(key, (".weight",)), size, numpy.dtype(dtype), count * numpy.dtype(dtype).itemsize, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for file, key in work:
        value = file.get_tensor(key)
        count = heads.get(key.split(".")[-2])
        if count:
            rows, columns = value.shape
            value = value.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        values = value.float().numpy()
        writer.write_tensor_data(values if value.dim() == 1 else gguf.quants.quantize(values, kind))
    writer.close()


def packed(source, target):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from safetensors import safe_open
    from safetensors.torch import save_file

    settings = json.loads((source / "config.json").read_text())["quantization_config"]
    scheme = QuantizationScheme.model_validate(settings["config_groups"]["group_0"])
    compressor = BaseCompressor.get_value_from_registry(settings["format"])
    made = {}
    with safe_open(source / "model.safetensors", "pt") as file:
        for key in file.keys():
            stem, part = key.rsplit(".", 1)
            if part == "weight":
                made[key] = file.get_tensor(key)
            elif part == "weight_packed":
                state = {name: file.get_tensor(f"{stem}.{name}") for name in ("weight_packed", "weight_scale", "weight_shape")}
                made[f"{stem}.weight"] = compressor.decompress(state, scheme)["weight"]
    save_file(made, target)


def main():
    kind, source, target, *more = sys.argv[1:]
    {"dcp": dcp, "gguf": gguf, "packed": packed}[kind](pathlib.Path(source), target, *more)


if __name__ == "__main__":
    main()
