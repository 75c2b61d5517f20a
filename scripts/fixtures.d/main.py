"""Makes tests/fixtures: one function a part, each into a folder of its own."""

import argparse
import pathlib
import shutil

import adapter_files
import dcp_files
import family_files
import gguf_files
import hf_files
import llama
import mistral_files
import neighbour_files
import quantised_files
import safetensors_files
import torch
import torch_files
import training_files
import zero_files

HOME = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures"

# Order matters once: hf-tiny is made from the weights that tiny-llama3 trained.
PARTS = {
    "tiny-llama3": llama.make_llama3,
    "tiny-llama2": llama.make_llama2,
    "hf-tiny": hf_files.make,
    "adapters": adapter_files.make,
    "tiny-mistral": mistral_files.make,
    "tiny-tune": llama.make_tune,
    "torch": torch_files.make,
    "training": training_files.make,
    "safetensors": safetensors_files.make,
    "safetensors-bad": safetensors_files.make_bad,
    "gguf": gguf_files.make,
    "quantised": quantised_files.make,
    "families": family_files.make,
    "distcp": dcp_files.make,
    "zero": zero_files.make,
    "neighbours": neighbour_files.make,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help="one of " + ", ".join(PARTS) + "; all of them by default")
    parser.add_argument("--out", type=pathlib.Path, default=HOME)
    arguments = parser.parse_args()
    unknown = set(arguments.part) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, make in PARTS.items():
        if arguments.part and name not in arguments.part:
            continue
        torch.manual_seed(0)
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{name}: {size:,} bytes")


if __name__ == "__main__":
    main()
