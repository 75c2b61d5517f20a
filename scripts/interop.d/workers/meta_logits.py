"""Meta's reference model on a Meta directory of any number of ranks: DIR IDS(JSON) OUT.pt [PARAMETER=VALUE...]

The state dict is loaded strictly. Ranks are processes joined by gloo, as Meta runs them.
"""

import json
import os
import pathlib
import sys

import torch
import torch.multiprocessing

folder, ids, out = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
given = {key: json.loads(value) for key, value in (word.split("=") for word in sys.argv[4:])}
files = sorted(folder.glob("consolidated.*.pth"))


def rank_main(rank, port):
    import fairscale.nn.model_parallel.initialize as parallel
    from llama_models.llama3.args import ModelArgs
    from llama_models.llama3.model import Transformer

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(files))
    parallel.initialize_model_parallel(len(files))
    params = json.loads((folder / "params.json").read_text()) | given
    model = Transformer(ModelArgs(**params, max_seq_len=64, max_batch_size=1))
    model.load_state_dict(torch.load(files[rank], weights_only=True, mmap=True), strict=True)
    logits = model.float()(torch.tensor([ids]), 0)[0]
    if rank == 0:
        torch.save(logits.clone(), out)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(rank_main, (port,), nprocs=len(files))
    print(json.dumps(len(files)))
