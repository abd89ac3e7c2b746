"""Shared by the tests of direct calls: direct and ordinary ones, and changes of a model."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

import geir


def warm_up(model, x):
    """Call a model until it calls directly; the last state."""
    state = None
    for _ in range(4):
        _, state = model(x, state)
    return state


def ordinary(model, x, state):
    """The result of a copy, which remembers nothing."""
    fresh = copy.deepcopy(model)
    return fresh(x, state)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def assign_data(model):
    model.tau_mem.data = torch.tensor(0.03)


def swap_and_spoil(model):
    """The parameter gets other memory with the same numbers; the old memory is overwritten."""
    old = model.tau_mem.data
    model.tau_mem.data = old.clone()
    old.fill_(0.5)


def write_through_numpy(model):
    model.tau_mem.numpy()[...] = 0.03


def share_storage(model):
    with torch.no_grad():
        model.tau_mem.set_(torch.tensor([0.03, 0.04])[0])


def set_class(model):
    class Other(type(model)):
        def threshold(self, before, after):
            return after.v - 0.1

    model.__class__ = Other


def halve_the_time_constant(model):
    class Half(nn.Module):
        def forward(self, x):
            return x / 2

    parametrize.register_parametrization(model, "tau_mem", Half())


CHANGES = {
    "in place": lambda model: model.tau_mem.fill_(0.03),
    "fill_ of .data": lambda model: model.tau_mem.data.fill_(0.03),
    "assignment of .data": assign_data,
    "other memory": swap_and_spoil,
    "NumPy": write_through_numpy,
    "set_": share_storage,
    "assignment": lambda model: setattr(model, "tau_mem", 0.03),
    "buffer": lambda model: model._buffers.update(tau_mem=torch.tensor(0.03)),
    "one value for each neuron": lambda model: setattr(model, "tau_mem", torch.linspace(0.02, 0.03, 8)),
    "load_state_dict": lambda model: model.load_state_dict(model.state_dict() | {"tau_mem": torch.tensor(0.03)}),
    "threshold": lambda model: model.v_th.fill_(0.1),
    "resting potential": lambda model: model.v_rest.fill_(0.3),
    "dt": lambda model: setattr(model, "dt", 2e-3),
    "another __dict__": lambda model: setattr(model, "__dict__", vars(model) | {"dt": 2e-3}),
    "shape of .data": lambda model: setattr(model.tau_mem, "data", torch.linspace(0.01, 0.03, 8)),
    "integrator": lambda model: setattr(model, "integrator", geir.Euler()),
    "reset": lambda model: setattr(model, "reset_mechanism", geir.ResetBySubtraction()),
    "method of the instance": lambda model: setattr(model, "threshold", lambda before, after: after.v - 0.1),
    "prepare of the instance": lambda model: setattr(model, "prepare", lambda: geir.LIF(tau_mem=0.05).prepare()),
    "class": set_class,
    "parametrization": halve_the_time_constant,
}
