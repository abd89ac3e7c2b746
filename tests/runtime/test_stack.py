"""Kernels of many values for every neuron run on small stacks."""

import os
import subprocess
import sys

import pytest

from geir._runtime.compiler import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

# The script runs in a process of its own, because a stack that overflows ends the process.
SCRIPT = """
import copy, sys, threading, warnings
from typing import NamedTuple
import torch
import geir
from geir._runtime.kernels import direct
from geir.testing import close, run
from torch import nn, Tensor

count, size, dtype, threads = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3]), int(sys.argv[4])

class State(NamedTuple):
    v: Tensor

class Many(geir.Neuron[State]):
    def __init__(self, **settings):
        super().__init__(**settings)
        for k in range(count):
            setattr(self, f"p{k}", nn.Parameter(torch.rand(size, dtype=dtype) / count))

    def rest(self):
        return State(torch.zeros(()))

    def step(self, x, state):
        v = 0.5 * state.v
        for k in range(count):
            p = getattr(self, f"p{k}")
            v = v + 0.5 * p * x * state.v
        return v, State(v)

used = 0
run_directly = direct.run_directly

def counting(*arguments):
    global used
    result = run_directly(*arguments)
    used += result is not None
    return result

def check():
    model = Many()
    xs = torch.rand(3, 2, size, dtype=dtype)
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(run(model, xs), run(twin, xs), 1e-9 if dtype == torch.float64 else 1e-4)
        # Three small runs with fixed parameters, the last ones by a direct call.
        xs, start = xs[:, :1], torch.rand(1, size, dtype=dtype)
        for module in (model, twin):
            module.requires_grad_(False)
        for _ in range(3):
            actual = run(model, xs, state=State(start))
        close(actual, run(twin, xs, state=State(start)), 1e-9 if dtype == torch.float64 else 1e-4)
    print("equal", direct.has_saved_tensor_hooks() or used > 0)

import geir.core.neuron
geir.core.neuron.run_directly = counting
torch.set_num_threads(threads)
threading.stack_size(256 << 10)
thread = threading.Thread(target=check)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("count", "size", "dtype", "threads"),
    [(16, 1100, "float64", 1), (300, 6000, "float32", 8)],
)
def test_many_parameters_of_every_neuron_run_on_small_stacks(count, size, dtype, threads):
    environment = {**os.environ, "OMP_STACKSIZE": "256K"}
    command = [sys.executable, "-c", SCRIPT, str(count), str(size), dtype, str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (result.returncode, result.stdout) == (0, "equal True\n"), result.stderr[-2000:]
