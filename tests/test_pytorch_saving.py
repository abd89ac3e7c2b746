"""States are saved and loaded with PyTorch's defaults: by `torch.save`, and as a part of exported models."""

import io
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import pytest
import torch
from model_table import MODELS
from pytorch_versions import requires_compile
from torch import nn, Tensor

import geir
from geir._runtime.kernels import program_cache
from geir._util.state import AnyState, leaves, state_type


def saved_and_loaded(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer)


def exported_saved_and_loaded(model, *arguments):
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, arguments), buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()


def assert_same(actual, expected):
    """Compare outputs with states, types included."""
    assert type(actual) is type(expected)
    if isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected)
        return
    assert len(actual) == len(expected)
    for part, expected_part in zip(actual, expected, strict=True):
        assert_same(part, expected_part)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_the_state_of_every_model_is_saved_and_loaded(model):
    with torch.no_grad():
        _, state = model(torch.rand(3, 2, 4))
    assert_same(saved_and_loaded(state), state)


@requires_compile
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_every_exported_model_is_saved_and_loaded(model):
    with torch.no_grad():
        _, state = model(torch.rand(3, 2, 4))
        program_cache._programs.clear()  # so that its step is traced while it is exported
        loaded = exported_saved_and_loaded(model, torch.rand(3, 2, 4), state)
        xs = 5 * torch.rand(3, 2, 4)
        assert_same(loaded(xs, state), model(xs, state))


class Nested(nn.Module):
    """A container in a container, with PyTorch's own stateful modules."""

    def __init__(self):
        super().__init__()
        self.model = geir.SequentialState(
            nn.Linear(4, 4),
            geir.LIFRecurrentCell(4, 4),
            geir.SequentialState(
                nn.LSTMCell(4, 4), geir.RefractoryCell(geir.LIF()), geir.NoisyCell(geir.LIF(), seed=1)
            ),
            geir.RecurrentSequential(geir.LIFCell(), geir.LICell()),
        )

    def forward(self, x: Tensor, state: Any = None):
        return self.model(x, state)


@requires_compile
def test_the_states_of_containers_are_saved_and_loaded():
    model = Nested()
    with torch.no_grad():
        _, state = model(torch.rand(2, 4))
        assert_same(saved_and_loaded(state), state)
        loaded = exported_saved_and_loaded(model, torch.rand(2, 4), state)
        x = 5 * torch.rand(2, 4)
        assert_same(loaded(x, state), model(x, state))


def test_the_states_of_delays_and_of_plastic_connections_are_saved_and_loaded():
    delayed = geir.connections.DelayedLinear(4, 3, delay=2e-3, max_delay=5e-3)
    connection = nn.Linear(4, 3)
    nn.init.uniform_(connection.weight, 0, 0.3)
    plastic = geir.plasticity.Plastic(connection, geir.LIF(), geir.plasticity.STDP())
    sliding = geir.SlidingParallelSpikingNeuron(3)
    for model in (delayed, plastic, sliding):
        with torch.no_grad():
            _, state = model(torch.rand(5, 2, 4))
        assert_same(saved_and_loaded(state), state)


class ThresholdState(NamedTuple):
    u: Tensor


class Threshold(geir.Neuron[ThresholdState]):
    """A neuron of a user."""

    def rest(self):
        return ThresholdState(torch.zeros(()))

    def step(self, x, state):
        u = 0.5 * state.u + x
        return self.surrogate(u - 1), ThresholdState(u)


class CountingState(NamedTuple):
    neuron: AnyState
    count: Tensor


class Counting(geir.Wrapper):
    """A wrapper of a user, whose state type no base class names."""

    def initial_state(self, x, dtype=None):
        state = self.neuron.initial_state(x, dtype)
        return CountingState(state, torch.zeros_like(next(part for _, part in leaves(state))))

    def check_state_type(self, state):
        self.expect_state(state, CountingState)

    def step(self, x, state, inner):
        z, after = self.neuron.step(x, state.neuron, *inner)
        return z, CountingState(after, state.count + z)


class PairState(NamedTuple):
    first: ThresholdState
    second: Tensor


class Pair(geir.Neuron[PairState]):
    def rest(self):
        return PairState(ThresholdState(torch.zeros(())), torch.zeros(()))

    def step(self, x, state):
        u = 0.5 * state.first.u + x
        return self.surrogate(u - 1), PairState(ThresholdState(u), state.second + x)


@requires_compile
@pytest.mark.parametrize("model", [Threshold(), Counting(Threshold()), Pair()], ids=lambda model: type(model).__name__)
def test_a_state_of_ones_own_is_saved_and_loaded(model):
    with torch.no_grad():
        _, state = model(torch.rand(3, 2, 4))
        assert_same(saved_and_loaded(state), state)
        loaded = exported_saved_and_loaded(model, torch.rand(3, 2, 4), state)
        assert_same(loaded(torch.ones(3, 2, 4), state), model(torch.ones(3, 2, 4), state))


def test_a_state_type_that_is_defined_again_replaces_the_first():
    """As in a notebook, where a cell is run twice."""

    for _ in range(5):

        class AgainState(NamedTuple):
            v: Tensor

        AgainState.__qualname__ = "AgainState"
        globals()["AgainState"] = state_type(AgainState)
        assert type(saved_and_loaded(AgainState(torch.ones(3)))) is AgainState


@requires_compile
def test_states_and_exported_models_are_loaded_in_another_process(tmp_path):
    model = geir.Refractory(geir.Noisy(geir.LIF(), seed=1))
    with torch.no_grad():
        zs, state = model(5 * torch.rand(20, 2, 4))
        torch.save(state, tmp_path / "state.pt")
        torch.export.save(torch.export.export(model, (torch.rand(3, 2, 4), state)), tmp_path / "model.pt2")
        torch.save(model(torch.ones(3, 2, 4), state), tmp_path / "expected.pt")
    code = """
    import sys, torch, geir
    from pathlib import Path
    folder = Path(sys.argv[1])
    state = torch.load(folder / "state.pt")
    assert type(state).__name__ == "RefractoryState" and type(state.neuron).__name__ == "RandomState"
    actual = torch.export.load(folder / "model.pt2").module()(torch.ones(3, 2, 4), state)
    torch.testing.assert_close(actual, torch.load(folder / "expected.pt"))
    assert type(actual[1]) is type(state)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True)
