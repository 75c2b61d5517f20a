"""Meta's Llama 4 on a Meta directory of one rank, strictly loaded, on the CPU: DIR IDS(JSON) OUT.pt"""

import json
import os
import pathlib
import socket
import sys

import torch

folder, ids, out = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
# Its caches are put on a GPU; without one they stay where they are.
torch.Tensor.cuda = lambda self, *_: self

import fairscale.nn.model_parallel.initialize as parallel  # noqa: E402
from llama_models.llama4.args import ModelArgs  # noqa: E402
from llama_models.llama4.datatypes import TransformerInput  # noqa: E402
from llama_models.llama4.model import Transformer  # noqa: E402

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
torch.distributed.init_process_group("gloo", rank=0, world_size=1)
parallel.initialize_model_parallel(1)
params = json.loads((folder / "params.json").read_text())
model = Transformer(ModelArgs(**params, max_seq_len=64, max_batch_size=1))
(file,) = folder.glob("consolidated*.pth")
model.load_state_dict(torch.load(file, weights_only=True), strict=True)
model = model.float()
result = {"logits": model(TransformerInput(tokens=torch.tensor([ids]), tokens_position=0)).logits[0].clone()}
if params.get("vision_args"):
    generator = torch.Generator().manual_seed(1)
    size = params["vision_args"]["image_size"]["height"]
    pixels = torch.randn((1, 3, size, size), generator=generator)
    with torch.no_grad():
        encoded = model.vision_embeddings.vision_encoder(pixels.unsqueeze(1).unsqueeze(1))
        seen = model.vision_embeddings.vision_adapter(encoded)
        result["seen"] = model.vision_projection(seen.reshape(-1, seen.shape[-1]))
torch.save(result, out)
print(json.dumps(len(ids)))
