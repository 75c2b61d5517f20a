#!/usr/bin/env python3
"""Makes a checkpoint of very many tensors of one number each: many_members.py COUNT OUT"""

import pathlib
import sys

import torch


def main():
    count, out = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True)
    torch.save({f"layers.{number}.weight": torch.full((1,), float(number)) for number in range(count)}, out / "many.pth")


if __name__ == "__main__":
    main()
