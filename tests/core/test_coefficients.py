"""Cached coefficients are those of a fresh model with the same numbers, however the numbers were changed."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import nn, Tensor

import geir
from geir.core.integrators._affine import linear_system


def train_with(optimizer, **settings):
    def change(model):
        with torch.enable_grad():
            model(torch.rand(20, 3))[1].v.sum().backward()
        optimizer(model.parameters(), lr=0.1, **settings).step()

    return change


def set_flat_vector(model):
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector - 0.5, model.parameters())


def write_through_numpy(model):
    model.log_tau_mem.detach().numpy()[...] = -3.0


def assign_data(model):
    model.log_tau_mem.data = torch.tensor(-3.0)


def swap_parameter(model):
    model._parameters["log_tau_mem"] = nn.Parameter(torch.tensor(-3.0))


CHANGES = {
    "fused Adam": train_with(torch.optim.Adam, fused=True),
    "fused AdamW": train_with(torch.optim.AdamW, fused=True),
    "fused SGD": train_with(torch.optim.SGD, fused=True),
    "Adam": train_with(torch.optim.Adam),
    "vector_to_parameters": set_flat_vector,
    "fill_ of .data": lambda model: model.log_tau_mem.data.fill_(-3.0),
    "assignment of .data": assign_data,
    "NumPy": write_through_numpy,
    "in place": lambda model: model.log_tau_mem.fill_(-3.0),
    "buffer in place": lambda model: model.v_rest.fill_(0.5),
    "buffer through NumPy": lambda model: model.v_rest.numpy().fill(0.5),
    "assignment": lambda model: setattr(model, "tau_mem", geir.learnable(0.03)),
    "replacement": swap_parameter,
    "load_state_dict": lambda model: model.load_state_dict(model.state_dict() | {"log_tau_mem": torch.tensor(-3.0)}),
    "dt": lambda model: setattr(model, "dt", 2e-3),
    "integrator": lambda model: setattr(model, "integrator", geir.Euler()),
    "precision": lambda model: model.double(),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("form", [geir.LI, geir.LICell], ids=lambda form: form.__name__)
def test_every_change_of_a_parameter_is_seen(name, form):
    model = form(tau_mem=geir.learnable(0.01))
    xs = torch.rand(20, 3)

    def output(model):
        dtype = model.v_rest.dtype
        state, vs = None, xs.to(dtype)
        if isinstance(model, geir.CellMixin):
            for x in xs.to(dtype):
                vs, state = model(x, state)
            return vs
        return model(vs)[0]

    with torch.no_grad():
        before = output(model)
        CHANGES[name](model)
        after = output(model)
        fresh = form(dt=model.dt, integrator=model.integrator, tau_mem=geir.learnable(0.01)).to(model.v_rest.dtype)
        fresh.load_state_dict(model.state_dict())
        assert not torch.allclose(before.to(after.dtype), after, rtol=1e-7, atol=0)
        torch.testing.assert_close(after, output(fresh), rtol=0, atol=0)
        unrolled = copy.deepcopy(model)
        if not isinstance(model, geir.CellMixin):
            unrolled.unroll = geir.reference
            torch.testing.assert_close(after, output(unrolled))


RATE = 50.0


class LeakState(NamedTuple):
    v: Tensor


class Leak(geir.ODE[LeakState], affine=True):
    """Its equation reads a setting, a buffer of a submodule, an attribute and a global variable."""

    gain: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        self.scale = nn.BatchNorm1d(1)
        self._offset = 0.0

    def rest(self):
        return LeakState(torch.zeros(()))

    def derivative(self, x, state):
        scale = self.scale.running_var if hasattr(self, "scale") else 1.0
        offset = getattr(self, "_offset", 0.0)
        return LeakState(self.gain * x * scale - RATE * state.v + offset)

    def step(self, x, state, coefficients):
        state = self.advance(x, state, coefficients)
        return state.v, state


@pytest.mark.parametrize("what", ["gain", "buffer of a submodule", "global"])
def test_equations_of_a_user_are_evaluated_in_every_call(what, monkeypatch):
    model, xs = Leak(unroll=geir.reference), torch.ones(20, 1)
    with torch.no_grad():
        before = model(xs)[0]
        if what == "gain":
            model.gain = 3.0
        elif what == "global":
            monkeypatch.setitem(globals(), "RATE", 500.0)
        else:
            model.scale.running_var.fill_(3.0)
        after = model(xs)[0]
    assert not torch.allclose(before, after)
    if what != "global":
        torch.testing.assert_close(after, 3 * before)


def count_systems(monkeypatch):
    """A list that grows by one whenever coefficients are computed."""
    calls = []

    def counting(flow):
        calls.append(1)
        return linear_system(flow)

    monkeypatch.setattr("geir.core.integrators.exact.linear_system", counting)
    return calls


def test_coefficients_are_computed_once_while_nothing_changes(monkeypatch):
    calls = count_systems(monkeypatch)
    cell, x, state = geir.LIFCell(), torch.rand(3), None
    with torch.no_grad():
        for _ in range(5):
            _, state = cell(x, state)
    assert len(calls) == 1


def test_coefficients_do_not_depend_on_recurrent_weights_and_are_computed_once_in_training(monkeypatch):
    calls = count_systems(monkeypatch)
    cell, x, state = geir.LIFRecurrentCell(3, 4), torch.rand(3), None
    for _ in range(5):
        z, state = cell(x, state)
        z.sum().backward()
        with torch.no_grad():
            for name in cell.weight_names:
                getattr(cell, name).add_(0.1)
        state = geir.detach(state)
    assert len(calls) == 1
