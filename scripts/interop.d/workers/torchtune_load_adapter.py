"""An adapter in torchtune's own model: FOLDER STACK

FOLDER holds base.safetensors under Hugging Face's names, adapter_model.pt and settings.json; logits.pt and merged.pt, under
Hugging Face's names again, are written beside them.
"""

import json
import pathlib
import sys
import types

folder, stack = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(stack))
# torchtune imports this at the top for data sets that no model touches.
absent = types.ModuleType("datasets")
absent.load_dataset = absent.Dataset = None
distributed = types.ModuleType("datasets.distributed")
distributed.split_dataset_by_node = None
sys.modules |= {"datasets": absent, "datasets.distributed": distributed}

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from torchtune.models import convert_weights  # noqa: E402
from torchtune.models.llama3 import lora_llama3  # noqa: E402
from torchtune.modules.peft import get_merged_lora_ckpt  # noqa: E402

settings = json.loads((folder / "settings.json").read_text())
sizes = {"num_heads": settings["num_heads"], "num_kv_heads": settings["num_kv_heads"], "dim": settings["dim"]}
base = convert_weights.hf_to_tune(safetensors.torch.load_file(folder / "base.safetensors"), **sizes)
adapter = torch.load(folder / "adapter_model.pt", weights_only=True)
model = lora_llama3(
    ["q_proj", "k_proj", "v_proj", "output_proj"],
    apply_lora_to_mlp=True,
    vocab_size=settings["vocab"],
    num_layers=settings["layers"],
    num_heads=settings["num_heads"],
    num_kv_heads=settings["num_kv_heads"],
    embed_dim=settings["dim"],
    max_seq_len=64,
    intermediate_dim=settings["hidden"],
    norm_eps=1e-6,
    rope_base=10_000,
    lora_rank=settings["rank"],
    lora_alpha=settings["alpha"],
    use_dora=settings["dora"],
)
missing, unexpected = model.load_state_dict(base | adapter, strict=False)
assert not missing and not unexpected, (missing, unexpected)
with torch.no_grad():
    torch.save(model(torch.tensor(settings["tokens"])[None]), folder / "logits.pt")
merged = get_merged_lora_ckpt(base | adapter, settings["rank"], settings["alpha"])
torch.save(convert_weights.tune_to_hf(merged, **sizes), folder / "merged.pt")
print(json.dumps({"merged": len(merged)}))
