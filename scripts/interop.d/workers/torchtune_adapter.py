"""torchtune's own merge and renaming of an adapter: FOLDER STACK

FOLDER holds base.pt and adapter.pt under torchtune's names and settings.json with rank, alpha and sizes of heads; merged.pt and
peft.pt are written beside them.
"""

import json
import pathlib
import sys
import types

folder, stack = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(stack))
# torchtune imports this at the top for data sets that a merge does not touch.
absent = types.ModuleType("datasets")
absent.load_dataset = absent.Dataset = None
distributed = types.ModuleType("datasets.distributed")
distributed.split_dataset_by_node = None
sys.modules |= {"datasets": absent, "datasets.distributed": distributed}

import torch  # noqa: E402
from torchtune.models import convert_weights  # noqa: E402
from torchtune.modules.peft import get_merged_lora_ckpt  # noqa: E402

settings = json.loads((folder / "settings.json").read_text())
base = torch.load(folder / "base.pt", weights_only=True)
adapter = torch.load(folder / "adapter.pt", weights_only=True)
merged = get_merged_lora_ckpt(base | adapter, settings["rank"], settings["alpha"])
torch.save(merged, folder / "merged.pt")
sizes = {key: settings[key] for key in ("num_heads", "num_kv_heads", "dim", "head_dim")}
torch.save(convert_weights.tune_to_peft_adapter_weights(adapter, **sizes), folder / "peft.pt")
print(json.dumps({"merged": len(merged)}))
