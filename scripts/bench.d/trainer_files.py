#!/usr/bin/env python3
"""Makes what trainers save, of random numbers in the shape of a Llama: trainer_files.py KIND SHAPE OUT

    dcp       torch.distributed's store, four files
    zero      DeepSpeed's ZeRO 2 over four ranks, the fp32 masters alone, as fixtures.d/zero_files.py lays them out
    dcp-many  a thousand files of small tensors
    zero-many one file of 16-bit copies and 999 of masters
    packed    a model of compressed-tensors, four bits in groups of 32
"""

import json
import pathlib
import sys

import torch
import torch.distributed.checkpoint as checkpoint
from safetensors.torch import save_file
from torch.distributed.checkpoint.filesystem import FileSystemWriter

import llama_files

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures.d"))
import zero_files  # noqa: E402

MANY = 1000


def weights(shape):
    return llama_files.random_weights(*llama_files.SHAPES[shape])


def dcp(shape, out):
    checkpoint.save({"model": weights(shape)}, storage_writer=FileSystemWriter(out, thread_count=4), no_dist=True)


def dcp_many(_, out):
    state = {f"layers.{number}.weight": torch.full((64, 8), float(number)) for number in range(MANY)}
    writer = FileSystemWriter(out, single_file_per_rank=False, thread_count=1)
    checkpoint.save({"model": state}, storage_writer=writer, no_dist=True)


def zero_of(ranks, groups, out):
    """Without Adam's moments: twice as many bytes again, which nobody reads who wants the weights."""
    whole = zero_files.optimizer_state

    def lean(*arguments):
        made = whole(*arguments)
        made["optimizer_state_dict"]["base_optimizer_state"] = {"state": {}, "param_groups": []}
        return made

    zero_files.optimizer_state = lean
    zero_files.lend_modules()
    zero_files.RANKS = ranks
    folder = out / "global_step2"
    folder.mkdir()
    (out / "latest").write_text("global_step2")
    gaps = [[0] * len(group) for group in groups]
    buffer, frozen = torch.arange(5.0), torch.zeros(4, 4, dtype=torch.bfloat16)
    # zero_files ties a head to this name.
    groups[0]["embed.weight"] = groups[0].pop("tok_embeddings.weight")
    zero_files.partitioned(folder, 2, groups, frozen, buffer, gaps)


def zero(shape, out):
    masters = {name: value.float() for name, value in weights(shape).items()}
    flat = {name: value for name, value in masters.items() if value.dim() > 1}
    zero_of(4, [flat, {name: value for name, value in masters.items() if value.dim() == 1}], out)


def zero_many(_, out):
    # Twice the ranks divide every size, so that each has as much as the next.
    sizes = (27, 2 * (MANY - 1) // 27)
    decayed = {f"layers.{number}.weight": torch.full(sizes, float(number)) for number in range(100)}
    decayed["tok_embeddings.weight"] = torch.zeros(sizes)
    plain = {f"layers.{number}.bias": torch.full((2 * (MANY - 1),), float(number)) for number in range(100)}
    zero_of(MANY - 1, [decayed, plain], out)


def packed(shape, out):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, value in weights(shape).items():
        name = llama_files.hf_name(name).removesuffix(".weight")
        if value.dim() == 1 or "embed" in name:
            tensors[f"{name}.weight"] = value
            continue
        rows, columns = value.shape
        tensors[f"{name}.weight_packed"] = torch.randint(-(2**31), 2**31, (rows, columns // 8), dtype=torch.int32, generator=generator)
        tensors[f"{name}.weight_scale"] = (torch.rand(rows, columns // 32, generator=generator) * 0.01).bfloat16()
        tensors[f"{name}.weight_shape"] = torch.tensor([rows, columns])
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    settings = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
    group = {"targets": ["Linear"], "weights": settings}
    quantization = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": group}}
    config = {"model_type": "unheard-of", "torch_dtype": "bfloat16", "quantization_config": quantization}
    (out / "config.json").write_text(json.dumps(config) + "\n")


def main():
    kind, shape, out = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True)
    {"dcp": dcp, "zero": zero, "dcp-many": dcp_many, "zero-many": zero_many, "packed": packed}[kind](shape, out)


if __name__ == "__main__":
    main()
