"""ZeRO's checkpoints as DeepSpeed 0.19 lays them out, written with torch alone: DeepSpeed itself needs a compiler and a
launcher. The layout is that of its `zero_to_fp32.py`, and the expected values are those the arrays were cut from."""

import collections
import enum
import sys
import types

import digests
import torch

RANKS = 3


class ZeroStageEnum(int, enum.Enum):
    optimizer_states = 1
    gradients = 2
    weights = 3


def lend_modules():
    """Puts the class where DeepSpeed has it, so that the pickles name it as DeepSpeed's do."""
    name = ""
    for part in "deepspeed.runtime.zero.config".split("."):
        name = f"{name}.{part}".lstrip(".")
        sys.modules.setdefault(name, types.ModuleType(name))
    ZeroStageEnum.__module__, ZeroStageEnum.__qualname__ = name, "ZeroStageEnum"
    sys.modules[name].ZeroStageEnum = ZeroStageEnum


def masters():
    """Two groups, as weight decay makes them; sizes that no number of ranks divides."""
    decayed = {"embed.weight": torch.randn(11, 5), "layers.0.weight": torch.randn(5, 5), "layers.1.weight": torch.randn(3, 7)}
    plain = {"layers.0.bias": torch.randn(5), "layers.1.bias": torch.randn(3), "scale": torch.randn(1)}
    return [decayed, plain]


def up(number, step):
    return -(-number // step) * step


def model_states(groups, frozen, buffer, stage, fragments):
    flat = {name: value for group in groups for name, value in group.items()}
    module = collections.OrderedDict(buf=buffer)
    for name, value in flat.items():
        module[name] = torch.zeros(0, dtype=torch.bfloat16) if stage == 3 else value.to(torch.bfloat16)
    module["frozen.weight"] = torch.zeros(0, dtype=torch.bfloat16) if stage == 3 else frozen
    module["head.weight"] = module["embed.weight"]
    shapes = [collections.OrderedDict((name, value.shape) for name, value in group.items()) for group in groups]
    kept = stage > 1
    return {
        "module": module,
        "buffer_names": ["buf"],
        "optimizer": None,
        "param_shapes": shapes,
        "frozen_param_shapes": {"frozen.weight": frozen.shape} if kept else None,
        "shared_params": {} if stage == 3 else {"head.weight": "embed.weight"},
        "frozen_param_fragments": {"frozen.weight": fragments} if kept else None,
        "lr_scheduler": None,
        "global_steps": 2,
        "dp_world_size": RANKS,
        "mp_world_size": 1,
        "ds_version": "0.19.8",
    }


def optimizer_state(stage, key, parts, more):
    state = {number: {"step": torch.tensor(2.0), "exp_avg": torch.zeros_like(part)} for number, part in enumerate(parts)}
    base = "optimizer_state_dict" if stage == 3 else "base_optimizer_state"
    groups = [{"lr": 0.01, "params": [number]} for number in range(len(parts))]
    own = {base: {"state": state, "param_groups": groups}, "zero_stage": ZeroStageEnum(stage), key: parts, **more}
    return {"optimizer_state_dict": own, "ds_version": "0.19.8"}


def name(folder, rank, stage):
    states = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
    return folder / states, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def partitioned(folder, stage, groups, frozen, buffer, padding):
    """Stages 1 and 2: a group is one array, cut into equal parts; the last rank leaves out the padding at its end."""
    parts = []
    for group, gaps in zip(groups, padding):
        pieces = [piece for value, gap in zip(group.values(), gaps) for piece in (value.flatten(), torch.zeros(gap))]
        array = torch.cat(pieces)
        share = up(array.numel(), 2 * RANKS) // RANKS
        parts.append([array[rank * share : (rank + 1) * share].clone() for rank in range(RANKS)])
    states, _ = name(folder, 0, stage)
    torch.save(model_states(groups, frozen, buffer, stage, frozen), states)
    more = {"partition_count": [RANKS] * len(groups), "param_alignment_paddings": padding}
    for rank in range(RANKS):
        own = [part[rank] for part in parts]
        _, optimizer = name(folder, rank, stage)
        torch.save(optimizer_state(stage, "single_partition_of_fp32_groups", own, more), optimizer)


def spread(value):
    """Stage 3: a parameter is cut by itself, padded to equal parts."""
    share = up(value.numel(), RANKS) // RANKS
    padded = torch.cat([value.flatten(), torch.zeros(share * RANKS - value.numel(), dtype=value.dtype)])
    return [padded[rank * share : (rank + 1) * share].clone() for rank in range(RANKS)]


def sharded(folder, groups, frozen, buffer):
    for rank in range(RANKS):
        states, optimizer = name(folder, rank, 3)
        torch.save(model_states(groups, frozen, buffer, 3, spread(frozen)[rank]), states)
        flat = [torch.cat([spread(value)[rank] for value in group.values()]) for group in groups]
        torch.save(optimizer_state(3, "fp32_flat_groups", flat, {"partition_count": RANKS}), optimizer)


def universal(folder, groups, frozen, buffer):
    states, _ = name(folder, 0, 1)
    torch.save(model_states(groups, frozen, buffer, 1, frozen), states)
    for group in groups:
        for parameter, value in group.items():
            home = folder / "zero" / parameter
            home.mkdir(parents=True)
            torch.save({"cat_dim": 0, "param": value}, home / "fp32.pt")


def make(folder):
    lend_modules()
    groups, frozen, buffer = masters(), torch.randn(4, 4).to(torch.bfloat16), torch.arange(5.0)
    tensors = []
    for case in ("stage1", "stage2", "stage3", "universal"):
        home = folder / case / "global_step2"
        home.mkdir(parents=True)
        (folder / case / ("latest_universal" if case == "universal" else "latest")).write_text("global_step2")
        if case == "universal":
            universal(home, groups, frozen, buffer)
        elif case == "stage3":
            sharded(home, groups, frozen, buffer)
        else:
            gaps = [[0, 3, 0], [1, 0, 0]] if case == "stage2" else [[0, 0, 0], [0, 0, 0]]
            partitioned(home, int(case[-1]), groups, frozen, buffer, gaps)
        values = {"buf": buffer, "frozen.weight": frozen, **groups[0], **groups[1]}
        values["head.weight"] = groups[0]["embed.weight"]
        tensors += [digests.entry(name, value, file=case) for name, value in values.items()]
    module = {name: value.to(torch.bfloat16) for group in groups for name, value in group.items()}
    tensors += [digests.entry(name, value, file="stage2", weights="module") for name, value in module.items()]
    digests.write(folder / "expected.json", {"torch": torch.__version__, "tensors": tensors})
