"""Converts a table of tensors by torchtune's own function: STACK FUNCTION IN OUT [KEY=VALUE]... (in and out are torch files)."""

import importlib
import json
import sys
import unittest.mock

import torch

stack, function, source, out, *given = sys.argv[1:]
sys.path.insert(0, stack)
# torchtune imports these at the top for data sets and images, which no table of names touches.
ABSENT = ("datasets", "datasets.distributed", "torchvision", "torchvision.transforms", "torchvision.transforms.v2")
sys.modules |= {name: unittest.mock.MagicMock() for name in ABSENT}
module, name = function.rsplit(".", 1)
arguments = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in given)}
table = getattr(importlib.import_module(module), name)(torch.load(source, weights_only=True), **arguments)
torch.save(table, out)
print(json.dumps(len(table)))
