"""The save that fails: llama-stack's own TorchtuneCheckpointer, driven as its recipe drives it: CHECKPOINT_DIR OUT_DIR STACK FORM

Loads the one .pth of CHECKPOINT_DIR, adds random LoRA weights where training would have made them, and saves in
FORM, which is huggingface or meta. Prints what became of it.
"""

import importlib.util
import json
import pathlib
import sys
import types

checkpoint_dir, out, stack = map(pathlib.Path, sys.argv[1:4])
sys.path.insert(0, str(stack))
# torchtune imports this at the top for data sets that a save does not touch.
absent = types.ModuleType("datasets")
absent.load_dataset = absent.Dataset = None
distributed = types.ModuleType("datasets.distributed")
distributed.split_dataset_by_node = None
sys.modules |= {"datasets": absent, "datasets.distributed": distributed}

import torch  # noqa: E402

# The module is loaded by its file: its package would import a whole server.
file = stack / "llama_stack/providers/inline/post_training/torchtune/common/checkpointer.py"
spec = importlib.util.spec_from_file_location("checkpointer", file)
checkpointer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checkpointer)

params = json.loads((checkpoint_dir / "params.json").read_text())
files = sorted(path.name for path in checkpoint_dir.glob("*.pth"))
saver = checkpointer.TorchtuneCheckpointer(
    model_id="Llama3.2-3B-Instruct",
    training_algorithm="sft",
    checkpoint_dir=str(checkpoint_dir),
    checkpoint_files=files,
    output_dir=str(out),
    model_type="LLAMA3_2",
)
state = saver.load_checkpoint()

generator = torch.Generator().manual_seed(0)
head = params["dim"] // params["n_heads"]
rows = {"q_proj": params["n_heads"] * head, "k_proj": params["n_kv_heads"] * head, "v_proj": params["n_kv_heads"] * head}
adapter = {}
for layer in range(params["n_layers"]):
    for name, height in rows.items():
        key = f"layers.{layer}.attn.{name}"
        adapter[f"{key}.lora_a.weight"] = torch.randn(4, params["dim"], generator=generator)
        adapter[f"{key}.lora_b.weight"] = torch.randn(height, 4, generator=generator)
state["adapter"] = dict(adapter)
state["adapter_config"] = {"r": 4, "lora_alpha": 8, "target_modules": list(rows), "peft_type": "LORA"}
result = {"error": None, "filename": None, "files": []}
try:
    saved = pathlib.Path(saver.save_checkpoint(state, epoch=0, checkpoint_format=sys.argv[4]))
    result["files"] = sorted(str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file())
    result["saved"] = str(saved)
    torch.save(adapter, out / "trained.pt")
except OSError as error:
    result |= {"error": type(error).__name__, "filename": str(error.filename)}
print(json.dumps(result))
