"""Shared by the tests of the kernels."""

import copy
import re
from typing import NamedTuple

import pytest
import torch
from model_table import MODELS as ALL_MODELS
from torch import nn, Tensor

import geir
from geir._runtime.kernels.prepared_run import prepare_run
from geir.testing import close, run

# One model or more for every kind of step: with and without state coupling, reset by subtraction, transcendental functions, counters.
KINDS = (geir.LIF, geir.LI, geir.LIBox, geir.LIFBox, geir.IAF, geir.ALIF, geir.AdEx, geir.LIFRefrac, geir.Refractory)
MODELS = [
    neuron
    for neuron in ALL_MODELS
    if type(neuron) in KINDS and not any(isinstance(part, geir.Noisy) for part in neuron.modules())
]
OTHER_MODELS = [neuron for neuron in ALL_MODELS if neuron.elementwise and neuron not in MODELS]

every_model = pytest.mark.parametrize("neuron", MODELS, ids=repr)

# Operations that a step may use, on numbers where they are defined, with their gradients.
OPERATIONS = [
    torch.abs, torch.sign, torch.exp, torch.exp2, torch.expm1, torch.sqrt, torch.rsqrt, torch.log, torch.log2, torch.log1p, torch.tanh,
    torch.sigmoid, torch.relu, torch.erf, torch.erfc, torch.sin, torch.cos, torch.atan, torch.floor, torch.ceil, torch.round, torch.trunc,
    torch.square, torch.reciprocal, torch.neg, nn.functional.softplus, nn.functional.silu, nn.functional.elu, nn.functional.leaky_relu,
    nn.functional.hardtanh, lambda x: x**2, lambda x: x**3, lambda x: x**-1, lambda x: x**0.5, lambda x: x**1.7, lambda x: x**-1.5, lambda x: x**-2,
    lambda x: torch.clamp(x, 0.2, 0.9), lambda x: torch.clamp(x, min=0.4), lambda x: torch.clamp_max(x, 0.5), lambda x: 1 - x, lambda x: 2 / x,
    lambda x: torch.maximum(x, 1 - x), lambda x: torch.minimum(x, 1 - x), lambda x: torch.where(x > 0.5, x * 2, -x),
    lambda x: torch.where((x > 0.2) & (x < 0.8) | ~(x <= 0.9), x, 0.0), lambda x: (x >= 0.5).to(x.dtype) * x, lambda x: x.masked_fill(x > 0.7, 0.1),
    lambda x: torch.logical_xor(x > 0.3, x > 0.6) * x, lambda x: torch.addcmul(x, x, x, value=0.3), lambda x: torch.sub(x, x * x, alpha=2),
    lambda x: torch.div(x, 0.3, rounding_mode="floor") + x, lambda x: x.clone().mul_(3).add_(1), lambda x: (x != 0.5) * x + (x == 0.5),
    lambda x: x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2.5) + torch.tensor(1.5), lambda x: torch.lerp(x, x * x, 0.3),
]  # fmt: skip
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: f"{OPERATIONS.index(f)}-{f.__name__}")


def with_reference(model):
    """A copy that runs on the reference loop; kernels are the default."""
    twin = copy.deepcopy(model)
    twin.unroll = geir.reference
    return twin


class UState(NamedTuple):
    v: Tensor


class NotElementwise(geir.Neuron[UState]):
    """The neurons depend on each other."""

    def rest(self):
        return UState(torch.zeros(()))

    def step(self, x, state):
        v = state.v + x - x.mean()
        return self.surrogate(v - 1), UState(v)


def applying(operation):
    """A model whose step applies an operation to the sum of the input and a small state."""

    class Applying(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            y = operation(x + 0.01 * state.v**2)
            return y, UState(0.5 * y)

    return Applying


def apply_in_step(function, xs, **settings):
    """A function of each number, computed in a model's step."""

    class Applying(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            return function(x), state

    return Applying(**settings)(xs)[0]


def prepared(neuron, x):
    """The program of a neuron with its stacked state and its constants."""
    return prepare_run(neuron.stepper(neuron.state_dtype(x)), neuron.initial_state(x))


def plant(region, old, new):
    """An error in a region of a template, or in the template itself if `region` is None; `old` is a regular expression."""

    def damage(template, regions):
        if region is None:
            assert re.search(old, template), f"nothing in the template matches {old!r}"
            return re.sub(old, new, template), regions
        assert re.search(old, regions[region]), f"nothing in the region {region} matches {old!r}"
        return template, {**regions, region: re.sub(old, new, regions[region])}

    return damage


def expect_caught(monkeypatch, printer, kernel, damage, model, xs):
    """Planted into the source of kernels (`c_source`, `triton_source`), an error must show in the results of the model."""
    expected = run(with_reference(model), xs)
    close(run(model, xs), expected)
    genuine = printer.render_template

    def damaged(template, regions):
        return genuine(*(damage(template, regions) if "step" in regions else (template, regions)))

    monkeypatch.setattr(printer, "render_template", damaged)
    kernel.cache_clear()
    try:
        with pytest.raises(AssertionError):
            close(run(model, xs), expected)
    finally:
        kernel.cache_clear()
