"""Fixtures of the tests of direct calls."""

import pytest
import torch

from geir._runtime.kernels import direct


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
