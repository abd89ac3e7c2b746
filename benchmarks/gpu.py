"""The same on a CUDA machine, against the measured bandwidth of `copy_`: `python -m benchmarks.gpu`. Writes `results/gpu.md`."""

import sys

import torch

from .__main__ import run

if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device here; `python -m benchmarks` measures the CPU.")
    run("cuda")
