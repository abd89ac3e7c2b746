"""Measure layers and networks on a CUDA device and write a page: `python -m benchmarks.gpu`."""

import sys

import torch

from .__main__ import main

if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("No CUDA device is available; `python -m benchmarks` measures the CPU.")
    main("cuda")
