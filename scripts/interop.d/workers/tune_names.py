"""Converts a table of tensors by torchtune's own function: STACK FUNCTION IN OUT [KEY=VALUE]... (in and out are torch files)."""

import importlib
import json
import sys
import types

import torch

stack, function, source, out, *given = sys.argv[1:]
sys.path.insert(0, stack)
# torchtune imports this at the top for data sets that no table of names touches.
absent = types.ModuleType("datasets")
absent.load_dataset = absent.Dataset = None
distributed = types.ModuleType("datasets.distributed")
distributed.split_dataset_by_node = None
sys.modules |= {"datasets": absent, "datasets.distributed": distributed}
module, name = function.rsplit(".", 1)
arguments = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in given)}
table = getattr(importlib.import_module(module), name)(torch.load(source, weights_only=True), **arguments)
torch.save(table, out)
print(json.dumps(len(table)))
