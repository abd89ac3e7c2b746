"""Fixtures of several files of tests of the runtime."""

import numpy as np
import pytest
import torch

from geir._runtime.kernels import cpu, direct, gpu


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def uses(monkeypatch):
    """The calls that were direct."""
    used = []
    run = direct.run_directly

    def counting(module, x, state):
        result = run(module, x, state)
        if result is not None:
            used.append(module)
        return result

    monkeypatch.setattr("geir.core.neuron.run_directly", counting)
    monkeypatch.setattr("geir.wrappers.cell.run_directly", counting)
    return used


@pytest.fixture
def interpreted(monkeypatch):
    """Runs in Triton's interpreter instead of C."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(cpu, "kernel", gpu.kernel)
    gpu.kernel.cache_clear()
    with np.errstate(all="ignore"):
        yield
    gpu.kernel.cache_clear()
